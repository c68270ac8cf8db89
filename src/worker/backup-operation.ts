/**
 * BACKUP jobs: the deployed sources of the host become archives in the store.
 */
import { join } from 'node:path';
import { GatewayError } from '../domain/errors.ts';
import { groupsOf, type DeploymentSpec, type HostSpec } from '../domain/deployment.ts';
import * as engine from '../engine/index.ts';
import { changeBackupStatus, findBackup, lastDirectoryLike } from '../records/backups.ts';
import { findDeployment, placesOf } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import type { BackupRow, HostRow, StoreRow } from '../records/rows.ts';
import type { Operation, WorkerContext } from './context.ts';
import { runAfterHooks, runBeforeHooks } from './hooks.ts';
import { checkPriority, limitsOf, withinTimeLimit } from './limits.ts';
import { JobLostError, type Run } from './run.ts';
import { unlessSilent } from './silent-stores.ts';
import { requireStore } from './store-marks.ts';
import { storeOf } from './store-of.ts';

/** Marks the unfinished backups of this installation, and among them one attempt's. */
const attemptOf = (context: WorkerContext, run: Run): string => `${context.installation}.${run.job.jobId}.${run.hold.epoch}`;

/** Which job of this installation an unfinished backup belongs to; null: it is not one of ours. */
export function jobOfAttempt(context: WorkerContext, attempt: string): string | null {
  const prefix = `${context.installation}.`;
  return attempt.startsWith(prefix) ? attempt.slice(prefix.length).replace(/\.\d+$/, '') : null;
}

/**
 * The name under which an attempt publishes. Each has its own, so that a worker that has lost its job and does not know
 * it yet can neither replace nor remove what its successor publishes.
 */
export const nameOf = (backup: Pick<BackupRow, 'directory'>, epoch: number): string => (epoch === 1 ? backup.directory : `${backup.directory}.${epoch}`);

/** What attempts up to this one have left in the store: unfinished, or published by one that died before it could say so. */
async function removeLeftovers(context: WorkerContext, run: Run, backup: BackupRow, store: engine.Store, lastEpoch = run.hold.epoch): Promise<void> {
  await store.sweep((attempt) => jobOfAttempt(context, attempt) === run.job.jobId);
  for (let epoch = 1; epoch <= lastEpoch; epoch += 1) await store.remove(nameOf(backup, epoch));
}

/**
 * The same for a run that ends without a backup, and then writes that end. A store that is away keeps its leftover until
 * it is back.
 */
async function endWithoutBackup<T>(context: WorkerContext, run: Run, writeEnd: () => Promise<T>): Promise<T> {
  const backup = run.job.backupId === null ? undefined : await findBackup(context.db, run.job.backupId);
  const { store } = await placesOf(context.db, backup);
  if (backup === undefined || store === undefined) return writeEnd();
  const clean = async () => unlessSilent(storeOf(store), () => removeLeftovers(context, run, backup, storeOf(store)));
  const isClean = await clean().then(() => true, (error: unknown) => {
    context.log.warn({ error }, 'leftovers of a backup remain');
    return false;
  });
  const written = await writeEnd();
  // Not before the end is written: a sweep leaves alone what a job may still come back to.
  if (!isClean) context.unswept.add(store.id);
  return written;
}

