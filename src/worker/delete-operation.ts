/**
 * DELETE jobs: first the files, then the record, so that a record never outlives a successful deletion and a
 * failed one can say what remains.
 */
import * as engine from '../engine/index.ts';
import { changeBackupStatus, findBackup, removeBackupRecord } from '../records/backups.ts';
import { placesOf } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import type { Operation } from './context.ts';
import { JobLostError } from './run.ts';

export const deleteOperation: Operation = {
  async run(context, run) {
    if (run.job.status === 'SUBMITTED') await changeHeldJob(context.db, run.hold, ['SUBMITTED'], 'EXECUTING');
    const backup = run.job.backupId === null ? undefined : await findBackup(context.db, run.job.backupId);
    const { store } = await placesOf(context.db, backup);
    if (backup !== undefined && store !== undefined) await engine.removeBackup(store.path, backup.directory);
    await run.end();
    await context.db.transaction(async (tx) => {
      if (backup !== undefined) await findBackup(tx, backup.id, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['EXECUTING'], 'COMPLETED')) throw new JobLostError();
      if (backup !== undefined) await removeBackupRecord(tx, backup.id);
    });
  },

  async fail(context, run, reason) {
    return context.db.transaction(async (tx) => {
      const backup = run.job.backupId === null ? undefined : await findBackup(tx, run.job.backupId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason })) return false;
      if (backup !== undefined) await changeBackupStatus(tx, backup.id, ['DELETING'], backup.formerStatus ?? 'FAILED', { formerStatus: null });
      return true;
    });
  },

  // A deletion can't be cancelled (2009).
  async cancel() {},
};
