/**
 * BACKUP jobs: the deployed sources of the host become archives in the store.
 */
import path from 'node:path';
import { GatewayError } from '../domain/errors.ts';
import { groupsOf, isFiles, type DeploymentSpec, type HostSpec } from '../domain/deployment.ts';
import * as engine from '../engine/index.ts';
import { changeBackupStatus, findBackup } from '../records/backups.ts';
import { findDeployment, placesOf } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import type { BackupRow, HostRow, StoreRow } from '../records/rows.ts';
import type { Operation, WorkerContext } from './context.ts';
import { JobLostError, type Run } from './run.ts';

/** The name of an unfinished backup: whose, which job's and which attempt's. */
const partialName = (context: WorkerContext, run: Run): string => `${partialPrefix(context, run.job.jobId)}${run.hold.epoch}`;
const partialPrefix = (context: WorkerContext, jobId: string): string => `.partial.${context.installation}.${jobId}.`;

/** Which job of this installation a partial directory belongs to; null: it is not one of ours. */
export function jobOfPartial(context: WorkerContext, name: string): string | null {
  const prefix = `.partial.${context.installation}.`;
  return name.startsWith(prefix) ? name.slice(prefix.length).replace(/\.\d+$/, '') : null;
}

/** What an earlier attempt, or this one, has left in the store. */
async function removeLeftovers(context: WorkerContext, run: Run, backup: BackupRow, store: StoreRow): Promise<void> {
  await engine.sweepPartials(store.path, (name) => jobOfPartial(context, name) === run.job.jobId);
  // Published by an attempt that died before it could say so.
  await engine.removeBackup(store.path, backup.directory);
}

/** The same for a run that ends without a backup; a store that is away keeps its leftover until the sweep of a start. */
async function removeWhatIsLeft(context: WorkerContext, run: Run): Promise<void> {
  const backup = run.job.backupId === null ? undefined : await findBackup(context.db, run.job.backupId);
  const { store } = await placesOf(context.db, backup);
  if (backup === undefined || store === undefined) return;
  await removeLeftovers(context, run, backup, store).catch((error: unknown) => context.log.warn({ error }, 'leftovers of a backup remain'));
}

export const backupOperation: Operation = {
  async run(context, run) {
    const { backup, host, store, deployment } = await begin(context, run);
    const isFirstAttempt = run.hold.epoch === 1;
    // A first attempt finds nothing, and one that came to a standstill here must not find a successor's backup.
    if (!isFirstAttempt) await removeLeftovers(context, run, backup, store);
    const spec = deployment.hosts.find((candidate) => candidate.id === host.number);
    if (spec === undefined) throw new GatewayError('HOST_GONE', `Host ${host.number} is no longer in the deployment.`, 'Add it to the deployment file again and deploy.');

    const result = await engine.backup({
      storePath: store.path, partialName: partialName(context, run), directoryName: backup.directory,
      archives: archivesOf(backup, spec),
      encryption: backup.recipient === null || backup.wrappedIdentity === null ? null
        : { recipient: backup.recipient, wrappedIdentity: Buffer.from(backup.wrappedIdentity, 'base64') },
      facts: factsOf(backup, host, deployment),
    }, {
      signal: run.signal,
      onProgress: (progress) => run.progress(progress),
      async beforePublish() {
        await run.mustStillHold();
        // An earlier attempt may have come to a standstill between this proof and the renaming, and have gone on since.
        if (!isFirstAttempt) await engine.removeBackup(store.path, backup.directory);
      },
      onWarning: (text) => run.note(text),
    });
    await run.end();

    const isDone = await context.db.transaction(async (tx) => {
      await findBackup(tx, backup.id, 'lock');
      const files = result.manifest.archives.reduce((sum, archive) => sum + archive.files, 0);
      const bytes = result.manifest.archives.reduce((sum, archive) => sum + archive.bytes, 0);
      const isOurs = await changeHeldJob(tx, run.hold, ['EXECUTING'], 'COMPLETED', {
        bytesDone: bytes, bytesTotal: bytes, filesDone: files, filesTotal: files,
      });
      return isOurs && changeBackupStatus(tx, backup.id, ['IN_PROGRESS'], 'SUCCESS', {
        sizeOnDisk: result.sizeOnDisk, contentFilePath: result.path, groups: result.manifest.groups,
      });
    });
    // Cancelled in the last moment, or lost: `settle` finds out, and what was published goes again.
    if (!isDone) {
      if ((await findBackup(context.db, backup.id) ?? { status: 'FAILED' }).status === 'FAILED') await engine.removeBackup(store.path, backup.directory);
      throw new JobLostError();
    }
  },

  async fail(context, run, reason) {
    await removeWhatIsLeft(context, run);
    return context.db.transaction(async (tx) => {
      const { backupId } = run.job;
      if (backupId !== null) await findBackup(tx, backupId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['SUBMITTED', 'EXECUTING'], 'FAILED', { error: reason })) return false;
      if (backupId !== null) await changeBackupStatus(tx, backupId, ['INITIALIZING', 'IN_PROGRESS'], 'FAILED');
      return true;
    });
  },

  async cancel(context, run) {
    await removeWhatIsLeft(context, run);
    await context.db.transaction(async (tx) => {
      const { backupId } = run.job;
      if (backupId !== null) await findBackup(tx, backupId, 'lock');
      if (!await changeHeldJob(tx, run.hold, ['CANCELLING'], 'CANCELLED')) return;
      if (backupId !== null) await changeBackupStatus(tx, backupId, ['CANCELLING'], 'DELETING', { formerStatus: 'FAILED' });
    });
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

const archivesOf = (backup: BackupRow, host: HostSpec): engine.ArchiveSpec[] => (backup.type === 'DATA'
  ? host.data.filter(isFiles).map((source) => ({ group: null, source }))
  : groupsOf(host.content).flatMap((group) => (host.content[group] ?? []).filter(isFiles).map((source) => ({ group, source }))));

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

/** Where a finished backup lies. */
export const pathOf = (store: StoreRow, backup: Pick<BackupRow, 'directory'>): string => path.join(store.path, backup.directory);
