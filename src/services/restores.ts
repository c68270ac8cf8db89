/**
 * createRestore, updateRestore and deleteRestore: a restore is first recorded, then requested.
 */
import { RuleCheck } from '../domain/rules.ts';
import type { ContentGroup } from '../domain/vocabulary.ts';
import { findBackup, isBackupRunning } from '../records/backups.ts';
import { findConsole, findHost, lockDeployment } from '../records/deployments.ts';
import { insertJob } from '../records/jobs.ts';
import {
  changeRestoreStatus, findRestore, insertRestore, isRestoreRunning, isRestoreUnfinished, removeRestoreRecord,
} from '../records/restores.ts';
import type { BackupRow, DeploymentRow, JobRow, RestoreRow } from '../records/rows.ts';
import { openIdentityOf, type InputRef, type ServiceContext } from './context.ts';
import { useKey } from './idempotency.ts';
import { judge } from './validity.ts';

export interface CreateRestoreRequest { backupId: number | null; groups: ContentGroup[]; idempotencyKey: string | null }

/** Records a restore as PENDING; nothing is touched yet. @throws RuleViolationsError */
export async function createRestore(context: ServiceContext, request: CreateRestoreRequest): Promise<{ restore: RestoreRow }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('createRestore');
    const key = await useKey(tx, context, 'createRestore', request);
    const first = key.replay?.restoreId == null ? undefined : await findRestore(tx, key.replay.restoreId);
    if (first !== undefined) return { restore: first };

    const found = request.backupId === null ? undefined : await findBackup(tx, request.backupId);
    if (found === undefined) throw rules.refusal('BACKUP_NOT_FOUND', 'backupId');
    const deployment = await lockDeployment(tx, found.deploymentId);
    const backup = await findBackup(tx, found.id, 'lock');
    if (backup === undefined || deployment === undefined) throw rules.refusal('BACKUP_NOT_FOUND', 'backupId');
    if (backup.type !== 'CONFIG') throw rules.refusal('BACKUP_NOT_CONFIG', 'backupId');
    if (backup.status !== 'SUCCESS') throw rules.refusal('BACKUP_NOT_SUCCESSFUL', 'backupId');
    const verdict = judge(backup, deployment.deployed);
    rules.breaks(!verdict.isValid, 'BACKUP_NOT_VALID', 'backupId');
    rules.breaks(!verdict.isVersionCompatible, 'BACKUP_NOT_COMPATIBLE', 'backupId');
    rules.breaks(request.groups.some((group) => !backup.groups.includes(group)), 'GROUP_NOT_FOUND', 'groups');
    rules.done();
    // The unique index `one_unfinished_restore` stands behind this.
    rules.breaks(await isRestoreUnfinished(tx, deployment.id), 'RESTORE_EXISTS');
    rules.breaks(key.reused, 'IDEMPOTENCY_KEY_REUSED', 'idempotencyKey');
    rules.done();

    const console = await findConsole(tx, deployment.id);
    const restore = await insertRestore(tx, {
      deploymentId: deployment.id, hostId: console?.id ?? null, backupId: backup.id, status: 'PENDING',
      groups: [...new Set(request.groups)], backupName: backup.name, backupVersion: backup.version, backupType: backup.type,
      backupFilename: backup.directory, isCrossDeploymentRestore: backup.origin !== null, initiatedBy: context.principal.name,
    });
    await key.keep({ restoreId: restore.id });
    return { restore };
  });
}

export interface UpdateRestoreRequest {
  restoreId: number | null;
  passcode: string | null;
  siteHost: InputRef | null;
  siteEventCollector: InputRef | null;
}

