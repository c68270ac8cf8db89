/**
 * What one subscription delivers: where it starts, and when it is complete.
 */
import { GatewayError } from '../domain/errors.ts';
import { isLastStatus, type RecordKind } from '../domain/lifecycle.ts';
import type { Db } from '../db/client.ts';
import type { TransitionRow } from '../records/rows.ts';
import { lastTransition, type TransitionFilter } from '../records/transitions.ts';
import type { Follower } from './attachment.ts';
import { readFeedCursor, type CursorError } from './cursor.ts';
import type { Feed } from './feed.ts';
import { replay } from './replay.ts';

/** The subscribed record does not exist. */
export class RecordNotFoundError extends GatewayError {
  override readonly name = 'RecordNotFoundError';

  constructor() {
    super('NOT_FOUND', 'There is no such record.', 'Check the id; a record that is gone can only be replayed after a cursor from before its end.');
  }
}

/** What to watch: a kind, perhaps one record (null: its id can't be one), perhaps after a cursor. */
export interface Watch { kind: RecordKind; recordId?: number | null; after: string | null }

/** What a stream delivers. */
export interface Stream {
  /** The event that states the present; null: it begins with a change. */
  readonly first: TransitionRow | null;
  readonly filter: TransitionFilter;
  /** The changes after this position. */
  readonly after: number;
  /** The end of the feed when it began. */
  readonly present: number;
  /** All was over before: it completes after the changes up to the present. */
  readonly isPast: boolean;
}

/**
 * Resolves once the starting point is certain, so that a change made after the subscription is never missed.
 * @throws CursorError, RecordNotFoundError
 */
export async function planStream(db: Db, feed: Feed, { kind, recordId, after }: Watch): Promise<Stream> {
  if (recordId === undefined) {
    const state = await feed.state();
    return { first: null, filter: { kind, recordId: null }, after: after === null ? state.end : readFeedCursor(state, after), present: state.end, isPast: false };
  }
  if (recordId === null) throw new RecordNotFoundError();
  const filter = { kind, recordId };
  const present = await feed.present(filter);
  const status = present.status ?? null;
  const start = after === null ? present.end : readFeedCursor(await feed.state(), after);
  if (status === null && (after === null || await lastTransition(db, kind, recordId) === undefined)) throw new RecordNotFoundError();
  const first = after !== null ? null : { position: present.end, kind, recordId, label: present.label, fromStatus: status, toStatus: status, at: present.at };
  return { first, filter, after: start, present: present.end, isPast: isLastStatus(kind, status) };
}

/** Whether nothing can follow a change in its stream. */
const isLast = ({ recordId, kind }: TransitionFilter, { toStatus }: TransitionRow): boolean => recordId !== null && isLastStatus(kind, toStatus);

/**
 * A stream that its reader pulls, until aborted.
 * @throws CursorError
 */
export async function* pulled(db: Db, feed: Feed, stream: Stream, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
  const { first, filter, after, present, isPast } = stream;
  if (first !== null) yield first;
  for await (const change of isPast ? replay(db, filter, after, present, signal) : feed.follow(filter, after, signal)) {
    yield change;
    if (isLast(filter, change)) return;
  }
}

/** Whom a stream is pushed to. */
export interface Receiver extends Pick<Follower, 'take' | 'live'> {
  /** Takes the event that states the present, whatever else waits. */
  begin(present: TransitionRow): void;
  /** Nothing more comes; null: the stream is complete. */
  end(error: CursorError | null): void;
}

/** A stream under way. */
export interface Push {
  /** Goes on where the receiver took no more. */
  resume(): void;
  stop(): void;
}

/** Pushes a stream as fast as its receiver takes it, which may begin before this comes back. */
export function push(db: Db, feed: Feed, stream: Stream, receiver: Receiver): Push {
  const { first, filter, after, present, isPast } = stream;
  if (first !== null) receiver.begin(first);
  if (isPast) return pushPast(db, stream, receiver);
  let attachment: Push | null = null;
  let isOver = false;
  const end = (error: CursorError | null) => {
    isOver = true;
    attachment?.stop();
    receiver.end(error);
  };
  attachment = feed.attach(filter, after, {
    take(change) {
      const isTaken = receiver.take(change);
      if (isTaken && isLast(filter, change)) end(null);
      return isTaken;
    },
    live: (position) => receiver.live?.(position),
    fail: end,
  }, present);
  // It was told the last one before there was anything to stop.
  if (isOver) attachment.stop();
  return attachment;
}

/** The changes of a record that can have no more of them. */
function pushPast(db: Db, { filter, after, present }: Stream, receiver: Receiver): Push {
  const stopping = new AbortController();
  let resume: () => void = () => undefined;
  const run = async () => {
    for await (const change of replay(db, filter, after, present, stopping.signal)) {
      while (!stopping.signal.aborted && !receiver.take(change)) await new Promise<void>((resolve) => { resume = resolve; });
    }
  };
  void run().then(() => null, (error: CursorError) => error).then((error) => {
    if (!stopping.signal.aborted) receiver.end(error);
  });
  return {
    resume: () => resume(),
    stop() {
      stopping.abort();
      resume();
    },
  };
}
