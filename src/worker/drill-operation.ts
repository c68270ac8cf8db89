/**
 * DRILL jobs: a backup is unpacked into a scratch directory of this worker, compared, and removed again.
 */
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import * as engine from '../engine/index.ts';
import { findBackup } from '../records/backups.ts';
import { noteDrill } from '../records/checks.ts';
import { changeHeldJob, endedJobs } from '../records/jobs.ts';
import { backupOf, begin, complete, endings } from './checks.ts';
import type { Operation, WorkerContext } from './context.ts';
import type { Run } from './run.ts';
import { storeOf } from './store-of.ts';

/** Names one attempt's scratch directory: whose, which job's and which attempt's. */
const scratchName = (context: WorkerContext, run: Run): string => `${context.installation}.${run.job.jobId}.${run.hold.epoch}`;

/** Removes the scratch directories of which the answer is yes; what resists is tried again by the next start. */
async function removeScratch(context: WorkerContext, isLeftover: (name: string) => boolean): Promise<string[]> {
  const names = (await readdir(context.drillDir).catch(() => [])).filter(isLeftover);
  for (const name of names) {
    await engine.removeScratch(path.join(context.drillDir, name))
      .catch((error: unknown) => context.log.warn({ error, name }, 'what a restore drill unpacked could not be removed; the next start tries again'));
  }
  return names;
}

const removeAttempts = (context: WorkerContext, run: Run): Promise<string[]> =>
  removeScratch(context, (name) => name.startsWith(`${context.installation}.${run.job.jobId}.`));

/** On start: removes what drills of workers that died have left here. */
export async function sweepDrills(context: WorkerContext): Promise<void> {
  const prefix = `${context.installation}.`;
  const jobOf = (name: string): string => name.slice(prefix.length).replace(/\.\d+$/, '');
  const names = (await readdir(context.drillDir).catch(() => [])).filter((name) => name.startsWith(prefix));
  const ended = await endedJobs(context.db, names.map(jobOf));
  const swept = await removeScratch(context, (name) => name.startsWith(prefix) && ended.has(jobOf(name)));
  if (swept.length > 0) context.log.info({ swept }, 'removed what restore drills had left');
}

export const drillOperation: Operation = {
  async run(context, run) {
    await begin(context, run);
    await removeAttempts(context, run);
    const { backup, store } = await backupOf(context, run);
    const identity = run.job.sealedIdentity === null ? null : context.sealing.open(run.job.sealedIdentity);
    const start = performance.now();
    const { files, bytes } = await engine.drill({
      backup: storeOf(store).open(backup.directory), groups: run.job.groups, identity, scratch: path.join(context.drillDir, scratchName(context, run)),
    }, { signal: run.signal, onProgress: (progress) => run.progress(progress), onWarning: (text) => run.note(text) });
    const seconds = Math.round(performance.now() - start) / 1000;

    const report = { time: new Date().toISOString(), isSuccessful: true, files, bytes, seconds, reason: null };
    await complete(context, run, { result: report }, (tx) => noteDrill(tx, backup.id, report));
    context.log.info({ backup: backup.directory, store: store.name, files, bytes, seconds }, 'a restore drill succeeded');
  },

  async fail(context, run, reason) {
    await removeAttempts(context, run);
    return context.db.transaction(async (tx) => {
      const backup = run.job.backupId === null ? undefined : await findBackup(tx, run.job.backupId, 'lock');
      const time = new Date();
      const seconds = run.job.timeStarted === null ? 0 : Math.max(0, (time.getTime() - run.job.timeStarted.getTime()) / 1000);
      const report = { time: time.toISOString(), isSuccessful: false, files: 0, bytes: 0, seconds, reason };
      if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason, result: report })) return false;
      if (backup !== undefined) await noteDrill(tx, backup.id, report);
      return true;
    });
  },

  async cancel(context, run) {
    await removeAttempts(context, run);
    await endings.cancel(context, run);
  },
};
