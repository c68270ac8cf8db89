/**
 * verifyBackup: a backup's files are read back, and compared with what was written.
 */
import { RuleCheck } from '../domain/rules.ts';
import { findBackup } from '../records/backups.ts';
import { findCheckOf } from '../records/checks.ts';
import { insertJob } from '../records/jobs.ts';
import type { BackupRow, Db, JobRow } from '../records/rows.ts';
import type { ServiceContext } from './context.ts';

/** Whether a backup in this status can be verified: there should be files, or there were and may be again. */
export const isVerifiable = ({ status }: Pick<BackupRow, 'status'>): boolean => status === 'SUCCESS' || status === 'MISSING';

/**
 * Queues a verification, or answers the one of this backup that waits or runs. Call it with the backup's row locked
 * and `isVerifiable`.
 */
export async function queueVerification(tx: Db, backup: BackupRow, initiatedBy: string, scheduleId: number | null = null): Promise<JobRow> {
  return await findCheckOf(tx, 'VERIFY', backup.id)
    // Of no host: the store alone is needed, and the backup's host may have left the deployment.
    ?? insertJob(tx, { deploymentId: backup.deploymentId, hostId: null, operation: 'VERIFY', backupId: backup.id, scheduleId, initiatedBy });
}

/** Starts to verify a backup. @throws RuleViolationsError */
export async function verifyBackup(context: ServiceContext, id: number | null): Promise<{ backup: BackupRow; job: JobRow }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('verifyBackup');
    const backup = id === null ? undefined : await findBackup(tx, id, 'lock');
    if (backup === undefined) throw rules.refusal('BACKUP_NOT_FOUND', 'id');
    if (!isVerifiable(backup)) throw rules.refusal('BACKUP_NOT_VERIFIABLE', 'id');
    return { backup, job: await queueVerification(tx, backup, context.principal.name) };
  });
}
