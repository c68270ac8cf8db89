/**
 * How the parts of a deployment file must agree with each other; what a schema cannot say.
 */
import { ARIEL_COMPONENTS } from '../domain/vocabulary.ts';
import { type FaultList, type Pointer, spelled } from './faults.ts';
import { readPostgresUrl } from './postgres-url.ts';
import type { FileContent, FileHost, FileSource, FileStore } from './spec.ts';

/** An entry of a list that is well formed, and where it is. */
export interface Entry<T> {
  value: T;
  pointer: Pointer;
}

/** What is well formed in a file that may be faulty. */
export interface WellFormed {
  stores: Entry<FileStore>[];
  hosts: Entry<FileHost>[];
  /** Whether those are all the stores there are; else nothing can be said to be missing. */
  storesComplete: boolean;
  hostsComplete: boolean;
  /** Empty where the backup configuration is faulty. */
  dataBackupHosts: readonly number[];
}

/** Separates what can be checked further from that in which faults of form have been noted. */
export function wellFormed(value: unknown, faults: FaultList): WellFormed {
  const file = (typeof value === 'object' && value !== null ? value : {}) as Partial<FileContent>;
  const faulty = new Set(faults.pointers().map((pointer) => spelled(pointer.slice(0, 2))));
  const entries = <T>(list: 'stores' | 'hosts', found: unknown): Entry<T>[] => (Array.isArray(found) ? found : [])
    .map((entry: T, index) => ({ value: entry, pointer: [list, index] }))
    .filter(({ pointer }) => !faulty.has(spelled(pointer)));
  return {
    stores: entries('stores', file.stores),
    hosts: entries('hosts', file.hosts),
    storesComplete: Array.isArray(file.stores) && !faults.has(['stores']),
    hostsComplete: Array.isArray(file.hosts) && !faults.has(['hosts']),
    dataBackupHosts: faults.has(['backupConfiguration']) ? [] : file.backupConfiguration?.dataBackupHosts ?? [],
  };
}

/** Every source of a host, and where it is. */
export function sourcesOf({ value: host, pointer }: Entry<FileHost>): Entry<FileSource>[] {
  const groups = Object.entries(host.content ?? {}).map(([group, sources]) => ({ sources, at: [...pointer, 'content', group] }));
  return [...groups, { sources: host.data ?? [], at: [...pointer, 'data'] }]
    .flatMap(({ sources, at }) => sources.map((value, index) => ({ value, pointer: [...at, index] })));
}

/** Notes addresses that have the right beginning and are none all the same. */
export function checkAddresses({ stores, hosts }: WellFormed, faults: FaultList): void {
  for (const { value: store, pointer } of stores) {
    if (store.type !== 'S3' || store.endpoint === undefined || URL.canParse(store.endpoint)) continue;
    faults.add([...pointer, 'endpoint'], `${spelled(pointer)}.endpoint is not an address; allowed: such as https://s3.example.net:9000`);
  }
  for (const { value: source, pointer } of hosts.flatMap(sourcesOf)) {
    const place = source.postgres === undefined ? {} : readPostgresUrl(source.postgres);
    if ('fault' in place) faults.add([...pointer, 'postgres'], `${spelled(pointer)}.postgres ${place.fault}`);
  }
}

/** Notes every disagreement between stores, hosts and the backup configuration. */
export function checkAgreement(sound: WellFormed, faults: FaultList): void {
  const { stores, hosts, storesComplete, hostsComplete } = sound;
  checkUnique(stores, 'name', (store) => store.name, faults);
  checkUnique(hosts, 'id', (host) => String(host.id), faults);
  checkUnique(hosts, 'hostname', (host) => host.hostname.toLowerCase(), faults);
  checkExactlyOne(stores, 'default', 'default store', storesComplete && stores.length > 1, ['stores'], faults);
  checkExactlyOne(hosts, 'console', 'console', hostsComplete, ['hosts'], faults);
  for (const { value: host, pointer } of hosts) {
    if (host.content !== undefined && host.console !== true) {
      faults.add([...pointer, 'content'], `${spelled(pointer)}.content: only the console makes CONFIG backups; remove it, or set console: true`, 'key');
    }
    if (host.data !== undefined && !storesArielData(host)) {
      faults.add([...pointer, 'data'], `${spelled(pointer)}.data: the host stores no ariel data; remove it, or add ${ARIEL_COMPONENTS.join(' or ')} to its components`, 'key');
    }
  }
  if (hostsComplete) checkDataHosts(sound.dataBackupHosts, hosts.map((entry) => entry.value), faults);
}

const storesArielData = (host: FileHost): boolean =>
  (host.components ?? []).some((component) => (ARIEL_COMPONENTS as readonly string[]).includes(component));

function checkDataHosts(ids: readonly number[], hosts: readonly FileHost[], faults: FaultList): void {
  const ariel = hosts.filter(storesArielData).map((host) => host.id);
  const advice = ariel.length === 0 ? 'none of the hosts does' : `allowed: ${ariel.join(', ')}`;
  for (const [index, id] of ids.entries()) {
    if (ariel.includes(id)) continue;
    const pointer = ['backupConfiguration', 'dataBackupHosts', index];
    const host = hosts.find((candidate) => candidate.id === id);
    const what = host === undefined ? `there is no host ${id} that stores ariel data` : `host ${id} (${host.hostname}) stores no ariel data`;
    faults.add(pointer, `${spelled(pointer)}: ${what}; ${advice}`);
  }
}

function checkUnique<T>(entries: Entry<T>[], key: string, keyOf: (value: T) => string, faults: FaultList): void {
  const first = new Map<string, Pointer>();
  for (const { value, pointer } of entries) {
    const name = keyOf(value);
    const other = first.get(name);
    if (other === undefined) first.set(name, pointer);
    else faults.add([...pointer, key], `${spelled(pointer)}.${key}: ${spelled(other)} has the same; each needs its own`);
  }
}

function checkExactlyOne<K extends string>(
  entries: Entry<{ [P in K]?: boolean }>[], key: K, what: string, needed: boolean, list: Pointer, faults: FaultList,
): void {
  const [first, ...others] = entries.filter(({ value }) => value[key] === true);
  if (first === undefined) {
    if (needed) faults.add(list, `none of the ${spelled(list)} is the ${what}; set ${key}: true on one of them`, 'key');
    return;
  }
  for (const { pointer } of others) {
    faults.add([...pointer, key], `${spelled(pointer)}.${key}: ${spelled(first.pointer)} is the ${what} already; there can be only one`, 'key');
  }
}
