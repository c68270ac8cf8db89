/**
 * Deployments with their hosts, stores and backup configurations: what is deployed is written into all four
 * tables by one function, so that they never tell different stories.
 */
import { and, eq, notInArray, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { backupConfigurations, deployments, hosts, stores } from '../db/schema.ts';
import type { DeploymentSpec } from '../domain/deployment.ts';
import { differences } from '../domain/staging.ts';
import { countRows, readPage, type Page, type PageArguments, type SortKey } from './page.ts';
import {
  arrayOf, isAnyOf, selection, type BackupRow, type Columns, type ConfigurationRow, type DeploymentRow, type HostRow,
  type RecordTable, type StoreRow,
} from './rows.ts';
import type { RecordRef } from './ids.ts';

/** The three versions of a deployment's description; see the columns of the same names. */
export interface DeploymentSpecs { file: DeploymentSpec; staged: DeploymentSpec; deployed: DeploymentSpec }

/** Finds a deployment; without an id the default one. Reads it whole unless columns are named. */
export async function findDeployment(db: Db, id?: number | null, columns?: Columns): Promise<DeploymentRow | undefined> {
  const query = columns === undefined ? db.select().from(deployments) : db.select(selection(deployments, columns)).from(deployments);
  const [row] = await query.where(id == null ? eq(deployments.isDefault, true) : eq(deployments.id, id)).prepare('deployment').execute();
  return row as DeploymentRow | undefined;
}

/**
 * Locks a deployment until the transaction ends. Whatever looks at other rows before it writes (a name, a running
 * backup, a running restore, staged changes) holds this lock, so that no other such request interleaves.
 */
export async function lockDeployment(db: Db, id?: number | null): Promise<DeploymentRow | undefined> {
  const [row] = await db.select().from(deployments)
    .where(id == null ? eq(deployments.isDefault, true) : eq(deployments.id, id)).for('no key update').prepare('lock').execute();
  return row;
}

/** Any fixed number: processes that start at once queue here. */
const FILE_LOCK = 7310004;

/** Lets one process at a time read the deployment file into the database, the first deployment included. */
export async function lockDeploymentFile(db: Db): Promise<void> {
  await db.execute(sql`select pg_advisory_xact_lock(${FILE_LOCK})`);
}

/** Creates the default deployment, with everything deployed at once. */
export async function createDeployment(db: Db, spec: DeploymentSpec): Promise<void> {
  const [row] = await db.insert(deployments).values({
    name: spec.name, kind: spec.kind, product: spec.product, appliance: spec.appliance, version: spec.version,
    buildVersion: spec.buildVersion, isDefault: true, file: spec, staged: spec, deployed: spec,
  }).returning({ id: deployments.id });
  if (row !== undefined) await writeDeployment(db, row.id, { file: spec, staged: spec, deployed: spec });
}

/** Writes the three versions, and what follows from them into the columns and tables that requests read. */
export async function writeDeployment(db: Db, id: number, specs: DeploymentSpecs): Promise<void> {
  const { deployed, staged } = specs;
  await db.update(deployments).set({
    ...specs, name: deployed.name, kind: deployed.kind, product: deployed.product, appliance: deployed.appliance,
    version: deployed.version, buildVersion: deployed.buildVersion,
    hasUndeployedChanges: differences(deployed, staged).length > 0,
  }).where(eq(deployments.id, id));

  for (const host of deployed.hosts) {
    const values = {
      hostname: host.hostname, address: host.address, isConsole: host.console, status: host.status,
      components: host.components, version: host.version, haRole: host.haRole,
    };
    await db.insert(hosts).values({ deploymentId: id, number: host.id, ...values })
      .onConflictDoUpdate({ target: [hosts.deploymentId, hosts.number], set: values });
  }
  // A host that has left the deployment keeps its row, since backups of it remain.
  await db.update(hosts).set({ status: 'DELETED', isConsole: false })
    .where(and(eq(hosts.deploymentId, id), notInArray(hosts.number, deployed.hosts.map((host) => host.id))));

  for (const store of deployed.stores) {
    const values = {
      type: store.type, path: store.path, isDefault: store.default, requiresPasscode: store.requiresPasscode, isDeclared: true,
      s3: store.s3 ?? null,
    };
    // Until a worker has made its directory and looked at it, nothing can be written there.
    const unseen = { status: 'UNREACHABLE', statusDetail: 'No worker has looked at it yet.' } as const;
    const stays = sql`(${stores.path} = excluded.path and ${stores.s3} is not distinct from excluded.s3)`;
    await db.insert(stores).values({ name: store.name, ...unseen, ...values })
      // A store that has moved is a new place: its directory may be made there, and nobody knows what is in it. Nor
      // does anybody of one that was out of the deployment for a time.
      .onConflictDoUpdate({ target: stores.name, set: {
        ...values, isPrepared: sql`${stores.isPrepared} and ${stays}`,
        isScanned: sql`${stores.isScanned} and ${stores.isDeclared} and ${stays}`,
        status: sql`case when ${stays} then ${stores.status} else excluded.status end`,
        statusDetail: sql`case when ${stays} then ${stores.statusDetail} else excluded.status_detail end`,
        freeBytes: sql`case when ${stays} then ${stores.freeBytes} end`,
        totalBytes: sql`case when ${stays} then ${stores.totalBytes} end`,
      } });
  }
  await db.update(stores).set({ isDeclared: false, isDefault: false })
    .where(notInArray(stores.name, deployed.stores.map((store) => store.name)));

  const configuration = (spec: DeploymentSpec, number: number) => ({
    deploymentId: id, number, isDeployed: number === 1,
    retentionPeriodDays: spec.backupConfiguration.retentionDays, dataBackupHosts: spec.backupConfiguration.dataBackupHosts,
  });
  const put = (values: ReturnType<typeof configuration>) => db.insert(backupConfigurations).values(values)
    .onConflictDoUpdate({ target: [backupConfigurations.deploymentId, backupConfigurations.number], set: values });
  await put(configuration(deployed, DEPLOYED_CONFIGURATION));
  // By what `differences` means by it: data hosts in another order are the same.
  const isStaged = differences(deployed, { ...deployed, backupConfiguration: staged.backupConfiguration }).length > 0;
  if (isStaged) await put(configuration(staged, STAGED_CONFIGURATION));
  else {
    await db.delete(backupConfigurations)
      .where(and(eq(backupConfigurations.deploymentId, id), eq(backupConfigurations.number, STAGED_CONFIGURATION)));
  }
}

/** `configuration_id` of the deployed backup configuration, and of the staged one while there is one. */
export const DEPLOYED_CONFIGURATION = 1;
export const STAGED_CONFIGURATION = 2;

/** Finds a host of one deployment, by its id or its `host_id`. */
export async function findHost(db: Db, deploymentId: number, ref: RecordRef): Promise<HostRow | undefined> {
  const [row] = await db.select().from(hosts).where(and(
    eq(hosts.deploymentId, deploymentId),
    ref.by === 'id' ? eq(hosts.id, ref.id) : eq(hosts.number, ref.number),
  )).prepare('host').execute();
  return row;
}

/** The console of a deployment. */
export async function findConsole(db: Db, deploymentId: number): Promise<HostRow | undefined> {
  const [row] = await db.select().from(hosts)
    .where(and(eq(hosts.deploymentId, deploymentId), eq(hosts.isConsole, true))).prepare('console').execute();
  return row;
}

/** The consoles of several deployments, in their order. */
export async function consolesOf(db: Db, deploymentIds: readonly number[]): Promise<(HostRow | null)[]> {
  const rows = await db.select().from(hosts)
    .where(and(isAnyOf(hosts.deploymentId, deploymentIds, 'bigint'), eq(hosts.isConsole, true))).prepare('consoles').execute();
  return deploymentIds.map((id) => rows.find((row) => row.deploymentId === id) ?? null);
}

/** Hosts by "deployment:number", in the order of the keys; null where there is none. */
export async function hostsByNumber(db: Db, keys: readonly string[]): Promise<(HostRow | null)[]> {
  const rows = await db.select().from(hosts)
    .where(sql`${hosts.deploymentId} || ':' || ${hosts.number} = any(${arrayOf(keys)}::text[])`).prepare('hosts').execute();
  const byKey = new Map(rows.map((row) => [`${row.deploymentId}:${row.number}`, row]));
  return keys.map((key) => byKey.get(key) ?? null);
}

/** Finds a backup configuration of one deployment. */
export async function findConfiguration(db: Db, deploymentId: number, ref: RecordRef): Promise<ConfigurationRow | undefined> {
  const [row] = await db.select().from(backupConfigurations).where(and(
    eq(backupConfigurations.deploymentId, deploymentId),
    ref.by === 'id' ? eq(backupConfigurations.id, ref.id) : eq(backupConfigurations.number, ref.number),
  )).prepare('configuration').execute();
  return row;
}

/** Finds a declared store by its name; without one the default store. */
export async function findStore(db: Db, name?: string | null): Promise<StoreRow | undefined> {
  const [row] = await db.select().from(stores).where(and(
    eq(stores.isDeclared, true), name == null ? eq(stores.isDefault, true) : eq(stores.name, name),
  )).prepare('store').execute();
  return row;
}

/** Every store, those that have left the deployment included. */
export const allStores = (db: Db): Promise<StoreRow[]> => db.select().from(stores).orderBy(stores.id).prepare('stores').execute();

/** Notes that the store's directory has been made. */
export async function markStorePrepared(db: Db, id: number): Promise<void> {
  await db.update(stores).set({ isPrepared: true }).where(eq(stores.id, id));
}

/** Notes what the worker found a store to be. Space is kept to the mebibyte, so that not every look writes. */
export async function setStoreStatus(
  db: Db, id: number, found: { status: StoreRow['status']; detail: string | null; freeBytes: number | null; totalBytes: number | null },
): Promise<void> {
  const { status, detail, totalBytes } = found;
  const freeBytes = found.freeBytes === null ? null : found.freeBytes - (found.freeBytes % (1024 * 1024));
  await db.update(stores).set({ status, statusDetail: detail, freeBytes, totalBytes }).where(and(eq(stores.id, id),
    sql`(${stores.status}, ${stores.statusDetail}, ${stores.freeBytes}, ${stores.totalBytes}) is distinct from (${status}, ${detail}::text, ${freeBytes}::bigint, ${totalBytes}::bigint)`));
}

/** Whether a store's backups can be read. One that is UNREACHABLE and tells its space is write-protected: it was looked into. */
export const isReadable = ({ status, totalBytes }: Pick<StoreRow, 'status' | 'totalBytes'>): boolean => status !== 'UNREACHABLE' || totalBytes !== null;

/** Declares or ends a rebalancing of data nodes. */
export async function setRebalancing(db: Db, id: number, isRebalancing: boolean): Promise<void> {
  await db.update(deployments).set({ isRebalancing }).where(eq(deployments.id, id));
}

/** The host and the store of a backup; undefined where it has none. */
export async function placesOf(db: Db, backup: Pick<BackupRow, 'hostId' | 'storeId'> | undefined): Promise<{ host?: HostRow; store?: StoreRow }> {
  if (backup === undefined) return {};
  const [host] = backup.hostId === null ? [] : await db.select().from(hosts).where(eq(hosts.id, backup.hostId)).prepare('host_by_id').execute();
  const [store] = await db.select().from(stores).where(eq(stores.id, backup.storeId)).prepare('store_by_id').execute();
  return { host, store };
}

const byId = (table: RecordTable): SortKey => ({ name: 'ID', expression: sql`${table.id}`, type: 'bigint' });

interface List { page: PageArguments; columns: Columns }

export const listDeployments = (db: Db, list: List): Promise<Page<DeploymentRow>> =>
  readPage<DeploymentRow>(db, deployments, { ...list, where: undefined, sort: byId(deployments), descending: false });
export const countDeployments = (db: Db): Promise<number> => countRows(db, deployments, undefined);

const ofDeployment = (deploymentId: number | null) => (deploymentId === null ? undefined : eq(hosts.deploymentId, deploymentId));
/** Hosts of one deployment or of all, by their numbers. */
export const listHosts = (db: Db, list: List & { deploymentId: number | null }): Promise<Page<HostRow>> => readPage<HostRow>(db, hosts, {
  ...list, where: ofDeployment(list.deploymentId), sort: { name: 'NUMBER', expression: sql`${hosts.number}`, type: 'bigint' }, descending: false,
});
export const countHosts = (db: Db, deploymentId: number | null): Promise<number> => countRows(db, hosts, ofDeployment(deploymentId));

export const listConfigurations = (db: Db, list: List): Promise<Page<ConfigurationRow>> =>
  readPage<ConfigurationRow>(db, backupConfigurations, { ...list, where: undefined, sort: byId(backupConfigurations), descending: false });
export const countConfigurations = (db: Db): Promise<number> => countRows(db, backupConfigurations, undefined);

/** The stores that the deployment declares. */
export const listStores = (db: Db, list: List): Promise<Page<StoreRow>> =>
  readPage<StoreRow>(db, stores, { ...list, where: eq(stores.isDeclared, true), sort: byId(stores), descending: false });
export const countStores = (db: Db): Promise<number> => countRows(db, stores, eq(stores.isDeclared, true));
