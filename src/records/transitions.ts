/**
 * Reads the feed: status changes in commit order. A trigger writes it; nothing else does.
 */
import { and, asc, desc, eq, getTableColumns, gt, gte, lt, sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { feed, transitions } from '../db/schema.ts';
import type { RecordKind } from '../domain/lifecycle.ts';
import { pageSize, type PageArguments } from './page.ts';
import { arrayOf, type TransitionRow } from './rows.ts';

/** Which feed this is, what of it is still kept, and where it ends now. */
export interface FeedState { id: string; floor: number; end: number }

/** The feed's state, in one snapshot. */
export async function feedState(db: Db): Promise<FeedState> {
  const [row] = await db.execute<{ id: string; floor: string; end: string }>(sql`
    select id, floor, coalesce((select max(position) from transitions where position > floor), floor) as end from feed`);
  if (row === undefined) throw new TypeError('The feed has no row: the migrations have not been applied.');
  return { id: row.id, floor: Number(row.floor), end: Number(row.end) };
}

export interface RecordRef { kind: RecordKind; recordId: number }

/** `status` undefined: there is no such record. `end` and `at`: of the feed, when it was read. */
export interface PresentStatus { status: string | undefined; label: string | null; end: number; at: Date }

/**
 * The present statuses of records, in their order, together with the end of the feed, in one snapshot: every later change
 * of them has a position after that end.
 */
export async function presentStatuses(db: Db, records: readonly RecordRef[]): Promise<PresentStatus[]> {
  const rows = await db.execute<{ status: string | null; label: string | null; end: string; at: string }>(sql`
    select r.status, r.label, coalesce((select max(position) from transitions where position > feed.floor), feed.floor) as end, now() as at
    from feed, unnest(${arrayOf(records.map(({ kind }) => kind))}::text[], ${arrayOf(records.map(({ recordId }) => recordId))}::bigint[])
      with ordinality asked(kind, id, nth)
    left join lateral (
      select status, name as label from backups where asked.kind = 'BACKUP' and id = asked.id
      union all select status, null from restores where asked.kind = 'RESTORE' and id = asked.id and not is_removed
      union all select status, job_id from jobs where asked.kind = 'JOB' and id = asked.id
    ) r on true order by asked.nth`);
  return rows.map(({ status, label, end, at }) => ({ status: status ?? undefined, label, end: Number(end), at: new Date(at) }));
}

/** Which changes are wanted: of one kind, and perhaps of one record. */
export interface TransitionFilter { kind: RecordKind; recordId: number | null }

/** A change, and the last position that was no longer kept when it was read. */
export type FeedRow = TransitionRow & { floor: number };

/** The change at a position, which says of which feed it is, and those after it, of every kind, in commit order. */
export function transitionsFrom(db: Db, position: number, limit: number): Promise<(FeedRow & { feedId: string | null })[]> {
  const floor = sql<number>`(select ${feed.floor} from ${feed})`.mapWith(Number);
  const feedId = sql<string | null>`case when ${transitions.position} = ${position} then (select ${feed.id} from ${feed}) end`;
  return db.select({ ...getTableColumns(transitions), floor, feedId }).from(transitions).where(gte(transitions.position, position))
    .orderBy(asc(transitions.position)).limit(limit).prepare('feed').execute();
}

/**
 * The first changes that the filter wants after one position and up to another, in commit order. Planned anew each time: for
 * a rare kind and for a frequent one it is not the same index that finds them.
 */
export async function transitionsBetween(db: Db, filter: TransitionFilter, after: number, until: number, limit: number): Promise<FeedRow[]> {
  const ofRecord = filter.recordId === null ? sql`` : sql`and record_id = ${filter.recordId}`;
  const rows = await db.execute<RawTransition & { floor: string }>(sql`
    select position, kind, record_id, label, from_status, to_status, floor(extract(epoch from at) * 1000)::float8 as at, (select floor from feed)
    from transitions where kind = ${filter.kind} ${ofRecord} and position > ${after} and position <= ${until} order by position limit ${limit}`);
  return rows.map((row) => ({ ...readTransition(row), floor: Number(row.floor) }));
}

/** The last change of a record that is still kept. */
export async function lastTransition(db: Db, kind: RecordKind, recordId: number): Promise<TransitionRow | undefined> {
  const [row] = await db.select().from(transitions).where(and(eq(transitions.kind, kind), eq(transitions.recordId, recordId)))
    .orderBy(desc(transitions.position)).limit(1).prepare('last_transition').execute();
  return row;
}

/** A page of the feed; positions already read out of their cursors. */
export interface TransitionPage {
  rows: TransitionRow[];
  hasNextPage: boolean;
  hasPreviousPage: boolean;
  /** The last position that was no longer kept when they were read: they are not all that came after one before it. */
  floor: number;
}
export type PositionArguments = Omit<PageArguments, 'after' | 'before'> & { after: number | null; before: number | null };

/**
 * Pages of the changes of several records of one kind, each page with the same arguments, in one statement;
 * `recordIds` null: one page of all records.
 */
export async function transitionPages(db: Db, kind: RecordKind, recordIds: readonly number[] | null, page: PositionArguments): Promise<TransitionPage[]> {
  const { size, fromEnd } = pageSize(page);
  // What was removed stays in the indexes for a while: nothing looks below the floor, nor for longer than the nearest row.
  const kept = sql`t.position > (select floor from feed)`;
  const window = and(kept,
    page.after === null ? undefined : gt(sql`t.position`, page.after), page.before === null ? undefined : lt(sql`t.position`, page.before),
  );
  const direction = sql.raw(fromEnd ? 'desc' : 'asc');
  const owner = recordIds === null ? sql`(values (null::bigint)) o(id)` : sql`unnest(${arrayOf(recordIds)}::bigint[]) o(id)`;
  const mine = recordIds === null ? sql`t.kind = ${kind}` : sql`t.kind = ${kind} and t.record_id = o.id`;
  const outside = (comparison: string, bound: number | null): SQL => (bound === null ? sql`false` : sql`(
    select t.position from transitions t where ${mine} and ${kept} and t.position ${sql.raw(comparison)} ${bound}
    order by t.position ${sql.raw(comparison === '<=' ? 'desc' : 'asc')} limit 1) is not null`);
  const rows = await db.execute<RawTransition & { owner: string | null; earlier: boolean; later: boolean; floor: string }>(sql`
    select o.id as owner, (select floor from feed) as floor, ${outside('<=', page.after)} as earlier, ${outside('>=', page.before)} as later, page.*
    from ${owner} left join lateral (
      select t.* from transitions t where ${mine} and ${window} order by t.position ${direction} limit ${size + 1}
    ) page on true`);
  const byOwner = Map.groupBy(rows, (row) => (row.owner === null ? null : Number(row.owner)));
  return (recordIds ?? [null]).map((id) => {
    const found = byOwner.get(id) ?? [];
    const bounds = found[0];
    const changes = found.filter((row) => row.position !== null).map(readTransition)
      .toSorted((a, b) => (fromEnd ? b.position - a.position : a.position - b.position));
    const more = changes.length > size;
    let kept = changes.slice(0, size);
    if (fromEnd) kept.reverse();
    const cut = !fromEnd && page.last != null && kept.length > page.last;
    if (cut) kept = kept.slice(kept.length - (page.last ?? 0));
    const [earlier, later] = [bounds?.earlier ?? false, bounds?.later ?? false];
    return { rows: kept, hasNextPage: fromEnd ? later : more || later, hasPreviousPage: fromEnd ? more || earlier : cut || earlier, floor: Number(bounds?.floor ?? 0) };
  });
}

/** As the driver gives it, past Drizzle, which for thousands of them takes as long as the database. */
interface RawTransition extends Record<string, unknown> {
  position: string | null; kind: RecordKind; record_id: string; label: string | null;
  from_status: string | null; to_status: string | null; at: string | number;
}

const readTransition = (row: RawTransition): TransitionRow => ({
  position: Number(row.position), kind: row.kind, recordId: Number(row.record_id), label: row.label,
  fromStatus: row.from_status, toStatus: row.to_status, at: new Date(row.at),
});
