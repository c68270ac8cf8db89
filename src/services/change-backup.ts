/**
 * updateBackup, deleteBackup, and the cancelling of a running backup that deleteBackup and cancelJob share.
 */
import { RuleCheck } from '../domain/rules.ts';
import { changeBackupStatus, findBackup, updateBackupDetails } from '../records/backups.ts';
import { cancelReaders } from '../records/checks.ts';
import { lockDeployment } from '../records/deployments.ts';
import { changeJobStatus, findUnfinishedJob, insertJob } from '../records/jobs.ts';
import { isBackupBeingRestored } from '../records/restores.ts';
import type { BackupRow, Db, JobRow } from '../records/rows.ts';
import type { ServiceContext } from './context.ts';

/** Changes description, retention date and pin; a property left out stays as it is. @throws RuleViolationsError */
export async function updateBackup(
  context: ServiceContext, id: number | null, details: { description?: string | null; retentionDate?: Date | null; isKept?: boolean },
): Promise<{ backup: BackupRow }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('updateBackup');
    const backup = id === null ? undefined : await findBackup(tx, id, 'lock');
    if (backup === undefined) throw rules.refusal('BACKUP_NOT_FOUND', 'id');
    await updateBackupDetails(tx, backup.id, details);
    return { backup: { ...backup, ...details } };
  });
}

/** The backup as the deletion found it, since its record may be gone any moment, and the DELETE job. */
export interface Deletion { backup: BackupRow; job: JobRow }

/** Cancels a running backup, or removes a finished one; both by a DELETE job. @throws RuleViolationsError */
export async function deleteBackup(context: ServiceContext, id: number | null): Promise<Deletion> {
  return context.db.transaction(async (tx) => {
    const found = id === null ? undefined : await findBackup(tx, id);
    if (found === undefined) throw new RuleCheck('deleteBackup').refusal('BACKUP_NOT_FOUND', 'id');
    // The deployment's lock first, as everywhere: a restore of this backup may be starting.
    await lockDeployment(tx, found.deploymentId);
    return deleteLockedBackup(tx, context, found.id);
  });
}

/** The same within a transaction that has locked the deployment. `messages` are the DELETE job's first. @throws RuleViolationsError */
export async function deleteLockedBackup(tx: Db, context: ServiceContext, id: number, messages: string[] = []): Promise<Deletion> {
  const rules = new RuleCheck('deleteBackup');
  const backup = await findBackup(tx, id, 'lock');
  if (backup === undefined) throw rules.refusal('BACKUP_NOT_FOUND', 'id');
  if (backup.status === 'CANCELLING' || backup.status === 'DELETING') throw rules.refusal('BACKUP_NOT_DELETABLE', 'id');
  if (await isBackupBeingRestored(tx, backup.id)) throw rules.refusal('BACKUP_IN_USE', 'id');

  if (backup.status === 'INITIALIZING' || backup.status === 'IN_PROGRESS') return cancelRunningBackup(tx, context, backup);
  await changeBackupStatus(tx, backup.id, [backup.status], 'DELETING', { formerStatus: backup.status });
  // Who only reads it gives way: nobody wants to know any more.
  await cancelReaders(tx, backup.id);
  return { backup: { ...backup, status: 'DELETING' }, job: await insertDeletion(tx, context, backup, messages) };
}

/** Asks the worker to stop, and queues the deletion that follows. The backup's row is locked. */
export async function cancelRunningBackup(tx: Db, context: ServiceContext, backup: BackupRow): Promise<Deletion> {
  await changeBackupStatus(tx, backup.id, ['INITIALIZING', 'IN_PROGRESS'], 'CANCELLING');
  const run = await findUnfinishedJob(tx, { backupId: backup.id }, 'BACKUP');
  if (run !== undefined) await changeJobStatus(tx, run.id, ['SUBMITTED', 'EXECUTING'], 'CANCELLING');
  return { backup: { ...backup, status: 'CANCELLING' }, job: await insertDeletion(tx, context, backup) };
}

/** Of no host: the store alone is needed, and the backup's host may have left the deployment. */
const insertDeletion = (tx: Db, context: ServiceContext, backup: BackupRow, messages: string[] = []) => insertJob(tx, {
  deploymentId: backup.deploymentId, hostId: null, operation: 'DELETE', backupId: backup.id,
  initiatedBy: context.principal.name, messages,
});
