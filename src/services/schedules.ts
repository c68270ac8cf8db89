/**
 * createSchedule, updateSchedule and deleteSchedule.
 */
import { RuleCheck, type RuleOf } from '../domain/rules.ts';
import { DEFAULT_NAME_PATTERN, isNamePattern, nextRun } from '../domain/schedule.ts';
import type { BackupType, ScheduleOperation } from '../domain/vocabulary.ts';
import { findStoreById } from '../records/checks.ts';
import { DEPLOYED_CONFIGURATION, findConfiguration, findConsole, findHost, findStore, lockDeployment } from '../records/deployments.ts';
import type { Db, DeploymentRow, HostRow, ScheduleRow, StoreRow } from '../records/rows.ts';
import {
  changeSchedule, databaseTime, findSchedule, findScheduleIdByName, insertSchedule, removeSchedule,
} from '../records/schedules.ts';
import { ownId, type InputRef, type ServiceContext } from './context.ts';
import { storesArielData } from './create-backup.ts';

/** The input of createSchedule, its form checked. */
export interface CreateScheduleRequest {
  name: string;
  operation: ScheduleOperation;
  cron: string;
  timeZone: string;
  isPaused: boolean;
  deployment: InputRef | null;
  type: BackupType | null;
  /** null: the console, whichever host that is at the time. */
  host: InputRef | null;
  /** null: the default store, or, to verify, all stores. */
  storeName: string | null;
  namePattern: string | null;
  description: string | null;
  passcode: string | null;
  keepDays: number | null;
  keepLast: number | null;
}

/** What the creation and the change of a schedule both look at. */
interface Check { breaks(isBroken: boolean, rule: RuleOf<'createSchedule'> & RuleOf<'updateSchedule'>, field: string): void }

/** Makes a schedule. @throws RuleViolationsError */
export async function createSchedule(context: ServiceContext, request: CreateScheduleRequest): Promise<{ schedule: ScheduleRow }> {
  // Wrapping a key takes about a second, which no transaction should last.
  const identity = await newIdentity(context, request.passcode);

  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('createSchedule');
    const deployment = request.deployment === 'none' ? undefined : await lockDeployment(tx, ownId(request.deployment));
    if (deployment === undefined) throw rules.refusal('DEPLOYMENT_NOT_FOUND', 'deploymentId');
    const { name, operation, cron, timeZone, isPaused, type, description, keepDays, keepLast } = request;
    const store = await checkStore(tx, rules, { name: request.storeName, operation, isEncrypted: identity !== null });
    let host: HostRow | undefined;
    let namePattern: string | null = null;
    if (type !== null) {
      host = await checkHost(tx, rules, deployment, { host: request.host, type });
      namePattern = request.namePattern ?? DEFAULT_NAME_PATTERN;
      rules.breaks(!isNamePattern(namePattern, { schedule: name, hostname: host?.hostname ?? '' }), 'NAME_PATTERN_INVALID', 'namePattern');
    }
    rules.done();
    // The unique constraint `schedule_name` stands behind this.
    rules.breaks(await findScheduleIdByName(tx, deployment.id, name) !== undefined, 'SCHEDULE_NAME_NOT_UNIQUE', 'name');
    rules.done();

    return { schedule: await insertSchedule(tx, {
      deploymentId: deployment.id, name, operation, cron: cron.trim(), timeZone, isPaused, type, description, keepDays, keepLast, namePattern,
      hostId: request.host === null ? null : host?.id ?? null, storeId: request.storeName === null ? null : store?.id ?? null,
      ...identity, nextRun: isPaused ? null : nextRun({ cron, timeZone }, await databaseTime(tx)), createdBy: context.principal.name,
    }) };
  });
}

/** What changes; a property that is left out stays. */
export interface ScheduleChanges {
  name?: string;
  cron?: string;
  timeZone?: string;
  isPaused?: boolean;
  host?: InputRef | null;
  storeName?: string | null;
  namePattern?: string | null;
  description?: string | null;
  /** null: backups are no longer encrypted. */
  passcode?: string | null;
  keepDays?: number | null;
  keepLast?: number | null;
}

/** What only a schedule of backups has. */
const OF_BACKUPS = ['host', 'namePattern', 'description', 'passcode', 'keepDays', 'keepLast'] as const satisfies (keyof ScheduleChanges)[];

