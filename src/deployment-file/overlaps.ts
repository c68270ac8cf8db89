/**
 * No two parts of a deployment file may lay claim to the same place, be it of the file system, a bucket or a
 * database: a backup would contain itself, or one restore would put back what another has just replaced.
 */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Entry, sourcesOf, type WellFormed } from './checks.ts';
import { type FaultList, type Pointer, spelled } from './faults.ts';
import { postgresPath, readPostgresUrl, serverOf } from './postgres-url.ts';
import { type FileHost, type FileS3Store, type FileSource, type FileStore, s3Path } from './spec.ts';

interface Claim {
  kind: 'store' | 'source';
  pointer: Pointer;
  /** Absolute path as it is declared. */
  path: string;
  /** The same with every link in it followed. */
  real: string;
}

/**
 * Notes stores and sources that are the same place or lie inside one another. Sources of different hosts may bear the
 * same path: it is a place on each of the hosts.
 */
export async function checkOverlaps({ stores, hosts }: WellFormed, folder: string, faults: FaultList): Promise<void> {
  const claim = async (kind: Claim['kind'], pointer: Pointer, declared: string): Promise<Claim> => {
    const path = resolve(folder, declared);
    return { kind, pointer, path, real: await followLinks(path) };
  };
  checkBuckets(stores, faults);
  checkDatabases(hosts, faults);
  const storeClaims: Claim[] = [];
  for (const { value: store, pointer } of stores) {
    if (store.type === 'DIRECTORY') storeClaims.push(await claim('store', [...pointer, 'path'], store.path));
  }
  checkAmong(storeClaims, [], faults);
  for (const host of hosts) {
    const [claims, staging]: [Claim[], Claim[]] = [[], []];
    for (const { value: source, pointer } of sourcesOf(host)) {
      const [key, path] = target(source);
      if (path !== undefined) claims.push(await claim('source', [...pointer, key], path));
      if (source.staging !== undefined) staging.push(await claim('source', [...pointer, 'staging'], source.staging));
    }
    // Stores among each other have been looked at.
    if (claims.length > 0) checkAmong([...storeClaims, ...claims], staging, faults, (entry, other) => entry.kind === 'source' || other.kind === 'source');
  }
}

/** Notes S3 stores that share a part of a bucket. */
function checkBuckets(stores: Entry<FileStore>[], faults: FaultList): void {
  const places = stores.flatMap(({ value, pointer }) => (value.type === 'S3' ? [{ store: value, pointer, place: `${serverOfBucket(value)} ${s3Path(value)}/` }] : []));
  for (const [index, entry] of places.entries()) {
    const other = places.find(({ place }, at) => at !== index && entry.place.startsWith(place) && (at < index || entry.place !== place));
    if (other === undefined) continue;
    const key = entry.store.prefix === undefined ? 'bucket' : 'prefix';
    const how = entry.place === other.place ? 'is the same place as' : 'lies inside';
    faults.add([...entry.pointer, key], `${spelled([...entry.pointer, key])} ${how} ${spelled(other.pointer)} (${s3Path(other.store)}); each store needs a prefix of its own`);
  }
}

/** Buckets of one server have names of their own, whatever the region. */
const serverOfBucket = ({ endpoint }: FileS3Store): string => (endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint).host : 'aws');

/** Notes databases that are declared twice; one of the machine itself is another on each host. */
function checkDatabases(hosts: Entry<FileHost>[], faults: FaultList): void {
  const first = new Map<string, Pointer>();
  for (const host of hosts) {
    for (const { value: { postgres, database = '' }, pointer } of sourcesOf(host)) {
      const place = postgres === undefined ? undefined : readPostgresUrl(postgres);
      if (place === undefined || 'fault' in place) continue;
      const server = serverOf(place);
      const key = `${server.isLocal ? host.value.id : ''} ${server.name}/${database}`;
      const other = first.get(key);
      if (other === undefined) first.set(key, pointer);
      else faults.add([...pointer, 'database'], `${spelled(pointer)} is the same database as ${spelled(other)} (${postgresPath(place, database)}); no database may belong to two sources`);
    }
  }
}

function checkAmong(claims: Claim[], staging: Claim[], faults: FaultList, matters: (entry: Claim, other: Claim) => boolean = () => true): void {
  const byPath = indexed(claims, (entry) => entry.path);
  const byReal = indexed(claims, (entry) => entry.real);
  for (const entry of claims) {
    const other = holder(entry, entry.path, byPath) ?? holder(entry, entry.real, byReal);
    if (other !== undefined && matters(entry, other)) faults.add(entry.pointer, clash(entry, other));
  }
  for (const entry of staging) {
    const other = holder(entry, entry.path, byPath) ?? holder(entry, entry.real, byReal);
    // Within its own target it may lie: a mount point has no other place on its file system.
    if (other === undefined || spelled(other.pointer.slice(0, -1)) === spelled(entry.pointer.slice(0, -1))) continue;
    faults.add(entry.pointer, `${spelled(entry.pointer)} lies inside ${named(other)}; choose a directory outside of all stores and sources`);
  }
}

const target = (source: FileSource): ['directory' | 'file', string | undefined] =>
  source.directory === undefined ? ['file', source.file] : ['directory', source.directory];

function indexed(claims: Claim[], pathOf: (claim: Claim) => string): Map<string, Claim> {
  const first = new Map<string, Claim>();
  for (const entry of claims) if (!first.has(pathOf(entry))) first.set(pathOf(entry), entry);
  return first;
}

/** The other claim to the path, or else to the nearest directory around it. Of two claims to one path the first holds it. */
function holder(entry: Claim, path: string, holders: Map<string, Claim>): Claim | undefined {
  for (let at = path; ; at = dirname(at)) {
    const other = holders.get(at);
    if (other !== undefined && other !== entry) return other;
    if (dirname(at) === at) return undefined;
  }
}

const named = (claim: Claim): string => `${spelled(claim.pointer)} (${claim.path})`;

function clash(entry: Claim, other: Claim): string {
  const same = entry.path === other.path || entry.real === other.real;
  const where = `${spelled(entry.pointer)} ${same ? 'is the same place as' : 'lies inside'} ${named(other)}`;
  if (entry.kind === 'source' && other.kind === 'source') return `${where}; no file may belong to two sources`;
  if (entry.kind === 'store' && other.kind === 'store') return `${where}; each store needs a directory of its own`;
  return `${where}; a backup would contain itself, keep stores and sources apart`;
}

/** The path without links, as far as it is there. */
async function followLinks(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return dirname(path) === path ? path : join(await followLinks(dirname(path)), basename(path));
  }
}
