/**
 * What one subscription delivers: where it starts, and when it is complete.
 */
import { GatewayError } from '../domain/errors.ts';
import { isLastStatus, type RecordKind } from '../domain/lifecycle.ts';
import type { Db } from '../db/client.ts';
import type { TransitionRow } from '../records/rows.ts';
import { feedState, lastTransition, presentStatus, type TransitionFilter } from '../records/transitions.ts';
import { readFeedCursor } from './cursor.ts';
import { replay, type Feed } from './feed.ts';

/** The subscribed record does not exist. */
export class RecordNotFoundError extends GatewayError {
  override readonly name = 'RecordNotFoundError';

  constructor() {
    super('NOT_FOUND', 'There is no such record.', 'Check the id; a record that is gone can only be replayed after a cursor from before its end.');
  }
}

/** What to watch: a kind, perhaps one record (null: its id can't be one), perhaps after a cursor. */
export interface Watch { kind: RecordKind; recordId?: number | null; after: string | null; signal: AbortSignal }

/**
 * Resolves once the starting point is certain, so that a change made after the subscription is never missed.
 * @throws CursorError, RecordNotFoundError
 */
export async function watchChanges(db: Db, feed: Feed, watch: Watch): Promise<AsyncGenerator<TransitionRow, void>> {
  const { kind, recordId, after, signal } = watch;
  if (recordId === undefined) {
    const state = await feedState(db);
    return feed.follow({ kind, recordId: null }, after === null ? state.end : readFeedCursor(state, after), signal);
  }
  if (recordId === null) throw new RecordNotFoundError();
  const filter = { kind, recordId };
  const present = await presentStatus(db, kind, recordId);
  const status = present.status ?? null;
  const start = after === null ? present.end : readFeedCursor(await feedState(db), after);
  if (status === null && (after === null || await lastTransition(db, kind, recordId) === undefined)) throw new RecordNotFoundError();
  const rest = () => (isLastStatus(kind, status) ? replay(db, filter, start, present.end, signal) : untilLast(feed, filter, start, signal));
  if (after !== null) return rest();
  return startingWith({
    position: present.end, kind, recordId, label: present.label, fromStatus: status, toStatus: status, at: present.at,
  }, rest);
}

async function* startingWith(first: TransitionRow, rest: () => AsyncGenerator<TransitionRow, void>): AsyncGenerator<TransitionRow, void> {
  yield first;
  yield* rest();
}

/** The changes of one record, up to the one that nothing can follow. */
async function* untilLast(feed: Feed, filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
  for await (const change of feed.follow(filter, after, signal)) {
    yield change;
    if (isLastStatus(filter.kind, change.toStatus)) return;
  }
}
