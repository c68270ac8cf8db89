/**
 * RESTORE jobs: the groups of a backup take the place of what is there. Whether an earlier attempt got as far as
 * replacing files is in its journal; that decides before anything else is done.
 */
import { dirname } from 'node:path';
import { GatewayError } from '../domain/errors.ts';
import { isFiles, type PostgresSource } from '../domain/deployment.ts';
import * as engine from '../engine/index.ts';
import { findBackup } from '../records/backups.ts';
import { allStores, findDeployment, placesOf } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import { changeRestoreStatus, dropHiddenRestore, findRestore } from '../records/restores.ts';
import type { RestoreRow } from '../records/rows.ts';
import { journalPlaceOf, noteSwapOver, noteSwapping } from '../records/swaps.ts';
import { MAX_ATTEMPTS, type Operation, type WorkerContext } from './context.ts';
import { runAfterHooks, runBeforeHooks } from './hooks.ts';
import { journalPlace, journalsId } from './journals.ts';
import { JobLostError, type Run } from './run.ts';
import { storeOf } from './store-of.ts';

const ACTIVE = ['REQUESTING', 'INITIALIZING', 'IN_PROGRESS'] as const;

/** Names one attempt's journal and staging directories. */
const restoreKey = (run: Run, epoch = run.hold.epoch): string => `${run.job.jobId}-${epoch}`;
/** Which job a journal or staging directory is of. */
export const jobOfRestoreKey = (key: string): string => key.replace(/-\d+$/, '');

/** The databases that the deployment names, by which an interrupted restore finds out which of them are new. */
export async function deployedDatabases(context: WorkerContext): Promise<PostgresSource[]> {
  const deployed = (await findDeployment(context.db))?.deployed;
  return (deployed?.hosts ?? []).flatMap((host) => [...Object.values(host.content).flat(), ...host.data]).filter((source) => source.type === 'POSTGRES');
}

/**
 * Brings every attempt up to one to its end. `rolled-forward`: one of them had begun to replace files, and that is
 * finished now; `none`: no journal of any of them is here.
 */
async function recoverAttempts(context: WorkerContext, run: Run, last: number): Promise<engine.Recovery> {
  const databases = await deployedDatabases(context);
  const found = new Set<engine.Recovery>();
  for (let epoch = 1; epoch <= last; epoch += 1) {
    found.add(await engine.recoverRestore(context.journalDir, restoreKey(run, epoch), { databases, onWarning: (text) => run.note(text) }));
  }
  return found.has('rolled-forward') ? 'rolled-forward' : found.has('rolled-back') ? 'rolled-back' : 'none';
}

/**
 * Why the restore cannot go on here: an earlier attempt had begun to replace files, and its journal is in another
 * DATA_DIR. null: it can. What is to be known of the journals that are here has been found out before.
 */
async function journalElsewhere(context: WorkerContext, run: Run, recovery: engine.Recovery): Promise<GatewayError | null> {
  if (!run.job.isSwapping || recovery === 'rolled-forward') return null;
  const place = journalPlaceOf(run.job);
  const own = await journalsId(context.journalDir).catch(() => null);
  // With the journals here, a journal that is gone says that what it was about is over.
  if (place === null ? recovery === 'rolled-back' : place.journals === own) return null;
  const where = place === null ? 'the DATA_DIR of the worker that ran it before' : `${place.dataDir} on ${place.machine}`;
  return new GatewayError('JOURNAL_ELSEWHERE',
    `The restore had begun to replace its targets when its worker was lost: they may be half old and half new. Its journal, which says how far it got, is in ${where}, and not in this worker's ${dirname(context.journalDir)}.`,
    'Start a worker of the console with that DATA_DIR: it brings the targets to their new content when it starts. If that directory is lost, restore the backup again; what was there before may then be found beside the targets, in directories called .backup-gateway-restore-….');
}