/** Changes a schedule, from its next run on. @throws RuleViolationsError */
export async function updateSchedule(context: ServiceContext, id: number | null, changes: ScheduleChanges): Promise<{ schedule: ScheduleRow }> {
  const identity = await newIdentity(context, changes.passcode ?? null);

  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('updateSchedule');
    const schedule = id === null ? undefined : await findSchedule(tx, id, 'lock');
    if (schedule === undefined) throw rules.refusal('SCHEDULE_NOT_FOUND', 'id');
    const deployment = await lockDeployment(tx, schedule.deploymentId) as DeploymentRow;

    const { host, storeName, passcode, ...plain } = changes;
    const { name, operation, type, hostId, storeId } = { ...schedule, ...plain };
    rules.breaks(operation === 'VERIFY' && OF_BACKUPS.some((field) => changes[field] != null), 'NOT_FOR_VERIFICATION');
    const isEncrypted = passcode === undefined ? schedule.recipient !== null : passcode !== null;
    // Only what changes is looked at: a schedule whose host is away for a time can still be paused.
    const store = storeName === undefined && passcode === undefined ? undefined
      : await checkStore(tx, rules, { name: storeName === undefined ? await storeNameOf(tx, storeId) : storeName, operation, isEncrypted });
    let hostNow: HostRow | undefined;
    let namePattern: string | null = null;
    if (type !== null && operation === 'BACKUP') {
      hostNow = host === undefined ? await hostOf(tx, schedule.deploymentId, hostId) : await checkHost(tx, rules, deployment, { host, type });
      namePattern = plain.namePattern === undefined ? schedule.namePattern : plain.namePattern ?? DEFAULT_NAME_PATTERN;
      const isNamed = name !== schedule.name || host !== undefined || plain.namePattern !== undefined;
      rules.breaks(isNamed && !isNamePattern(namePattern ?? '', { schedule: name, hostname: hostNow?.hostname ?? '' }), 'NAME_PATTERN_INVALID', 'namePattern');
    }
    rules.done();
    rules.breaks(name !== schedule.name && await findScheduleIdByName(tx, deployment.id, name) !== undefined, 'SCHEDULE_NAME_NOT_UNIQUE', 'name');
    rules.done();

    const next = { ...schedule, ...plain };
    const isRetimed = next.cron !== schedule.cron || next.timeZone !== schedule.timeZone || next.isPaused !== schedule.isPaused;
    return { schedule: await changeSchedule(tx, schedule.id, {
      ...plain, cron: next.cron.trim(), namePattern,
      ...(host === undefined ? {} : { hostId: host === null ? null : hostNow?.id ?? null }),
      ...(storeName === undefined ? {} : { storeId: storeName === null ? null : store?.id ?? null }),
      ...(passcode === undefined ? {} : identity ?? { recipient: null, wrappedIdentity: null }),
      ...(isRetimed ? { nextRun: next.isPaused ? null : nextRun(next, await databaseTime(tx)) } : {}),
    }) };
  });
}

/** Deletes a schedule; its backups and what it has started stay. @throws RuleViolationsError */
export async function deleteSchedule(context: ServiceContext, id: number | null): Promise<{ scheduleId: number }> {
  return context.db.transaction(async (tx) => {
    const schedule = id === null ? undefined : await findSchedule(tx, id, 'lock');
    if (schedule === undefined) throw new RuleCheck('deleteSchedule').refusal('SCHEDULE_NOT_FOUND', 'id');
    await lockDeployment(tx, schedule.deploymentId);
    await removeSchedule(tx, schedule.id);
    return { scheduleId: schedule.id };
  });
}

/** One key pair for all backups of a schedule: the passcode itself is kept nowhere. */
async function newIdentity(context: ServiceContext, passcode: string | null): Promise<Pick<ScheduleRow, 'recipient' | 'wrappedIdentity'> | null> {
  if (passcode === null) return null;
  const { recipient, wrapped } = await context.keys.createIdentity(passcode);
  return { recipient, wrappedIdentity: Buffer.from(wrapped).toString('base64') };
}

/** The store, by its name or the default one; none where all are verified. */
async function checkStore(tx: Db, rules: Check, wanted: { name: string | null; operation: ScheduleOperation; isEncrypted: boolean }): Promise<StoreRow | undefined> {
  const { name, operation, isEncrypted } = wanted;
  if (operation === 'VERIFY' && name === null) return undefined;
  const store = await findStore(tx, name);
  rules.breaks(store === undefined, 'STORE_NOT_FOUND', 'storeName');
  rules.breaks(operation === 'BACKUP' && store?.requiresPasscode === true && !isEncrypted, 'PASSCODE_REQUIRED', 'passcode');
  return store;
}

const storeNameOf = async (tx: Db, storeId: number | null): Promise<string | null> =>
  (storeId === null ? null : (await findStoreById(tx, storeId))?.name ?? null);

/** The host, or the console; as createBackup would take it now. */
async function checkHost(tx: Db, rules: Check, deployment: DeploymentRow, { host: ref, type }: { host: InputRef | null; type: BackupType }): Promise<HostRow | undefined> {
  const host = ref === 'none' ? undefined : ref === null ? await findConsole(tx, deployment.id) : await findHost(tx, deployment.id, ref);
  rules.breaks(host === undefined, 'HOST_NOT_FOUND', 'hostId');
  if (host === undefined) return undefined;
  const configuration = await findConfiguration(tx, deployment.id, { by: 'number', number: DEPLOYED_CONFIGURATION });
  rules.breaks(host.status !== 'ACTIVE', 'HOST_NOT_ACTIVE', 'hostId');
  rules.breaks(type === 'CONFIG' && !host.isConsole, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId');
  rules.breaks(type === 'DATA' && !storesArielData(host), 'HOST_STORES_NO_DATA', 'hostId');
  rules.breaks(type === 'DATA' && configuration?.dataBackupHosts.includes(host.number) !== true, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId');
  return host;
}

/** The host of a schedule as it is; null means the console. */
export const hostOf = (tx: Db, deploymentId: number, hostId: number | null): Promise<HostRow | undefined> =>
  (hostId === null ? findConsole(tx, deploymentId) : findHost(tx, deploymentId, { by: 'id', id: hostId }));
