/**
 * createBackup: the documented rules, then record, transition and job in one transaction.
 */
import { RuleCheck } from '../domain/rules.ts';
import { ARIEL_COMPONENTS, type BackupType, type ContentGroup } from '../domain/vocabulary.ts';
import { findBackup, findBackupIdByName, insertBackup, isBackupRunning } from '../records/backups.ts';
import { findConfiguration, findConsole, findHost, findStore, lockDeployment } from '../records/deployments.ts';
import { findJob, insertJob } from '../records/jobs.ts';
import { isRestoreRunning } from '../records/restores.ts';
import type { BackupRow, Db, HostRow, JobRow } from '../records/rows.ts';
import { groupsOf, type DeploymentSpec } from '../domain/deployment.ts';
import { baseFor, openBase, type OpenedBase } from './base-backup.ts';
import { ownId, type InputRef, type ServiceContext } from './context.ts';
import { useKey, type KeyUse } from './idempotency.ts';

/** The input, its form checked. */
export interface CreateBackupRequest {
  name: string;
  configuration: InputRef;
  type: BackupType;
  description: string | null;
  deployment: InputRef | null;
  host: InputRef | null;
  storeName: string | null;
  passcode: string | null;
  retentionDate: Date | null;
  idempotencyKey: string | null;
}

/** Starts a backup. @throws RuleViolationsError */
export async function createBackup(context: ServiceContext, request: CreateBackupRequest): Promise<{ backup: BackupRow; job: JobRow }> {
  if (request.passcode !== null && request.idempotencyKey !== null) {
    // Before the key is wrapped, so that a repetition costs nothing. Looked up again below, where nobody else can use it.
    const first = await context.db.transaction(async (tx) => firstAnswer(tx, await useKey(tx, context, 'createBackup', request)));
    if (first !== null) return first;
  }
  // Wrapping a key takes about a second, which no transaction should last.
  const identity = request.passcode === null ? null : await context.keys.createIdentity(request.passcode);

  const base = await openBase(context, request, identity);

  return context.db.transaction((tx) => startBackup(tx, context, request, identity, null, base));
}

/** The key pair of an encrypted backup, as the engine makes it. */
export type BackupIdentity = Awaited<ReturnType<ServiceContext['keys']['createIdentity']>>;

/**
 * Starts a backup within a transaction, by itself or for a schedule. Nothing is written before every rule has been
 * looked at, so that the transaction can go on after a refusal.
 * @throws RuleViolationsError
 */
