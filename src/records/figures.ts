/**
 * What an operator watches: how many records there are in which status, and when a backup last succeeded.
 */
import { sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';

export interface Figures {
  /** `kind`: the type of a backup, the operation of a job; empty for restores. Of ended jobs those of the last day. */
  records: { noun: 'backup' | 'restore' | 'job'; kind: string; status: string; count: number }[];
  /** When the newest backup of a host and type was completed, in seconds since 1970, of those that are there and valid; hostname empty: its host is gone. */
  lastSuccess: { hostname: string; type: string; at: number }[];
  /** The feed's last position, and the last one that is no longer kept. */
  feed: { end: number; floor: number };
}

/** Reads all figures, in one statement. */
export async function readFigures(db: Db): Promise<Figures> {
  const [row] = await db.execute<{ figures: Figures }>(sql`select json_build_object(
    'records', (select coalesce(json_agg(counted), '[]') from (
      select 'backup' as noun, type as kind, status, count(*) from backups group by type, status
      union all select 'restore', '', status, count(*) from restores where not is_removed group by status
      union all select 'job', operation, status, count(*) from jobs where time_ended is null or time_ended > now() - interval '1 day' group by operation, status
    ) counted),
    'lastSuccess', (select coalesce(json_agg(newest), '[]') from (
      select coalesce(h.hostname, '') as hostname, b.type, extract(epoch from max(b.time_completed))::float8 as at
      from backups b left join hosts h on h.id = b.host_id where b.status = 'SUCCESS' and b.time_completed is not null group by h.hostname, b.type
    ) newest),
    'feed', (select json_build_object('floor', floor, 'end', coalesce((select max(position) from transitions where position > floor), floor)) from feed)
  ) as figures`);
  if (row === undefined) throw new TypeError('An aggregate has always a row.');
  return row.figures;
}
