/**
 * DELETE jobs: first the files, then the record, so that a record never outlives a successful deletion and a
 * failed one can say what remains.
 */
import { changeBackupStatus, findBackup, removeBackupRecord } from '../records/backups.ts';
import { placesOf } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import type { Operation, WorkerContext } from './context.ts';
import { JobLostError, type Run } from './run.ts';
import { unlessSilent } from './silent-stores.ts';
import { requireStore } from './store-marks.ts';
import { storeOf } from './store-of.ts';

export const deleteOperation: Operation = {
  async run(context, run) {
    if (!await changeHeldJob(context.db, run.hold, ['SUBMITTED', 'EXECUTING'], 'EXECUTING')) throw new JobLostError();
    const backup = run.job.backupId === null ? undefined : await findBackup(context.db, run.job.backupId);
    const { store } = await placesOf(context.db, backup);
    if (backup !== undefined && store !== undefined) {
      // Its files, on a file system that is not mounted, would be back without a record.
      await requireStore(context, store);
      await storeOf(store).remove(backup.directory);
      // Nor have they gone if it was unmounted meanwhile.
      await requireStore(context, store);
    }
    await run.end();
    await context.db.transaction(async (tx) => {
      if (backup !== undefined) await findBackup(tx, backup.id, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['EXECUTING'], 'COMPLETED')) throw new JobLostError();
      if (backup !== undefined) await removeBackupRecord(tx, backup.id);
    });
  },

  async fail(context, run, reason) {
    const isStillThere = await isThere(context, run);
    return context.db.transaction(async (tx) => {
      const backup = run.job.backupId === null ? undefined : await findBackup(tx, run.job.backupId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason })) return false;
      const former = backup?.formerStatus ?? 'FAILED';
      // A deletion that stopped half-way has left no backup: that must never be shown as SUCCESS.
      const status = former === 'SUCCESS' && !isStillThere ? 'MISSING' : former;
      if (backup !== undefined) await changeBackupStatus(tx, backup.id, ['DELETING'], status, { formerStatus: null });
      return true;
    });
  },

  // A deletion can't be cancelled (2009).
  async cancel() {},
};

/** Whether the backup is still in its store; true where the store itself is away, which says nothing about it. */
async function isThere(context: WorkerContext, run: Run): Promise<boolean> {
  const backup = run.job.backupId === null ? undefined : await findBackup(context.db, run.job.backupId);
  const { store } = await placesOf(context.db, backup);
  if (backup === undefined || store === undefined) return false;
  return (async () => unlessSilent(storeOf(store), async () => {
    if (await storeOf(store).has(backup.directory)) return true;
    await requireStore(context, store);
    return false;
  }))().catch(() => true);
}
