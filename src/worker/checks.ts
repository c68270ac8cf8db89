/**
 * What operations that change nothing but findings share: how they begin and how they end.
 */
import { GatewayError } from '../domain/errors.ts';
import { findBackup } from '../records/backups.ts';
import { findDeployment, placesOf } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import type { BackupRow, Db, DeploymentRow, StoreRow } from '../records/rows.ts';
import type { Operation, WorkerContext } from './context.ts';
import { JobLostError, type Run } from './run.ts';

/** Marks the job as at work. @throws JobLostError where it is cancelled or lost; `settle` finds out which */
export async function begin(context: WorkerContext, run: Run): Promise<void> {
  if (!await changeHeldJob(context.db, run.hold, ['SUBMITTED', 'EXECUTING'], 'EXECUTING')) throw new JobLostError();
}

/** The backup is on its way out, or gone. */
export const backupGone = (): GatewayError => new GatewayError('BACKUP_GONE', 'The backup was deleted meanwhile.', 'Choose another backup.');

/** The backup that the job is about, its store and its deployment. @throws GatewayError BACKUP_GONE */
export async function backupOf(context: WorkerContext, run: Run): Promise<{ backup: BackupRow; store: StoreRow; deployment: DeploymentRow }> {
  const backup = run.job.backupId === null ? undefined : await findBackup(context.db, run.job.backupId);
  const { store } = await placesOf(context.db, backup);
  const deployment = backup === undefined ? undefined : await findDeployment(context.db, backup.deploymentId);
  if (backup === undefined || store === undefined || deployment === undefined) throw backupGone();
  return { backup, store, deployment };
}

/**
 * Completes the job and writes what it has found in one transaction, with the backup locked.
 *
 * @throws JobLostError where it is cancelled or lost; GatewayError BACKUP_GONE where the backup cannot be written to any more
 */
export async function complete(
  context: WorkerContext, run: Run, side: Parameters<typeof changeHeldJob>[4], write: (tx: Db, backup: BackupRow) => Promise<void>,
): Promise<void> {
  await run.end();
  await context.db.transaction(async (tx) => {
    const backup = run.job.backupId === null ? undefined : await findBackup(tx, run.job.backupId, 'lock');
    if (!await changeHeldJob(tx, run.hold, ['EXECUTING'], 'COMPLETED', side)) throw new JobLostError();
    if (backup === undefined || (backup.status !== 'SUCCESS' && backup.status !== 'MISSING')) throw backupGone();
    await write(tx, backup);
  });
}

/** How such an operation ends otherwise: nothing has been changed that would have to be taken back. */
export const endings: Pick<Operation, 'fail' | 'cancel'> = {
  fail: (context, run, reason) => changeHeldJob(context.db, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason }),
  async cancel(context, run) {
    await changeHeldJob(context.db, run.hold, ['CANCELLING'], 'CANCELLED');
  },
};
