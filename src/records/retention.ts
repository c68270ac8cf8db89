/**
 * What retention reads, and what its jobs note.
 */
import { and, eq, inArray, isNotNull, or, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { backups, jobs, schedules } from '../db/schema.ts';
import type { RetentionFacts, RetentionPolicy } from '../domain/retention.ts';
import type { Hold } from './jobs.ts';
import type { JobRow } from './rows.ts';

/** A backup as retention sees it, with its name for the messages. */
export interface NamedFacts extends RetentionFacts { name: string }

/**
 * Which backups: every one, those that retention might remove together with all that their schedules made, or those
 * that decide on a single one.
 */
export type RetentionScope = 'all' | 'removable' | { backupId: number; scheduleId: number | null };

/** The facts about a deployment's backups, the newest first. */
export function retentionFacts(db: Db, deploymentId: number, scope: RetentionScope): Promise<NamedFacts[]> {
  const { id, name, status, scheduleId, timeInitiated, retentionDate, isKept } = backups;
  const wanted = scope === 'all' ? undefined
    : scope === 'removable' ? or(isNotNull(scheduleId), isNotNull(retentionDate))
      : or(eq(id, scope.backupId), scope.scheduleId === null ? undefined : eq(scheduleId, scope.scheduleId));
  return db.select({
    id, name, status, scheduleId, timeInitiated, retentionDate, isKept,
    isDamaged: sql<boolean>`cardinality(${backups.fileProblems}) > 0`,
    // Named in full: a column that is put in here would lose its table, and be taken for one of the restore's.
    isInRestore: sql<boolean>`exists (select from restores r where r.backup_id = backups.id and r.status in ('PENDING', 'REQUESTING', 'INITIALIZING', 'IN_PROGRESS'))`,
  }).from(backups).where(and(eq(backups.deploymentId, deploymentId), wanted)).orderBy(sql`${id} desc`).prepare('retention_facts').execute();
}

/** What the schedules of a deployment keep. */
export function retentionPolicies(db: Db, deploymentId: number): Promise<RetentionPolicy[]> {
  const { id, name, keepDays, keepLast } = schedules;
  return db.select({ scheduleId: id, name, keepDays, keepLast }).from(schedules)
    .where(and(eq(schedules.deploymentId, deploymentId), eq(schedules.operation, 'BACKUP'))).prepare('retention_policies').execute();
}

/** The RETENTION job of a deployment that waits or runs. With the deployment locked, no other comes up meanwhile. */
export async function findRetentionJob(db: Db, deploymentId: number): Promise<JobRow | undefined> {
  const [row] = await db.select().from(jobs).where(and(
    eq(jobs.deploymentId, deploymentId), eq(jobs.operation, 'RETENTION'), inArray(jobs.status, ['SUBMITTED', 'EXECUTING']),
  )).limit(1).prepare('retention_job').execute();
  return row;
}

/** How many removals a job tells one by one: fewer than a job keeps messages, so that its last words have room. */
export const REMOVALS_TOLD = 90;

/**
 * Counts a removal on the RETENTION job, in the transaction that removes.
 * @returns false where the job has been cancelled, or lost to another worker: then nothing must be removed
 */
export async function noteRemoval(db: Db, hold: Hold, text: string): Promise<boolean> {
  const noted = await db.update(jobs).set({
    result: sql`jsonb_build_object('removed', ${removedSoFar} + 1)`,
    messages: sql`case when ${removedSoFar} < ${REMOVALS_TOLD}::int then array_append(${jobs.messages}, ${text}::text) else ${jobs.messages} end`,
    timeUpdated: sql`now()`,
  }).where(and(eq(jobs.id, hold.id), eq(jobs.epoch, hold.epoch), eq(jobs.status, 'EXECUTING'))).returning({ id: jobs.id });
  return noted.length > 0;
}

const removedSoFar = sql`coalesce((${jobs.result} ->> 'removed')::int, 0)`;

/** How many backups a RETENTION job has removed so far, attempts before this one included. */
export async function countRemovals(db: Db, jobId: number): Promise<number> {
  const [row] = await db.select({ removed: removedSoFar.mapWith(Number) }).from(jobs).where(eq(jobs.id, jobId)).prepare('removals').execute();
  return row?.removed ?? 0;
}
