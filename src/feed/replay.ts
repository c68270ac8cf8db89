/**
 * The changes of the past, from the table.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../db/client.ts';
import { feedState, transitionsAfter, type FeedRow, type TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';
import { cursorExpired } from './cursor.ts';

/** How many rows are read at a time. */
const BATCH = 500;
/** How soon a database that is away is tried again, in milliseconds. */
const RETRY = 1_000;

/**
 * The changes that the filter wants between two positions, from the table. A database that is away is waited for.
 * @throws CursorError where some of them are no longer kept: an end that says so, instead of a gap that nobody sees
 */
export async function* replay(db: Db, filter: TransitionFilter, after: number, until: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
  for (let last = after; last < until && !signal.aborted;) {
    let rows: FeedRow[];
    let floor: number;
    try {
      rows = await transitionsAfter(db, last, { filter, until, limit: BATCH });
      // Rows bring the floor with them; that there are none says nothing of it.
      floor = rows[0]?.floor ?? (await feedState(db)).floor;
    } catch {
      await sleep(RETRY, undefined, { signal }).catch(() => undefined);
      continue;
    }
    if (floor > last) throw cursorExpired();
    yield* rows;
    last = rows.length < BATCH ? until : rows.at(-1)?.position ?? until;
  }
}
