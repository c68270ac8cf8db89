/**
 * Which backups took more than one attempt, or failed: their other attempts' names in the store are nobody's.
 */
import { and, eq, gt, inArray, ne, or } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { backups, jobs } from '../db/schema.ts';
import type { BackupRow } from './rows.ts';

/** The backups of a store whose jobs have ended after more than one attempt, or without a backup; with the last epoch. */
export function backupsOfManyAttempts(db: Db, storeId: number): Promise<(Pick<BackupRow, 'status' | 'directory'> & { epoch: number })[]> {
  return db.select({ status: backups.status, directory: backups.directory, epoch: jobs.epoch }).from(backups)
    .innerJoin(jobs, and(eq(jobs.backupId, backups.id), eq(jobs.operation, 'BACKUP')))
    .where(and(
      eq(backups.storeId, storeId), inArray(jobs.status, ['COMPLETED', 'FAILED', 'CANCELLED']),
      or(gt(jobs.epoch, 1), ne(jobs.status, 'COMPLETED')),
    )).prepare('backups_of_many_attempts').execute();
}
