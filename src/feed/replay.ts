/**
 * The changes of the past, from the table.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../db/client.ts';
import { feedState, transitionsBetween, type FeedRow, type TransitionFilter } from '../records/transitions.ts';
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
  for (let [last, next] = [after, read(db, filter, after, until)]; last < until && !signal.aborted;) {
    const found = await next;
    if (found === null) {
      await sleep(RETRY, undefined, { signal }).catch(() => undefined);
      next = read(db, filter, last, until);
      continue;
    }
    const { rows, floor } = found;
    if (floor > last) throw cursorExpired();
    last = rows.length < BATCH ? until : rows.at(-1)?.position ?? until;
    // While these are told, the database looks for more.
    if (last < until) next = read(db, filter, last, until);
    yield* rows;
  }
}

/** The next rows, and the last position that was no longer kept when they were read; null: the database is away. */
async function read(db: Db, filter: TransitionFilter, after: number, until: number): Promise<{ rows: FeedRow[]; floor: number } | null> {
  if (after >= until) return { rows: [], floor: after };
  try {
    const rows = await transitionsBetween(db, filter, after, until, BATCH);
    // Rows bring the floor with them; that there are none says nothing of it.
    return { rows, floor: rows[0]?.floor ?? (await feedState(db)).floor };
  } catch {
    return null;
  }
}
