/**
 * A number that a process shows to all others on the same database while it is connected, and that goes with its
 * connection however that ends: a shared advisory lock, which nobody ever waits for.
 */
import { sql } from 'drizzle-orm';
import type postgres from 'postgres';
import type { Db } from './client.ts';

/** Any fixed number: it tells these locks from others. */
const MARKS = 7310005;

/** Shows a number from 0 to 2^31 - 1 for as long as the session lives. */
export async function showMark(session: postgres.Sql, mark: number): Promise<void> {
  await session`select pg_advisory_lock_shared(${MARKS}::int, ${mark}::int)`;
}

/** The marks of all processes that are connected to this database. */
export async function shownMarks(db: Db): Promise<number[]> {
  const rows = await db.execute<{ mark: string }>(sql`
    select distinct objid::text as mark from pg_locks where locktype = 'advisory' and classid = ${MARKS} and objsubid = 2
      and granted and database = (select oid from pg_database where datname = current_database())`);
  return rows.map(({ mark }) => Number(mark));
}
