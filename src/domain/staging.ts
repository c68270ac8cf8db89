/**
 * Staged configuration: what differs from what is deployed, and how an edited deployment file and the changes
 * that mutations stage come together. Pure; specs are never changed, new ones are returned.
 */
import { isDeepStrictEqual } from 'node:util';
import type { DeploymentSpec, HookSpec, HooksSpec, HostSpec, RunLimits, S3Spec, SourceSpec, StoreSpec } from './deployment.ts';
import { ARIEL_COMPONENTS, CONTENT_GROUPS, type HostStatus } from './vocabulary.ts';

const DEPLOYMENT_PROPERTIES = ['name', 'kind', 'product', 'appliance', 'version', 'buildVersion'] as const;
const STORE_PROPERTIES = ['type', 'path', 'default', 'requiresPasscode'] as const;
/** Bucket and prefix are in the path. */
const S3_PROPERTIES = ['region', 'endpoint', 'forcePathStyle'] as const;
const HOOK_LISTS = ['beforeBackup', 'afterBackup', 'beforeRestore', 'afterRestore'] as const satisfies (keyof HooksSpec)[];
const HOST_PROPERTIES = ['hostname', 'address', 'console', 'status', 'components', 'version', 'haRole'] as const;

/**
 * What changes from one spec to the other, a line each, such as `host 3 (spare): status NEW → ACTIVE`; empty when
 * they are equal. The order of stores, hosts, components and data hosts means nothing; that of sources does.
 */
export function differences(from: DeploymentSpec, to: DeploymentSpec): string[] {
  return [
    ...changes('deployment', DEPLOYMENT_PROPERTIES, from, to),
    ...listed(from.stores, to.stores, (store) => store.name, (store) => `store ${store.name}`,
      (before, after, label) => [...changes(label, STORE_PROPERTIES, before, after), ...changes<Partial<S3Spec>>(label, S3_PROPERTIES, before.s3 ?? {}, after.s3 ?? {})]),
    ...listed(from.hosts, to.hosts, (host) => host.id, (host) => `host ${host.id} (${host.hostname})`,
      (before, after, label) => [...changes(label, HOST_PROPERTIES, before, after), ...sourceChanges(label, before, after), ...hookChanges(label, before.hooks ?? {}, after.hooks ?? {})]),
    ...configurationChanges(from.backupConfiguration, to.backupConfiguration),
  ];
}

function changes<T extends object>(label: string, properties: readonly (keyof T & string)[], from: T, to: T): string[] {
  return properties
    .filter((property) => !same(from[property], to[property]))
    .map((property) => `${label}: ${property} ${shown(from[property])} → ${shown(to[property])}`);
}

/** Entries that came, went or changed, found by their key. */
function listed<T>(
  from: readonly T[], to: readonly T[], keyOf: (entry: T) => string | number, labelOf: (entry: T) => string,
  compare: (before: T, after: T, label: string) => string[],
): string[] {
  const before = new Map(from.map((entry) => [keyOf(entry), entry]));
  const after = new Set(to.map(keyOf));
  return [
    ...to.flatMap((entry) => {
      const old = before.get(keyOf(entry));
      return old === undefined ? [`${labelOf(entry)}: added`] : compare(old, entry, labelOf(entry));
    }),
    ...from.filter((entry) => !after.has(keyOf(entry))).map((entry) => `${labelOf(entry)}: removed`),
  ];
}

function sourceChanges(label: string, from: HostSpec, to: HostSpec): string[] {
  const line = (what: string, before: readonly SourceSpec[], after: readonly SourceSpec[]): string[] =>
    isDeepStrictEqual(before, after) ? [] : [`${label}: ${what} ${fromTo(sources(before), sources(after), 'another user, password or parameter')}`];
  return [
    ...CONTENT_GROUPS.flatMap((group) => line(`content ${group}`, from.content[group] ?? [], to.content[group] ?? [])),
    ...line('data', from.data, to.data),
  ];
}

/** What is not shown may be all that differs. */
const fromTo = (before: string, after: string, hidden: string): string => (before === after ? `${after} (${hidden})` : `${before} → ${after}`);

function hookChanges(label: string, from: HooksSpec, to: HooksSpec): string[] {
  return HOOK_LISTS.filter((list) => !isDeepStrictEqual(from[list] ?? [], to[list] ?? []))
    .map((list) => `${label}: ${list} hooks ${fromTo(hooks(from[list]), hooks(to[list]), 'other arguments')}`);
}

/** Programs and limits alone: an argument may hold a secret, although it should not. */
const hooks = (list: readonly HookSpec[] = []): string => (list.length === 0 ? 'none'
  : list.map(({ run, timeoutSeconds }) => `${run[0] ?? ''} (${run.length - 1} arguments, ${timeoutSeconds} s)`).join(', '));

const sources = (list: readonly SourceSpec[]): string =>
  list.length === 0
    ? 'none'
    : list.map((source) => `${source.type.toLowerCase()} ${source.path}${details(source)}`).join(', ');

