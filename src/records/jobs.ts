/**
 * Jobs: the queue and the truth about each long operation, in one table. A worker holds a job by a lease and an
 * epoch: every write of a worker names its epoch, so that one that lost the job can change nothing any more.
 */
import { randomUUID } from 'node:crypto';
import { and, asc, eq, inArray, isNull, or, sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { jobs } from '../db/schema.ts';
import type { JobOperation, JobStatus } from '../domain/vocabulary.ts';
import type { RecordRef } from './ids.ts';
import { countRows, readPage, type Page, type PageArguments } from './page.ts';
import { isAnyOf, type Columns, type JobRow } from './rows.ts';
import type { ServedHosts } from './workers.ts';

export { isConnectionFault } from '../db/pool.ts';

/** How long a claim holds without a sign of life, in seconds. */
export const LEASE_SECONDS = 10;
/**
 * For how long after its worker's last sign of life a restore that has begun to replace files waits for a worker that has
 * its journal, in seconds. A machine is up again within an hour, or will not be soon; and while the restore waits, no
 * other one and no backup can run.
 */
export const JOURNAL_PATIENCE_SECONDS = 60 * 60;

export interface JobFilter {
  status?: readonly JobStatus[] | null;
  operation?: readonly JobOperation[] | null;
  deployment?: RecordRef | 'none' | null;
}

function condition({ status, operation, deployment }: JobFilter): SQL | undefined {
  return and(
    status == null ? undefined : isAnyOf(jobs.status, status, 'text'),
    operation == null ? undefined : isAnyOf(jobs.operation, operation, 'text'),
    deployment == null ? undefined : deployment === 'none' ? sql`false` : eq(jobs.deploymentId, deployment.by === 'id' ? deployment.id : deployment.number),
  );
}

/** A page of jobs, the newest first. */
export function listJobs(db: Db, list: { filter: JobFilter; page: PageArguments; columns: Columns }): Promise<Page<JobRow>> {
  return readPage<JobRow>(db, jobs, {
    columns: list.columns, page: list.page, where: condition(list.filter),
    sort: { name: 'ID', expression: sql`${jobs.id}`, type: 'bigint' }, descending: true,
  });
}

export const countJobs = (db: Db, filter: JobFilter): Promise<number> => countRows(db, jobs, condition(filter));

/** Finds a job by its documented `jobId`. */
export async function findIdOfJob(db: Db, jobId: string): Promise<number | undefined> {
  const [row] = await db.select({ id: jobs.id }).from(jobs).where(eq(jobs.jobId, jobId)).prepare('job_by_job_id').execute();
  return row?.id;
}

/** Reads a job whole. With `lock`, nobody else can change it until the transaction ends. */
export async function findJob(db: Db, id: number, lock?: 'lock'): Promise<JobRow | undefined> {
  const query = db.select().from(jobs).where(eq(jobs.id, id));
  const [row] = await (lock === undefined ? query.prepare('job') : query.for('no key update').prepare('job')).execute();
  return row;
}

/** The job that made each backup, or works on each restore: the newest of that operation. */
export async function jobIdsOf(db: Db, operation: 'BACKUP' | 'RESTORE', recordIds: readonly number[]): Promise<(number | undefined)[]> {
  const record = operation === 'BACKUP' ? jobs.backupId : jobs.restoreId;
  const rows = await db.select({ record, id: sql<number>`max(${jobs.id})::int8`.mapWith(Number) }).from(jobs)
    .where(and(isAnyOf(record, recordIds, 'bigint'), eq(jobs.operation, operation))).groupBy(record).prepare('jobs_of').execute();
  const byRecord = new Map(rows.map((row) => [row.record, row.id]));
  return recordIds.map((id) => byRecord.get(id));
}

export type NewJob = Pick<typeof jobs.$inferInsert,
  'deploymentId' | 'hostId' | 'operation' | 'backupId' | 'restoreId' | 'storeId' | 'scheduleId' | 'groups' | 'messages' | 'initiatedBy' | 'sealedIdentity'>;

/** Queues a job. */
export async function insertJob(db: Db, values: NewJob): Promise<JobRow> {
  const [row] = await db.insert(jobs).values({ ...values, jobId: `j${randomUUID()}`, status: 'SUBMITTED' }).returning();
  return row as JobRow;
}

const leaseEnd = sql`now() + make_interval(secs => ${LEASE_SECONDS})`;
// The second half frees a job whose lease lies too far ahead, because the clock was moved back.
const isFree = sql`(${jobs.leaseUntil} is null or ${jobs.leaseUntil} < now() or ${jobs.leaseUntil} > now() + make_interval(secs => ${2 * LEASE_SECONDS}))`;

/** When the job's worker was last heard of, or a little later. */
const lastSign = sql`coalesce(${jobs.leaseUntil}, ${jobs.timeUpdated})`;

/**
 * Claims the oldest job of these operations that waits, or whose worker has died, for the hosts that are served. A
 * deletion waits until the run that it cancels has ended; a restore that has begun to replace files, for a worker that has
 * its journal, as long as there is hope. SKIP LOCKED keeps two workers from one job.
 *
 * @param journals names the directory of journals that this worker has; null: it has none now
 */
export async function claimJob(db: Db, operations: readonly JobOperation[], served: ServedHosts, journals: string | null): Promise<JobRow | undefined> {
  const candidate = db.select({ id: jobs.id }).from(jobs).where(and(
    inArray(jobs.status, ['SUBMITTED', 'EXECUTING', 'CANCELLING']), isFree,
    isAnyOf(jobs.operation, operations, 'text'),
    served.isEvery ? undefined : or(isAnyOf(jobs.hostId, served.ids, 'bigint'), served.hasConsole ? isNull(jobs.hostId) : undefined),
    sql`(not ${jobs.isSwapping} or ${jobs.result} -> 'journal' is null or ${jobs.result} #>> '{journal,journals}' = ${journals}
      or ${lastSign} < now() - make_interval(secs => ${JOURNAL_PATIENCE_SECONDS}))`,
    sql`(${jobs.operation} <> 'DELETE' or exists (select from backups b where b.id = ${jobs.backupId} and b.status = 'DELETING'))`,
  )).orderBy(asc(jobs.id)).limit(1).for('update', { skipLocked: true });
  const [row] = await db.update(jobs).set({
    epoch: sql`${jobs.epoch} + 1`, attempt: sql`${jobs.attempt} + 1`, leaseUntil: leaseEnd, timeUpdated: sql`now()`,
  }).where(eq(jobs.id, sql`(${candidate})`)).returning();
  return row;
}

/** A worker's hold on a job. */
export type Hold = Pick<JobRow, 'id' | 'epoch'>;
/** The job, as long as this hold is the row's. */
export const held = (hold: Hold): SQL | undefined => and(eq(jobs.id, hold.id), eq(jobs.epoch, hold.epoch));

/**
 * Prolongs the lease.
 * @returns the job's status, or undefined where the job has been lost to another worker.
 */
export async function renewLease(db: Db, hold: Hold): Promise<JobStatus | undefined> {
  const [row] = await db.update(jobs).set({ leaseUntil: leaseEnd })
    .where(and(held(hold), inArray(jobs.status, ['SUBMITTED', 'EXECUTING', 'CANCELLING']))).returning({ status: jobs.status });
  return row?.status;
}

/**
 * Gives a job back, for whoever claims it next.
 * @param isCounted whether this was one of its attempts, as where the database went away; a worker that stops made none
 */
export async function releaseJob(db: Db, hold: Hold, isCounted = false): Promise<void> {
  await db.update(jobs).set({ leaseUntil: null, epoch: sql`${jobs.epoch} + 1`, attempt: isCounted ? undefined : sql`${jobs.attempt} - 1` }).where(held(hold));
}

export interface JobProgress { bytesDone: number; bytesTotal: number | null; filesDone: number; filesTotal: number | null }

/** Notes how far a job is, and wakes those who watch. Nothing happens where the job has been lost. */
export async function noteProgress(db: Db, hold: Hold, progress: JobProgress): Promise<void> {
  await db.execute(sql`with noted as (
      update jobs set bytes_done = ${progress.bytesDone}, bytes_total = ${progress.bytesTotal}, files_done = ${progress.filesDone},
        files_total = ${progress.filesTotal}, time_updated = now()
      where id = ${hold.id} and epoch = ${hold.epoch} and status in ('EXECUTING', 'CANCELLING') returning id)
    select wake('backup_gateway_progress', id::text) from noted`);
}

/** So many that a tree full of oddities is told of, and no row grows without end. */
const MESSAGES_KEPT = 100;

/** Adds to what the job has noted on the way. Nothing happens where the job has ended or been lost. */
export async function noteMessage(db: Db, hold: Hold, text: string): Promise<void> {
  await db.update(jobs).set({ messages: sql`array_append(${jobs.messages}, ${text})`, timeUpdated: sql`now()` })
    .where(and(held(hold), inArray(jobs.status, ['SUBMITTED', 'EXECUTING', 'CANCELLING']), sql`cardinality(${jobs.messages}) < ${MESSAGES_KEPT}`));
}

/**
 * Moves a job that this worker holds to a status; with the job's row locked, so that the rest of the transaction
 * is the holder's alone.
 * @returns false where it is in another status, or lost.
 */
export async function changeHeldJob(
  db: Db, hold: Hold, from: readonly JobStatus[], to: JobStatus, side: Partial<typeof jobs.$inferInsert> = {},
): Promise<boolean> {
  const changed = await db.update(jobs).set({ ...side, ...times(to), status: to })
    .where(and(held(hold), inArray(jobs.status, [...from]))).returning({ id: jobs.id });
  return changed.length > 0;
}

/** Moves a job to a status on a person's behalf. @returns false where it is in another status. */
export async function changeJobStatus(db: Db, id: number, from: readonly JobStatus[], to: JobStatus): Promise<boolean> {
  const changed = await db.update(jobs).set({ ...times(to), status: to })
    .where(and(eq(jobs.id, id), inArray(jobs.status, [...from]))).returning({ id: jobs.id });
  return changed.length > 0;
}

/** What goes with each status: its time, and at the end neither lease nor key. */
function times(to: JobStatus): Record<string, SQL | null> {
  const now = { timeUpdated: sql`now()` };
  if (to === 'EXECUTING') return { ...now, timeStarted: sql`coalesce(${jobs.timeStarted}, now())` };
  if (to === 'COMPLETED' || to === 'FAILED' || to === 'CANCELLED') {
    return { ...now, timeEnded: sql`now()`, leaseUntil: null, sealedIdentity: null };
  }
  return now;
}

/** For how many seconds a job has been at work, all attempts together; 0 where the clock was moved back since. */
export async function secondsSinceStart(db: Db, { id }: Pick<Hold, 'id'>): Promise<number> {
  const [row] = await db.select({ seconds: sql<number>`extract(epoch from now() - ${jobs.timeStarted})::float8`.mapWith(Number) }).from(jobs).where(eq(jobs.id, id));
  return Math.max(0, row?.seconds ?? 0);
}

/** The unfinished job of an operation on a backup or restore. */
export async function findUnfinishedJob(db: Db, record: { backupId: number } | { restoreId: number }, operation: JobOperation): Promise<JobRow | undefined> {
  const [row] = await db.select().from(jobs).where(and(
    'backupId' in record ? eq(jobs.backupId, record.backupId) : eq(jobs.restoreId, record.restoreId),
    eq(jobs.operation, operation), inArray(jobs.status, ['SUBMITTED', 'EXECUTING', 'CANCELLING']),
  )).limit(1).prepare('unfinished_job').execute();
  return row;
}

/** Which of these jobs have ended, and how: nobody comes back to their files. Unknown ones may be another installation's. */
export async function endedJobs(db: Db, jobIds: readonly string[]): Promise<Map<string, JobStatus>> {
  const rows = await db.select({ jobId: jobs.jobId, status: jobs.status }).from(jobs)
    .where(and(isAnyOf(jobs.jobId, jobIds, 'text'), inArray(jobs.status, ['COMPLETED', 'FAILED', 'CANCELLED']))).prepare('ended_jobs').execute();
  return new Map(rows.map((row) => [row.jobId, row.status]));
}
