/**
 * Status changes as they are listed and pushed: cursors, pages, and the streams of the subscriptions.
 */
import { cursorExpired, readFeedCursor, writeFeedCursor } from '../feed/cursor.ts';
import { planStream, pulled, push, type Push, type Receiver, type Stream } from '../feed/watch.ts';
import type { RecordKind } from '../domain/lifecycle.ts';
import type { Page, PageArguments } from '../records/page.ts';
import type { TransitionRow } from '../records/rows.ts';
import { feedState, transitionPages, type FeedState, type PositionArguments, type TransitionPage } from '../records/transitions.ts';
import { connection, type Connection } from './connections.ts';
import type { RequestContext } from './context.ts';

export const cursorOf = ({ position }: TransitionRow, context: RequestContext): string => writeFeedCursor(context.feed.id, position);

/** The feed's state, the same for the whole request; read before it begins where it asks for feedCursor (`yoga.ts`). */
export const feedStateOf = (context: RequestContext): Promise<FeedState> =>
  context.loaders.batch('feed', 'state', async (keys: readonly number[]) => {
    const read = await feedState(context.db);
    return keys.map(() => read);
  }).load(0);

async function positionsOf(context: RequestContext, { first, last, after, before }: PageArguments): Promise<PositionArguments> {
  const state = after == null && before == null ? null : await feedStateOf(context);
  const position = (cursor: string | null | undefined) => (cursor == null || state === null ? null : readFeedCursor(state, cursor));
  return { first, last, after: position(after), before: position(before) };
}

/** @throws CursorError where something was removed after the cursors had been read, and before the page was */
function asPage(page: TransitionPage, { after, before }: PositionArguments, context: RequestContext): Page<TransitionRow> {
  if (Math.min(after ?? Infinity, before ?? Infinity) < page.floor) throw cursorExpired();
  return {
    rows: page.rows.map((row) => ({ cursor: cursorOf(row, context), row })),
    hasNextPage: async () => page.hasNextPage,
    hasPreviousPage: async () => page.hasPreviousPage,
  };
}

/** The changes of one record; those of many records asked for alike are read in one statement. */
export function changesOf(kind: RecordKind, recordId: number, args: PageArguments, context: RequestContext): Connection<TransitionRow> {
  return connection(async () => {
    const positions = await positionsOf(context, args);
    const page = await context.loaders.batch(`changes of ${kind}`, JSON.stringify(positions), (ids: readonly number[]) =>
      transitionPages(context.db, kind, ids, positions)).load(recordId);
    return asPage(page, positions, context);
  });
}

/** All changes of a kind, of records that are gone too. */
export function allChanges(kind: RecordKind, args: PageArguments, context: RequestContext): Connection<TransitionRow> {
  return connection(async () => {
    const positions = await positionsOf(context, args);
    const [page] = await transitionPages(context.db, kind, null, positions);
    return asPage(page as TransitionPage, positions, context);
  });
}

/** The stream of one subscription: to be pulled, or to be pushed by a transport that can. */
export class ChangeStream implements AsyncIterableIterator<TransitionRow> {
  readonly stream: Stream;
  readonly #ending = new AbortController();
  readonly #context: RequestContext;
  #pulled: AsyncIterableIterator<TransitionRow> | null = null;

  constructor(stream: Stream, context: RequestContext) {
    this.stream = stream;
    this.#context = context;
  }

  /** The cursor from which nothing is missed that comes after a position. */
  cursorAt(position: number): string { return writeFeedCursor(this.#context.feed.id, position); }

  push(receiver: Receiver): Push {
    return push(this.#context.db, this.#context.feed, this.stream, receiver);
  }

  [Symbol.asyncIterator](): this { return this; }

  next(): Promise<IteratorResult<TransitionRow>> { return this.#pull().next(); }

  async return(): Promise<IteratorResult<TransitionRow>> { return await this.#pull().return!(); }

  async throw(error: unknown): Promise<IteratorResult<TransitionRow>> { return await this.#pull().throw!(error); }

  #pull(): AsyncIterableIterator<TransitionRow> {
    const { db, feed } = this.#context;
    return this.#pulled ??= eachAnew(pulled(db, feed, this.stream, this.#ending.signal), this.#context, this.#ending);
  }
}

/** The stream of one subscription. `recordId` undefined: of all records; null: of an id that can't be one. */
export async function streamChanges(kind: RecordKind, recordId: number | null | undefined, after: string | null | undefined, context: RequestContext): Promise<ChangeStream> {
  return new ChangeStream(await planStream(context.db, context.feed, { kind, recordId, after: after ?? null }), context);
}

/**
 * A stream that can be ended while it waits, which a generator alone cannot, and whose every event is resolved from
 * rows read anew.
 */
export function eachAnew<T>(source: AsyncGenerator<T, void>, context: RequestContext, ending: AbortController): AsyncIterableIterator<T> {
  return {
    [Symbol.asyncIterator]() { return this; },
    async next() {
      const result = await source.next();
      context.loaders.clear();
      return result.done === true ? { done: true, value: undefined } : result;
    },
    async return() {
      ending.abort();
      await source.return();
      return { done: true, value: undefined };
    },
    async throw(error: unknown) {
      ending.abort();
      await source.return();
      throw error;
    },
  };
}
