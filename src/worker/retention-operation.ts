/**
 * RETENTION jobs: each backup that retention no longer keeps is removed by a DELETE job of its own. What is removed is
 * noted with the removal, so that an attempt that follows a dead one goes on where that was.
 */
import { GatewayError } from '../domain/errors.ts';
import { changeHeldJob, noteMessage, type Hold } from '../records/jobs.ts';
import { countRemovals, REMOVALS_TOLD } from '../records/retention.ts';
import type { Operation } from './context.ts';
import { JobLostError } from './run.ts';

/** What RETENTION jobs need of the use cases. */
export interface RetentionTasks {
  /** What there is to remove, the oldest first, by `backups.id`. */
  removableBackups(deploymentId: number): Promise<number[]>;
  /** Removes one backup, if it is still to be removed; JOB_LOST: the job is cancelled or another worker's, nothing was removed. */
  removeBackup(deploymentId: number, backupId: number, hold: Hold): Promise<'REMOVED' | 'KEPT' | 'JOB_LOST'>;
}

export const retentionOperation: Operation = {
  async run({ db, tasks }, run) {
    const { job, hold, signal } = run;
    if (!await changeHeldJob(db, hold, ['SUBMITTED', 'EXECUTING'], 'EXECUTING')) throw new JobLostError();
    const tried = new Set<number>();
    const failures: unknown[] = [];
    let hasJustFailed = false;
    // Looks again at the end: a scheduled backup that succeeds meanwhile queues no second job.
    for (;;) {
      const removable = (await tasks.removableBackups(job.deploymentId)).filter((id) => !tried.has(id));
      if (removable.length === 0) break;
      for (const id of removable) {
        signal.throwIfAborted();
        tried.add(id);
        const outcome = await tasks.removeBackup(job.deploymentId, id, hold).catch((error: unknown) => {
          // One that cannot be removed does not keep the others; two in a row say that nothing can be done now.
          if (hasJustFailed) throw error;
          failures.push(error);
          return 'FAILED' as const;
        });
        hasJustFailed = outcome === 'FAILED';
        // Cancelled or lost: `settle` finds out which.
        if (outcome === 'JOB_LOST') throw new JobLostError();
      }
    }
    const removed = await countRemovals(db, job.id);
    if (removed > REMOVALS_TOLD) await noteMessage(db, hold, `… and ${removed - REMOVALS_TOLD} more; the message of each DELETE job says why.`);
    await noteMessage(db, hold, removed === 0 ? 'There was nothing to remove.' : `Removed ${removed} ${removed === 1 ? 'backup' : 'backups'}, each by a DELETE job of its own.`);
    if (failures.length > 0) {
      throw new GatewayError('RETENTION_INCOMPLETE', `${failures.length} of the backups to remove could not be removed, for an unexpected reason; the worker's log says more.`,
        'The next RETENTION job tries again.', { cause: failures[0] });
    }
    await run.end();
    if (!await changeHeldJob(db, hold, ['EXECUTING'], 'COMPLETED')) throw new JobLostError();
  },

  // What has been removed stays so, and the next job goes on with the rest.
  fail: ({ db }, run, reason) => changeHeldJob(db, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason }),

  async cancel({ db }, run) {
    await changeHeldJob(db, run.hold, ['CANCELLING'], 'CANCELLED');
  },
};