export const restoreOperation: Operation = {
  async run(context, run) {
    const restore = await begin(context, run);
    await runBeforeHooks(context, run);
    const recovery = await recoverAttempts(context, run, run.hold.epoch - 1);
    const elsewhere = await journalElsewhere(context, run, recovery);
    if (elsewhere !== null) throw elsewhere;
    if (recovery !== 'rolled-forward') await replace(context, run, restore);
    await runAfterHooks(context, run, 'SUCCESS');
    await run.end();
    const isDone = await finish(context, run, restore, 'COMPLETED', 'SUCCESS', null);
    if (!isDone) throw new JobLostError();
  },

  async fail(context, run, reason) {
    const restore = run.job.restoreId === null ? undefined : await findRestore(context.db, run.job.restoreId);
    // A job that ran out of attempts may have died while it replaced files: that is finished, whatever it says. This
    // attempt is among them: its own end may have failed half-way.
    const recovery = await recoverAttempts(context, run, run.hold.epoch).catch((error: unknown) => {
      // Further attempts follow while there are some; then a person must know, and each start tries once more.
      if (run.job.attempt <= MAX_ATTEMPTS) throw error;
      reason = `What it replaces is neither old nor new, or left-over files remain. Each start of the worker tries to bring it to an end. ${error instanceof GatewayError ? error.advice : String(error)}`;
      return null;
    });
    const isDone = recovery === 'rolled-forward';
    if (recovery !== null) reason = (await journalElsewhere(context, run, recovery))?.advice ?? reason;
    await runAfterHooks(context, run, isDone ? 'SUCCESS' : 'FAILED', isDone ? '' : reason);
    return isDone ? finish(context, run, restore, 'COMPLETED', 'SUCCESS', null) : finish(context, run, restore, 'FAILED', 'FAILED', reason);
  },

  async cancel(context, run) {
    const { restoreId } = run.job;
    // No target has been touched; what can't be removed now, the sweep of a start removes.
    await recoverAttempts(context, run, run.hold.epoch).catch((error: unknown) => context.log.warn({ error }, 'leftovers of a cancelled restore remain'));
    await runAfterHooks(context, run, 'CANCELLED');
    await context.db.transaction(async (tx) => {
      if (restoreId !== null) await findRestore(tx, restoreId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['CANCELLING'], 'CANCELLED') || restoreId === null) return;
      await changeRestoreStatus(tx, restoreId, ACTIVE, 'PENDING');
      await dropHiddenRestore(tx, restoreId);
    });
  },
};

async function begin(context: WorkerContext, run: Run): Promise<RestoreRow> {
  return context.db.transaction(async (tx) => {
    const restore = run.job.restoreId === null ? undefined : await findRestore(tx, run.job.restoreId, 'lock');
    if (restore === undefined) throw new JobLostError();
    // Cancelled or lost since it was claimed: `settle` finds out which.
    if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'EXECUTING')) throw new JobLostError();
    await changeRestoreStatus(tx, restore.id, ['REQUESTING'], 'INITIALIZING');
    return restore;
  });
}

/** Resolves what goes where, and lets the engine do it. */
async function replace(context: WorkerContext, run: Run, restore: RestoreRow): Promise<void> {
  const backup = restore.backupId === null ? undefined : await findBackup(context.db, restore.backupId);
  const { store } = await placesOf(context.db, backup);
  const deployment = (await findDeployment(context.db, restore.deploymentId))?.deployed;
  if (backup === undefined || store === undefined || deployment === undefined) {
    throw new GatewayError('BACKUP_GONE', 'The backup is gone.', 'Choose another backup.');
  }
  const content = deployment.hosts.find((host) => host.console)?.content ?? {};
  const targets = restore.groups.flatMap((group) => {
    const sources = content[group];
    if (sources === undefined) throw new GatewayError('TARGET_UNKNOWN', `The deployment does not say where ${group} belongs.`, 'Declare the group under the console\'s content in the deployment file, and deploy.');
    return sources.map((source) => ({ group, source }));
  });
  const others = deployment.hosts.flatMap((host) => [
    ...host.data, ...Object.entries(host.content).filter(([group]) => !restore.groups.some((restored) => restored === group)).flatMap(([, sources]) => sources),
  ]);
  const identity = run.job.sealedIdentity === null ? null : context.sealing.open(run.job.sealedIdentity);
  await run.mustStillHold();
  if (run.job.isSwapping) await noteSwapOver(context.db, run.hold);
  await changeRestoreStatus(context.db, restore.id, ['INITIALIZING'], 'IN_PROGRESS');

  await engine.restore({
    backup: storeOf(store).open(backup.directory), groups: restore.groups, targets, identity,
    journalDir: context.journalDir, restoreKey: restoreKey(run),
    protectedPaths: [...(await allStores(context.db)).flatMap(({ type, path }) => (type === 'DIRECTORY' ? [path] : [])), ...others.filter(isFiles).map(({ path }) => path)],
  }, {
    signal: run.signal,
    onProgress: (progress) => run.progress(progress),
    // After this the restore can't be cancelled any more, and nobody else may begin it.
    async beforeSwap() {
      await run.mustStillHold();
      if (!await noteSwapping(context.db, run.hold, await journalPlace(context.journalDir))) {
        await run.mustStillHold();
        throw new JobLostError();
      }
    },
    onWarning: (text) => run.note(text),
  });
}

async function finish(
  context: WorkerContext, run: Run, restore: RestoreRow | undefined, job: 'COMPLETED' | 'FAILED', to: 'SUCCESS' | 'FAILED', error: string | null,
): Promise<boolean> {
  return context.db.transaction(async (tx) => {
    if (restore !== undefined) await findRestore(tx, restore.id, 'lock');
    if (!await changeHeldJob(tx, run.hold, job === 'FAILED' ? ['SUBMITTED', 'EXECUTING'] : ['EXECUTING'], job, { error })) return false;
    if (restore !== undefined) {
      await changeRestoreStatus(tx, restore.id, to === 'SUCCESS' ? ['IN_PROGRESS'] : ACTIVE, to);
      await dropHiddenRestore(tx, restore.id);
    }
    return true;
  });
}
