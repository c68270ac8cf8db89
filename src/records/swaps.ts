/**
 * Restores that have begun to replace files: in which DATA_DIR the journal lies that says how far each got. Whoever does
 * not see that journal can neither finish the restore nor begin it anew without losing what was there before it.
 */
import { and, eq, gt, sql } from 'drizzle-orm';
import { alias } from 'drizzle-orm/pg-core';
import type { Db } from '../db/client.ts';
import { jobs, restores } from '../db/schema.ts';
import { endedJobs, held, type Hold } from './jobs.ts';
import { isAnyOf, type JobRow } from './rows.ts';

/** Where the journal of a restore lies. */
export interface JournalPlace {
  /** Names the directory of journals, on whatever machine and path it is seen. */
  journals: string;
  /** The machine whose worker began to replace files. */
  machine: string;
  /** The DATA_DIR there. */
  dataDir: string;
}

/** Where the job says that its journal lies; null: it does not, as in jobs of earlier versions. */
export const journalPlaceOf = (job: Pick<JobRow, 'result'>): JournalPlace | null => (job.result as { journal?: JournalPlace } | null)?.journal ?? null;

/** Notes that the restore has begun to replace files, unless it is being cancelled or lost. */
export async function noteSwapping(db: Db, hold: Hold, journal: JournalPlace): Promise<boolean> {
  const changed = await db.update(jobs).set({ isSwapping: true, result: { journal } })
    .where(and(held(hold), eq(jobs.status, 'EXECUTING'))).returning({ id: jobs.id });
  return changed.length > 0;
}

/** Notes that whatever an earlier attempt replaced has been taken back: the restore begins anew, and can be cancelled. */
export async function noteSwapOver(db: Db, hold: Hold): Promise<void> {
  await db.update(jobs).set({ isSwapping: false, result: null }).where(and(held(hold), jobs.isSwapping));
}

/**
 * Which of these restores' jobs have ended in such a way that a worker may remove what lies beside their targets without
 * having seen their journal. One that failed while it replaced files is left to the worker that has it.
 *
 * @param journals names the directory of journals of the worker that asks; null: it cannot tell
 */
export async function sweepableRestores(db: Db, jobIds: readonly string[], journals: string | null): Promise<Set<string>> {
  const ended = await endedJobs(db, jobIds);
  const rows = await db.select({ jobId: jobs.jobId, result: jobs.result }).from(jobs)
    .where(and(isAnyOf(jobs.jobId, jobIds, 'text'), eq(jobs.status, 'FAILED'), jobs.isSwapping)).prepare('failed_swaps').execute();
  for (const row of rows) {
    const place = journalPlaceOf(row);
    if (place !== null && place.journals !== journals) ended.delete(row.jobId);
  }
  return new Set(ended.keys());
}

/**
 * Which of these restores' jobs had begun to replace files, and a later restore of a common group has since: finishing them
 * now would undo that one.
 */
export async function overtakenRestores(db: Db, jobIds: readonly string[]): Promise<Set<string>> {
  const [later, laterRestores] = [alias(jobs, 'later'), alias(restores, 'later_restores')];
  const rows = await db.selectDistinct({ jobId: jobs.jobId }).from(jobs).leftJoin(restores, eq(restores.id, jobs.restoreId))
    .innerJoin(later, and(eq(later.deploymentId, jobs.deploymentId), gt(later.id, jobs.id), eq(later.operation, 'RESTORE'), later.isSwapping))
    .leftJoin(laterRestores, eq(laterRestores.id, later.restoreId))
    // A record that is gone may have been of any group.
    .where(and(isAnyOf(jobs.jobId, jobIds, 'text'), jobs.isSwapping, sql`(${restores.groups} && ${laterRestores.groups}) is not false`))
    .prepare('overtaken_restores').execute();
  return new Set(rows.map(({ jobId }) => jobId));
}
