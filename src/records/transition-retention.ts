/**
 * Removes what the feed no longer keeps: the beginning of the `transitions` table, in the order of its positions.
 */
import { sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';

/**
 * Any fixed number: one gateway removes at a time. Nobody who writes ever waits for it; the lock under which positions
 * are given is another one, which is not taken here.
 */
const RETENTION_LOCK = 7310006;

/** What the database's clock says, in milliseconds since 1970. */
export async function databaseTime(db: Db): Promise<number> {
  const [row] = await db.execute<{ time: string }>(sql`select extract(epoch from clock_timestamp()) * 1000 as time`);
  return Number(row?.time);
}

/** How many changes a batch removed, and up to which position nothing is kept now. */
export interface RemovedBatch { removed: number; floor: number }

/**
 * Removes the oldest changes, as many as the limit at most, and raises the feed's floor to the last of them: to be called
 * in a transaction, so that no reader sees the one without the other. A change goes only with all that came before it:
 * one that a clock gone wrong dated back stays as long as its elders.
 *
 * @param before only what is older than this goes
 * @returns null: somebody else is removing now, and nothing was done
 */
export async function removeOldestTransitions(transaction: Db, before: Date, limit: number): Promise<RemovedBatch | null> {
  const [lock] = await transaction.execute<{ mine: boolean }>(sql`select pg_try_advisory_xact_lock(${RETENTION_LOCK}) as mine`);
  if (lock?.mine !== true) return null;
  // Statements of their own, after the lock: a snapshot from before it could still show what another one removed.
  const [found] = await transaction.execute<{ floor: string; last: string | null; removed: string }>(sql`
    select feed.floor, oldest.last, oldest.removed from feed, lateral (
      select max(position) filter (where is_old) as last, count(*) filter (where is_old) as removed from (
        select position, bool_and(at < ${before.toISOString()}::timestamptz) over (order by position) as is_old from (
          select position, at from transitions where position > feed.floor order by position limit ${limit}
        ) beginning
      ) judged
    ) oldest`);
  if (found === undefined) throw new TypeError('The feed has no row: the migrations have not been applied.');
  if (found.last === null) return { removed: 0, floor: Number(found.floor) };
  await transaction.execute(sql`
    with moved as (update feed set floor = ${found.last}::bigint)
    delete from transitions where position > ${found.floor}::bigint and position <= ${found.last}::bigint`);
  return { removed: Number(found.removed), floor: Number(found.last) };
}