export const backupOperation: Operation = {
  async run(context, run) {
    const { backup, host, store: row, deployment } = await begin(context, run);
    const store = storeOf(row);
    await requireStore(context, row);
    const name = nameOf(backup, run.hold.epoch);
    if (run.hold.epoch > 1) await removeLeftovers(context, run, backup, store);
    const spec = deployment.hosts.find((candidate) => candidate.id === host.number);
    if (spec === undefined) throw new GatewayError('HOST_GONE', `Host ${host.number} is no longer in the deployment.`, 'Add it to the deployment file again and deploy.');

    const limits = limitsOf(deployment, backup.type);
    await checkPriority(context, limits);
    const result = await withinTimeLimit(context, run, backup.type, limits.timeLimitMinutes, async () => {
      await runBeforeHooks(context, run);
      return engine.backup({
        store, name, attempt: attemptOf(context, run), priority: limits.priority, ...await incrementalOf(context, backup),
        earlier: await lastDirectoryLike(context.db, backup),
        archives: archivesOf(backup, spec),
        encryption: backup.recipient === null || backup.wrappedIdentity === null ? null
          : { recipient: backup.recipient, wrappedIdentity: Buffer.from(backup.wrappedIdentity, 'base64') },
        facts: { ...factsOf(backup, host, deployment), job: { id: run.job.jobId, attempt: run.hold.epoch } },
      }, {
        signal: run.signal,
        onProgress: (progress) => run.progress(progress),
        beforePublish: () => run.mustStillHold(),
        onWarning: (text) => run.note(text),
      });
    });
    // One that stood still and was killed may have published meanwhile.
    if (run.hold.epoch > 1) {
      await removeLeftovers(context, run, backup, store, run.hold.epoch - 1)
        .catch((error: unknown) => context.log.warn({ error }, 'leftovers of earlier attempts remain'));
    }
    await runAfterHooks(context, run, 'SUCCESS');
    await run.end();

    const isDone = await context.db.transaction(async (tx) => {
      await findBackup(tx, backup.id, 'lock');
      const { bytes, files } = result.read;
      const unreadableFiles = result.manifest.archives.flatMap(({ unreadable }) => unreadable ?? []);
      const isOurs = await changeHeldJob(tx, run.hold, ['EXECUTING'], 'COMPLETED', {
        bytesDone: bytes, bytesTotal: bytes, filesDone: files, filesTotal: files, unreadableFiles,
      });
      return isOurs && changeBackupStatus(tx, backup.id, ['IN_PROGRESS'], 'SUCCESS', {
        sizeOnDisk: result.sizeOnDisk, sizeAdded: result.sizeAdded, directory: name, contentFilePath: result.location, groups: result.manifest.groups, unreadableFiles,
        timeVerified: new Date(), ...result.manifest.encryption?.keysFile === undefined ? { sharedKeys: null } : {},
      });
    });
    // Cancelled in the last moment, or lost: `settle` finds out. What was published here is nobody's.
    if (!isDone) {
      await store.remove(name);
      throw new JobLostError();
    }
    // An older one of the schedule may have had its time; where this fails, the clock finds it later.
    if (backup.scheduleId !== null) await context.tasks.queueRetention().catch((error: unknown) => context.log.warn({ error }, 'retention could not be queued'));
  },

  async fail(context, run, reason) {
    await runAfterHooks(context, run, 'FAILED', reason);
    return endWithoutBackup(context, run, () => context.db.transaction(async (tx) => {
      const { backupId } = run.job;
      if (backupId !== null) await findBackup(tx, backupId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason })) return false;
      if (backupId !== null) await changeBackupStatus(tx, backupId, ['INITIALIZING', 'IN_PROGRESS'], 'FAILED');
      return true;
    }));
  },

  async cancel(context, run) {
    await runAfterHooks(context, run, 'CANCELLED');
    await endWithoutBackup(context, run, () => context.db.transaction(async (tx) => {
      const { backupId } = run.job;
      if (backupId !== null) await findBackup(tx, backupId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['CANCELLING'], 'CANCELLED')) return;
      if (backupId !== null) await changeBackupStatus(tx, backupId, ['CANCELLING'], 'DELETING', { formerStatus: 'FAILED' });
    }));
  },
};

/** Marks job and backup as at work, and reads what the work needs. */
async function begin(context: WorkerContext, run: Run): Promise<{ backup: BackupRow; host: HostRow; store: StoreRow; deployment: DeploymentSpec }> {
  return context.db.transaction(async (tx) => {
    const backup = run.job.backupId === null ? undefined : await findBackup(tx, run.job.backupId, 'lock');
    if (backup === undefined) throw new JobLostError();
    // Cancelled or lost since it was claimed: `settle` finds out which.
    if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'EXECUTING')) throw new JobLostError();
    await changeBackupStatus(tx, backup.id, ['INITIALIZING'], 'IN_PROGRESS');
    const deployment = await findDeployment(tx, backup.deploymentId);
    const { host, store } = await placesOf(tx, backup);
    if (deployment === undefined || host === undefined || store === undefined) throw new JobLostError();
    return { backup, host, store, deployment: deployment.deployed };
  });
}

/** What a DATA backup is based on, if it can be. */
async function incrementalOf(context: WorkerContext, backup: BackupRow): Promise<Pick<engine.BackupPlan, 'incremental'>> {
  if (backup.type !== 'DATA') return {};
  const base = backup.baseBackupId === null ? undefined : await findBackup(context.db, backup.baseBackupId);
  const isUsable = base?.status === 'SUCCESS' && base.storeId === backup.storeId && base.hostId === backup.hostId;
  return {
    incremental: {
      directory: join(context.indexDir, `store-${backup.storeId}-host-${backup.hostId}`),
      base: isUsable ? base.directory : null,
      sharedKeys: backup.sharedKeys === null ? null : Buffer.from(backup.sharedKeys, 'base64'),
    },
  };
}

const archivesOf = (backup: BackupRow, host: HostSpec): engine.ArchiveSpec[] => (backup.type === 'DATA'
  ? host.data.map((source) => ({ group: null, source }))
  : groupsOf(host.content).flatMap((group) => (host.content[group] ?? []).map((source) => ({ group, source }))));

function factsOf(backup: BackupRow, host: HostRow, deployment: DeploymentSpec): engine.ManifestFacts {
  const console = deployment.hosts.find((candidate) => candidate.console);
  return {
    name: backup.name, description: backup.description, type: backup.type,
    product: backup.product ?? deployment.product, appliance: backup.appliance ?? deployment.appliance,
    version: backup.version, buildVersion: backup.buildVersion, deployment: deployment.name,
    host: { id: host.number, hostname: host.hostname }, consoleAddress: console?.address ?? null, haRole: host.haRole,
    configurationId: 1, initiatedBy: backup.initiatedBy, timeInitiated: backup.timeInitiated.toISOString(),
    retentionDate: backup.retentionDate?.toISOString() ?? null, managedHostAddresses: backup.managedHostAddresses,
  };
}
