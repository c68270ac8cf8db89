/**
 * Schedules: what starts by the clock. Transactions that lock a schedule do so before they lock its deployment, since
 * whoever runs one finds the schedule first.
 */
import { and, asc, eq, isNotNull, lte, sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { backups, jobs, schedules } from '../db/schema.ts';
import { countRows, readPage, type Page, type PageArguments } from './page.ts';
import type { BackupRow, Columns, ScheduleRow } from './rows.ts';

/** A page of schedules, in the order of their making. */
export function listSchedules(db: Db, list: { page: PageArguments; columns: Columns }): Promise<Page<ScheduleRow>> {
  return readPage<ScheduleRow>(db, schedules, {
    ...list, where: undefined, sort: { name: 'ID', expression: sql`${schedules.id}`, type: 'bigint' }, descending: false,
  });
}

export const countSchedules = (db: Db): Promise<number> => countRows(db, schedules, undefined);

/** Reads a schedule whole. With `lock`, nobody else can change, run or remove it until the transaction ends. */
export async function findSchedule(db: Db, id: number, lock?: 'lock'): Promise<ScheduleRow | undefined> {
  const query = db.select().from(schedules).where(eq(schedules.id, id));
  const [row] = await (lock === undefined ? query.prepare('schedule') : query.for('no key update').prepare('schedule')).execute();
  return row;
}

/** Finds a schedule by its name, which is unique in a deployment. */
export async function findScheduleIdByName(db: Db, deploymentId: number, name: string): Promise<number | undefined> {
  const [row] = await db.select({ id: schedules.id }).from(schedules)
    .where(and(eq(schedules.deploymentId, deploymentId), eq(schedules.name, name))).prepare('schedule_by_name').execute();
  return row?.id;
}

/** Wakes the clocks of all processes once the transaction commits; a hint only. */
const wakeClocks = (db: Db, id: number): Promise<unknown> => db.execute(sql`select wake('backup_gateway_schedules', ${String(id)})`);

export async function insertSchedule(db: Db, values: typeof schedules.$inferInsert): Promise<ScheduleRow> {
  const [row] = await db.insert(schedules).values(values).returning();
  await wakeClocks(db, (row as ScheduleRow).id);
  return row as ScheduleRow;
}

/** Changes what a person may change, and the next run that follows from it. The schedule is locked. */
export async function changeSchedule(db: Db, id: number, values: Partial<typeof schedules.$inferInsert>): Promise<ScheduleRow> {
  const [row] = await db.update(schedules).set(values).where(eq(schedules.id, id)).returning();
  await wakeClocks(db, id);
  return row as ScheduleRow;
}

/** Takes a schedule away; its backups and jobs stay. Schedule and deployment are locked. */
export async function removeSchedule(db: Db, id: number): Promise<void> {
  // Backups before jobs and each in the order of ids, as all transactions lock them; the foreign keys alone have no order.
  await db.execute(sql`select id from backups where schedule_id = ${id} order by id for no key update`);
  await db.update(backups).set({ scheduleId: null }).where(eq(backups.scheduleId, id));
  await db.execute(sql`select id from jobs where schedule_id = ${id} order by id for no key update`);
  await db.update(jobs).set({ scheduleId: null }).where(eq(jobs.scheduleId, id));
  await db.delete(schedules).where(eq(schedules.id, id));
  await wakeClocks(db, id);
}

/** The database's time: of the transaction, where there is one. The one clock that all processes share. */
export async function databaseTime(db: Db): Promise<Date> {
  const [row] = await db.execute<{ now: string }>(sql`select now() as now`);
  return new Date(row?.now ?? Number.NaN);
}

/** What decides when a schedule runs. */
export type ScheduleTiming = Pick<ScheduleRow, 'id' | 'name' | 'cron' | 'timeZone' | 'nextRun' | 'lastRun'>;

/** The schedules that are not paused. */
export function runningSchedules(db: Db): Promise<ScheduleTiming[]> {
  const { id, name, cron, timeZone, nextRun, lastRun } = schedules;
  return db.select({ id, name, cron, timeZone, nextRun, lastRun }).from(schedules).where(eq(schedules.isPaused, false)).prepare('running_schedules').execute();
}

/**
 * Claims the run of a schedule that is due, until the transaction ends. SKIP LOCKED and the condition let one process
 * alone have it: the next run is written in the same transaction. Answers undefined where it is no longer due, or
 * another process has it.
 */
export async function claimDueSchedule(db: Db, id: number): Promise<ScheduleRow | undefined> {
  const [row] = await db.select().from(schedules)
    .where(and(eq(schedules.id, id), eq(schedules.isPaused, false), isNotNull(schedules.nextRun), lte(schedules.nextRun, sql`now()`)))
    .for('no key update', { skipLocked: true }).prepare('claim_schedule').execute();
  return row;
}

/** Writes what became of a run, and when the next one is. The schedule is claimed. */
export async function noteRun(db: Db, id: number, run: Pick<ScheduleRow, 'lastRun' | 'lastOutcome' | 'lastReason' | 'nextRun'>): Promise<void> {
  await db.update(schedules).set(run).where(eq(schedules.id, id));
}

/** Brings a next run forward that a wrong clock put too far ahead, or that was never set. */
export async function bringRunForward(db: Db, id: number, nextRun: Date): Promise<void> {
  await db.update(schedules).set({ nextRun }).where(and(
    eq(schedules.id, id), eq(schedules.isPaused, false), sql`(${schedules.nextRun} is null or ${schedules.nextRun} > ${nextRun.toISOString()}::timestamptz)`,
  ));
}

/** The names of a schedule's backups. */
export async function namesOfSchedule(db: Db, scheduleId: number): Promise<string[]> {
  const rows = await db.select({ name: backups.name }).from(backups).where(eq(backups.scheduleId, scheduleId)).prepare('names_of_schedule').execute();
  return rows.map(({ name }) => name);
}

/** The names of a deployment's backups that begin in this way. */
export async function namesThatBegin(db: Db, deploymentId: number, start: string): Promise<Set<string>> {
  const rows = await db.select({ name: backups.name }).from(backups)
    .where(and(eq(backups.deploymentId, deploymentId), sql`starts_with(${backups.name}, ${start})`)).prepare('names_that_begin').execute();
  return new Set(rows.map(({ name }) => name));
}

/** How many verifications that a schedule has queued have not ended. */
export async function countVerifications(db: Db, scheduleId: number): Promise<number> {
  const rows = await db.select({ id: jobs.id }).from(jobs)
    .where(and(eq(jobs.scheduleId, scheduleId), sql`${jobs.status} in ('SUBMITTED', 'EXECUTING', 'CANCELLING')`)).prepare('verifications').execute();
  return rows.length;
}

/**
 * The successful backups in stores that can be read whose files have not been read for the longest time, so many at
 * most; `storeId` null: of all stores. Locked in the order of their ids; the deployment is locked.
 */
export async function lockLeastVerified(db: Db, deploymentId: number, storeId: number | null, count: number): Promise<BackupRow[]> {
  // As `isReadable` of a store says.
  const isReadable: SQL = sql`exists (select from stores s where s.id = ${backups.storeId} and (s.status <> 'UNREACHABLE' or s.total_bytes is not null))`;
  const isWaiting: SQL = sql`exists (select from jobs j where j.backup_id = ${backups.id} and j.operation = 'VERIFY' and j.status in ('SUBMITTED', 'EXECUTING'))`;
  const oldest = await db.select({ id: backups.id }).from(backups).where(and(
    eq(backups.deploymentId, deploymentId), eq(backups.status, 'SUCCESS'), storeId === null ? undefined : eq(backups.storeId, storeId),
    isReadable, sql`not ${isWaiting}`,
  )).orderBy(sql`${backups.timeVerified} asc nulls first`, asc(backups.id)).limit(count).prepare('least_verified').execute();
  const locked: BackupRow[] = [];
  for (const { id } of oldest.toSorted((a, b) => a.id - b.id)) {
    const [row] = await db.select().from(backups).where(eq(backups.id, id)).for('no key update').prepare('backup').execute();
    if (row !== undefined) locked.push(row);
  }
  return locked;
}