/** Requests a pending restore: from here on it runs. @throws RuleViolationsError */
export async function requestRestore(context: ServiceContext, request: UpdateRestoreRequest): Promise<{ restore: RestoreRow; job: JobRow }> {
  // Opening the backup's key takes about a second, which no transaction should last. A backup's key never changes.
  const opened = await openKey(context, request);

  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('updateRestore');
    const found = request.restoreId === null ? undefined : await findRestore(tx, request.restoreId);
    if (found === undefined || found.isRemoved) throw rules.refusal('RESTORE_NOT_FOUND', 'id');
    const deployment = await lockDeployment(tx, found.deploymentId) as DeploymentRow;
    // The backup before the restore, as whoever removes the backup locks them.
    const backup = found.backupId === null ? undefined : await findBackup(tx, found.backupId, 'lock');
    const restore = await findRestore(tx, found.id, 'lock');
    if (restore === undefined || restore.isRemoved) throw rules.refusal('RESTORE_NOT_FOUND', 'id');
    if (restore.status !== 'PENDING') throw rules.refusal('RESTORE_NOT_PENDING', 'id');

    rules.breaks(!isAvailable(backup, deployment), 'BACKUP_UNAVAILABLE');
    if (backup !== undefined && backup.recipient !== null) {
      rules.breaks(request.passcode === null, 'PASSCODE_REQUIRED', 'passcode');
      rules.breaks(request.passcode !== null && opened === null, 'PASSCODE_WRONG', 'passcode');
    }
    const site = async (ref: InputRef | null) => (ref === null || ref === 'none' ? undefined : findHost(tx, deployment.id, ref));
    const [siteHost, collector] = [await site(request.siteHost), await site(request.siteEventCollector)];
    rules.breaks(request.siteHost !== null && siteHost === undefined, 'RESTORE_SITE_HOST_INVALID', 'restoreSiteHostId');
    rules.breaks(siteHost !== undefined && !siteHost.components.includes('QFLOW'), 'RESTORE_SITE_HOST_HAS_NO_QFLOW', 'restoreSiteHostId');
    rules.breaks(request.siteEventCollector !== null && collector === undefined, 'EVENT_COLLECTOR_NOT_FOUND', 'restoreSiteEventCollectorId');
    rules.breaks(collector !== undefined && !collector.components.includes('EVENT_COLLECTOR'), 'NOT_AN_EVENT_COLLECTOR', 'restoreSiteEventCollectorId');
    rules.done();

    // The unique index `one_running_restore` stands behind the last.
    rules.breaks(deployment.isRebalancing, 'REBALANCING_IN_PROGRESS');
    rules.breaks(await isBackupRunning(tx, deployment.id, null), 'BACKUP_IN_PROGRESS');
    rules.breaks(await isRestoreRunning(tx, deployment.id), 'RESTORE_IN_PROGRESS');
    rules.done();

    await changeRestoreStatus(tx, restore.id, ['PENDING'], 'REQUESTING', {
      initiatedBy: context.principal.name, restoreSiteHostId: siteHost?.id ?? null, restoreSiteEventCollectorId: collector?.id ?? null,
    });
    const job = await insertJob(tx, {
      deploymentId: deployment.id, hostId: restore.hostId, operation: 'RESTORE', backupId: restore.backupId, restoreId: restore.id,
      initiatedBy: context.principal.name, sealedIdentity: opened === null ? null : context.sealing.seal(opened),
    });
    return { restore: await findRestore(tx, restore.id) ?? restore, job };
  });
}

/** The identity of an encrypted backup, opened by the passcode; null where there is none to open, or it is wrong. */
async function openKey(context: ServiceContext, { restoreId, passcode }: UpdateRestoreRequest): Promise<string | null> {
  if (restoreId === null || passcode === null) return null;
  const restore = await findRestore(context.db, restoreId);
  // Whatever its status: a restore that is being cancelled is PENDING again before the transaction looks.
  if (restore?.backupId == null) return null;
  return openIdentityOf(context, restore.backupId, passcode);
}

function isAvailable(backup: BackupRow | undefined, deployment: DeploymentRow): boolean {
  if (backup === undefined || backup.status !== 'SUCCESS') return false;
  const verdict = judge(backup, deployment.deployed);
  return verdict.isValid && verdict.isVersionCompatible;
}

/** Removes the record of an unfinished restore; one that has begun runs on. @throws RuleViolationsError */
export async function deleteRestore(context: ServiceContext, id: number | null): Promise<{ restoreId: number }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('deleteRestore');
    const restore = id === null ? undefined : await findRestore(tx, id, 'lock');
    if (restore === undefined || restore.isRemoved) throw rules.refusal('RESTORE_NOT_FOUND', 'id');
    if (restore.status === 'SUCCESS' || restore.status === 'FAILED') throw rules.refusal('RESTORE_NOT_DELETABLE', 'id');
    await removeRestoreRecord(tx, restore);
    return { restoreId: restore.id };
  });
}