/** What else is declared of a source; never the address of a database, which may hold a password. */
function details(source: SourceSpec): string {
  if (source.type === 'POSTGRES') return '';
  const { staging, include, exclude, onUnreadable } = source;
  const parts = [
    ...(staging === null ? [] : [`staging ${staging}`]), ...(include === undefined ? [] : [`include ${include.join(' ')}`]),
    ...(exclude === undefined ? [] : [`exclude ${exclude.join(' ')}`]), ...(onUnreadable === undefined ? [] : [`on unreadable ${onUnreadable}`]),
  ];
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

type BackupConfiguration = DeploymentSpec['backupConfiguration'];

function configurationChanges(from: BackupConfiguration, to: BackupConfiguration): string[] {
  const lines: string[] = [];
  if (from.retentionDays !== to.retentionDays) {
    lines.push(`backup configuration: retention ${from.retentionDays} → ${to.retentionDays} days`);
  }
  if (!same(from.dataBackupHosts, to.dataBackupHosts)) {
    lines.push(`backup configuration: data hosts ${shown(from.dataBackupHosts)} → ${shown(to.dataBackupHosts)}`);
  }
  for (const type of ['config', 'data'] as const) lines.push(...limitChanges(`backup configuration: ${type} backups`, from[type] ?? {}, to[type] ?? {}));
  return lines;
}

function limitChanges(label: string, from: RunLimits, to: RunLimits): string[] {
  const line = (what: string, before: unknown, after: unknown, unit = ''): string[] =>
    (before === after ? [] : [`${label} ${what} ${shown(before)} → ${shown(after)}${unit}`]);
  return [...line('priority', from.priority, to.priority), ...line('time limit', from.timeLimitMinutes, to.timeLimitMinutes, ' minutes')];
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'none' : ordered(value).join(', ');
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return value === null || value === undefined ? 'none' : String(value);
}

/** Lists of words or numbers mean the same in any order; lists of sources do not. */
function ordered(list: readonly unknown[]): readonly unknown[] {
  if (list.every((entry) => typeof entry === 'number')) return list.toSorted((a, b) => a - b);
  return list.every((entry) => typeof entry === 'string') ? list.toSorted() : list;
}

function same(a: unknown, b: unknown): boolean {
  return Array.isArray(a) && Array.isArray(b) ? isDeepStrictEqual(ordered(a), ordered(b)) : isDeepStrictEqual(a, b);
}

/**
 * An edited file over what is staged: each value of the file that differs from the last file's is taken, each
 * other stays as it is staged. What mutations have changed stands until the file's own value changes. Hosts and
 * stores come and go with the file.
 */
export function mergeFile(lastFile: DeploymentSpec, newFile: DeploymentSpec, staged: DeploymentSpec): DeploymentSpec {
  const hosts = mergeListed(lastFile.hosts, newFile.hosts, staged.hosts, (host) => host.id);
  const merged = takeChanged(lastFile.backupConfiguration, newFile.backupConfiguration, staged.backupConfiguration);
  // A data host that mutations named may have gone with the file, or stores no ariel data any more.
  const dataHosts = new Set(hosts.filter(storesArielData).map((host) => host.id));
  return {
    ...takeChanged(lastFile, newFile, staged),
    stores: mergeListed(lastFile.stores, newFile.stores, staged.stores, (store: StoreSpec) => store.name),
    hosts,
    backupConfiguration: { ...merged, dataBackupHosts: merged.dataBackupHosts.filter((id) => dataHosts.has(id)) },
  };
}

const storesArielData = (host: HostSpec): boolean =>
  host.components.some((component) => (ARIEL_COMPONENTS as readonly string[]).includes(component));

function takeChanged<T extends object>(last: T, now: T, staged: T): T {
  const merged = { ...staged };
  // What the file no longer says is a change like any other.
  for (const property of Object.keys({ ...last, ...now }) as (keyof T)[]) {
    if (same(last[property], now[property])) continue;
    if (now[property] === undefined) delete merged[property];
    else merged[property] = now[property];
  }
  return merged;
}

function mergeListed<T extends object>(
  last: readonly T[], now: readonly T[], staged: readonly T[], keyOf: (entry: T) => string | number,
): T[] {
  const byKey = (list: readonly T[]): Map<string | number, T> => new Map(list.map((entry) => [keyOf(entry), entry]));
  const [before, present] = [byKey(last), byKey(staged)];
  return now.map((entry) => {
    const [old, kept] = [before.get(keyOf(entry)), present.get(keyOf(entry))];
    return old === undefined || kept === undefined ? entry : takeChanged(old, entry, kept);
  });
}

/** The spec with the status of one host changed; the same spec where there is no such host. */
export function stageHostStatus(spec: DeploymentSpec, hostId: number, status: HostStatus): DeploymentSpec {
  return { ...spec, hosts: spec.hosts.map((host) => (host.id === hostId ? { ...host, status } : host)) };
}

/** The spec with the named parts of its backup configuration changed; an id given twice counts once. */
export function stageBackupConfiguration(
  spec: DeploymentSpec,
  change: { retentionDays?: number; dataBackupHosts?: readonly number[] },
): DeploymentSpec {
  const { retentionDays, dataBackupHosts } = spec.backupConfiguration;
  return {
    ...spec,
    backupConfiguration: {
      ...spec.backupConfiguration,
      retentionDays: change.retentionDays ?? retentionDays,
      dataBackupHosts: [...new Set(change.dataBackupHosts ?? dataBackupHosts)],
    },
  };
}