export async function startBackup(
  tx: Db, context: ServiceContext, request: CreateBackupRequest, identity: BackupIdentity | null, scheduleId: number | null = null, base: OpenedBase | null = null,
): Promise<{ backup: BackupRow; job: JobRow }> {
  const rules = new RuleCheck('createBackup');
  const key = await useKey(tx, context, 'createBackup', request);
  const first = await firstAnswer(tx, key);
  if (first !== null) return first;

  // Stage 2. The lock makes the looks at other rows, here and in stage 3, hold until the commit.
  const deployment = request.deployment === 'none' ? undefined : await lockDeployment(tx, ownId(request.deployment));
  rules.breaks(deployment === undefined, 'DEPLOYMENT_NOT_FOUND', 'deploymentId');
  const store = await findStore(tx, request.storeName);
  rules.breaks(store === undefined, 'STORE_NOT_FOUND', 'storeName');
  rules.breaks(store?.requiresPasscode === true && identity === null, 'PASSCODE_REQUIRED', 'passcode');
  if (deployment === undefined) throw rules.failure();

  const configuration = request.configuration === 'none' ? undefined : await findConfiguration(tx, deployment.id, request.configuration);
  const isDeployed = configuration?.isDeployed === true;
  rules.breaks(!isDeployed, 'CONFIGURATION_NOT_FOUND', 'configurationId');
  const host = request.host === 'none' ? undefined
    : request.host === null ? await findConsole(tx, deployment.id) : await findHost(tx, deployment.id, request.host);
  rules.breaks(host === undefined, 'HOST_NOT_FOUND', 'hostId');
  if (host !== undefined) {
    const isData = request.type === 'DATA';
    rules.breaks(host.status !== 'ACTIVE', 'HOST_NOT_ACTIVE', 'hostId');
    rules.breaks(!isData && !host.isConsole, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId');
    rules.breaks(isData && !storesArielData(host), 'HOST_STORES_NO_DATA', 'hostId');
    rules.breaks(isData && isDeployed && !configuration.dataBackupHosts.includes(host.number), 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId');
  }
  rules.done();
  if (host === undefined || store === undefined || configuration === undefined) throw rules.failure();

  // Stage 3. The unique indexes `backup_name` and `one_running_backup` stand behind the first and third.
  rules.breaks(await findBackupIdByName(tx, request.name, deployment.id) !== undefined, 'NAME_NOT_UNIQUE', 'name');
  rules.breaks(deployment.hasUndeployedChanges, 'UNDEPLOYED_CHANGES');
  rules.breaks(await isBackupRunning(tx, deployment.id, host.id), 'BACKUP_IN_PROGRESS', 'hostId');
  rules.breaks(await isRestoreRunning(tx, deployment.id), 'RESTORE_IN_PROGRESS');
  rules.breaks(store.status !== 'READY', 'STORE_NOT_READY', 'storeName');
  rules.breaks(key.reused, 'IDEMPOTENCY_KEY_REUSED', 'idempotencyKey');
  rules.done();

  const backup = await insertBackup(tx, {
    deploymentId: deployment.id, configurationId: configuration.id, hostId: host.id, storeId: store.id,
    name: request.name, description: request.description, type: request.type, status: 'INITIALIZING',
    version: deployment.version, buildVersion: deployment.buildVersion,
    product: deployment.product, appliance: deployment.appliance, haRole: host.haRole,
    managedHostAddresses: managedHostAddresses(deployment.deployed),
    initiatedBy: context.principal.name, retentionDate: request.retentionDate,
    directory: directoryName(request, host, new Date()),
    groups: request.type === 'CONFIG' ? contentGroups(deployment.deployed, host.number) : [],
    recipient: identity?.recipient ?? null,
    wrappedIdentity: identity === null ? null : Buffer.from(identity.wrapped).toString('base64'),
    scheduleId, ...request.type === 'DATA' ? await baseFor(tx, { hostId: host.id, storeId: store.id }, identity?.recipient ?? null, base) : {},
  });
  const job = await insertJob(tx, {
    deploymentId: deployment.id, hostId: host.id, operation: 'BACKUP', backupId: backup.id, scheduleId, initiatedBy: context.principal.name,
  });
  await key.keep({ backupId: backup.id, jobId: job.id });
  return { backup, job };
}

/** What the same request was answered before, as it is now; null: it is the first. */
async function firstAnswer(tx: Db, { replay }: KeyUse): Promise<{ backup: BackupRow; job: JobRow } | null> {
  if (replay === null) return null;
  const [backup, job] = [await findBackup(tx, replay.backupId ?? 0), await findJob(tx, replay.jobId ?? 0)];
  return backup === undefined || job === undefined ? null : { backup, job };
}

/** Whether the host stores ariel data, so that a DATA backup of it makes sense (1013). */
export const storesArielData = (host: Pick<HostRow, 'components'>): boolean =>
  ARIEL_COMPONENTS.some((component) => host.components.includes(component));

const contentGroups = (deployed: DeploymentSpec, hostNumber: number): ContentGroup[] =>
  groupsOf(deployed.hosts.find((host) => host.id === hostNumber)?.content ?? {});

const managedHostAddresses = (deployed: DeploymentSpec): string[] =>
  deployed.hosts.filter((host) => !host.console).flatMap((host) => host.address ?? []);

/**
 * The directory's base name, after the vendor's pattern: it begins with a fixed word, so that a backup named `..`
 * is harmless, and ends with the time in milliseconds, so that a name can be used again.
 */
function directoryName(request: CreateBackupRequest, host: HostRow, now: Date): string {
  const day = now.toISOString().slice(0, 10).split('-').toReversed().join('_');
  const hostname = host.hostname.replaceAll(/[^A-Za-z0-9.-]/g, '-').slice(0, 63);
  return `backup.${request.name}.${hostname}_${host.number}.${day}.${request.type.toLowerCase()}.${now.getTime()}`;
}
