/**
 * What is found out about backups after they were made: the jobs that verify, drill, plan and scan, and what they
 * write. Every write of a worker here belongs into a transaction that also names its hold on the job.
 */
import { and, eq, inArray, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { backups, jobs, stores, type DrillReport } from '../db/schema.ts';
import type { JobOperation } from '../domain/vocabulary.ts';
import { changeJobStatus } from './jobs.ts';
import type { BackupRow, JobRow, StoreRow } from './rows.ts';
export type { BackupOrigin, DrillReport } from '../db/schema.ts';

/** What only reads a backup, so that its deletion need not wait for it. */
export const READING_OPERATIONS = ['VERIFY', 'DRILL', 'PLAN'] as const satisfies JobOperation[];

/** The job of an operation that is wanted still: one that is being cancelled does not count. */
async function findWantedJob(db: Db, operation: JobOperation, of: { backupId: number } | { storeId: number }): Promise<JobRow | undefined> {
  const [row] = await db.select().from(jobs).where(and(
    'backupId' in of ? eq(jobs.backupId, of.backupId) : eq(jobs.storeId, of.storeId),
    eq(jobs.operation, operation), inArray(jobs.status, ['SUBMITTED', 'EXECUTING']),
  )).limit(1).prepare('wanted_job').execute();
  return row;
}

/** The verification or drill of a backup that waits or runs. With the backup's row locked, no other comes up meanwhile. */
export const findCheckOf = (db: Db, operation: 'VERIFY' | 'DRILL', backupId: number): Promise<JobRow | undefined> => findWantedJob(db, operation, { backupId });

/** The scan of a store that waits or runs. With the deployment locked, no other comes up meanwhile. */
export const findScanOf = (db: Db, storeId: number): Promise<JobRow | undefined> => findWantedJob(db, 'SCAN', { storeId });

/** How many restore plans of the deployment wait or run. */
export async function countPlans(db: Db, deploymentId: number): Promise<number> {
  const rows = await db.select({ id: jobs.id }).from(jobs).where(and(
    eq(jobs.deploymentId, deploymentId), eq(jobs.operation, 'PLAN'), inArray(jobs.status, ['SUBMITTED', 'EXECUTING']),
  )).prepare('plans').execute();
  return rows.length;
}

/** Asks everything that only reads the backup to stop: it is being deleted. The backup's row is locked. */
export async function cancelReaders(db: Db, backupId: number): Promise<void> {
  const rows = await db.select({ id: jobs.id }).from(jobs).where(and(
    eq(jobs.backupId, backupId), inArray(jobs.operation, [...READING_OPERATIONS]), inArray(jobs.status, ['SUBMITTED', 'EXECUTING']),
  )).orderBy(jobs.id).prepare('readers').execute();
  for (const { id } of rows) await changeJobStatus(db, id, ['SUBMITTED', 'EXECUTING'], 'CANCELLING');
}

/** What reading a backup's files has shown. */
export type VerificationFindings = Omit<Partial<BackupRow>, 'id' | 'status'> & Pick<BackupRow, 'fileProblems' | 'problemDetails'>;

/** Writes what a verification has found; changes no status. The backup's row is locked. */
export async function noteVerification(db: Db, backupId: number, findings: VerificationFindings): Promise<void> {
  await db.update(backups).set(findings).where(eq(backups.id, backupId));
}

/** Writes how a drill ended. The backup's row is locked. */
export async function noteDrill(db: Db, backupId: number, report: DrillReport): Promise<void> {
  await db.update(backups).set({ lastDrill: report }).where(eq(backups.id, backupId));
}

/** Whether a job of this id is known here, and the backup that it made or was to make. */
export async function findJobOfManifest(db: Db, jobId: string): Promise<{ job: JobRow; backup: BackupRow | undefined } | undefined> {
  const [row] = await db.select().from(jobs).leftJoin(backups, eq(backups.id, jobs.backupId)).where(eq(jobs.jobId, jobId)).prepare('job_of_manifest').execute();
  return row === undefined ? undefined : { job: row.jobs, backup: row.backups ?? undefined };
}

/** The backups that the catalogue has of a store, whatever their status, by the names of their directories. */
export async function directoriesOf(db: Db, storeId: number): Promise<Map<string, Pick<BackupRow, 'id' | 'status'>>> {
  const rows = await db.select({ id: backups.id, status: backups.status, directory: backups.directory }).from(backups)
    .where(eq(backups.storeId, storeId)).prepare('directories').execute();
  return new Map(rows.map(({ directory, ...backup }) => [directory, backup]));
}

/** The catalogue's backup of one directory of a store. */
export async function findBackupInStore(db: Db, storeId: number, directory: string): Promise<BackupRow | undefined> {
  const [row] = await db.select().from(backups).where(and(eq(backups.storeId, storeId), eq(backups.directory, directory))).prepare('backup_in_store').execute();
  return row;
}

/** The names of the deployment's backups that are the given one, or that begin with it and a dot. */
export async function namesLike(db: Db, deploymentId: number, name: string): Promise<Set<string>> {
  const rows = await db.select({ name: backups.name }).from(backups)
    .where(and(eq(backups.deploymentId, deploymentId), sql`(${backups.name} = ${name} or starts_with(${backups.name}, ${`${name}.`}))`))
    .prepare('names_like').execute();
  return new Set(rows.map((row) => row.name));
}

/** Reads a store whole. */
export async function findStoreById(db: Db, id: number): Promise<StoreRow | undefined> {
  const [row] = await db.select().from(stores).where(eq(stores.id, id)).prepare('store_whole').execute();
  return row;
}

/** Notes that every backup in the store has been looked for, unless the store has moved since. @returns whether this changed it */
export async function markStoreScanned(db: Db, store: Pick<StoreRow, 'id' | 'path'>): Promise<boolean> {
  const changed = await db.update(stores).set({ isScanned: true })
    .where(and(eq(stores.id, store.id), eq(stores.path, store.path), eq(stores.isScanned, false))).returning({ id: stores.id });
  return changed.length > 0;
}
