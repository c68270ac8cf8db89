/**
 * No two parts of a deployment file may lay claim to the same place of the file system: a backup would contain
 * itself, or one restore would put back what another has just replaced.
 */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { WellFormed } from './checks.ts';
import { type FaultList, type Pointer, spelled } from './faults.ts';
import type { FileSource } from './spec.ts';

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
  const storeClaims: Claim[] = [];
  for (const { value: store, pointer } of stores) storeClaims.push(await claim('store', [...pointer, 'path'], store.path));
  checkAmong(storeClaims, [], faults);
  for (const { value: host, pointer } of hosts) {
    const [claims, staging]: [Claim[], Claim[]] = [[], []];
    const groups = Object.entries(host.content ?? {}).map(([group, sources]) => ({ sources, at: [...pointer, 'content', group] }));
    for (const { sources, at } of [...groups, { sources: host.data ?? [], at: [...pointer, 'data'] }]) {
      for (const [index, source] of sources.entries()) {
        const [key, path] = target(source);
        claims.push(await claim('source', [...at, index, key], path));
        if (source.staging !== undefined) staging.push(await claim('source', [...at, index, 'staging'], source.staging));
      }
    }
    // Stores among each other have been looked at.
    if (claims.length > 0) checkAmong([...storeClaims, ...claims], staging, faults, (entry, other) => entry.kind === 'source' || other.kind === 'source');
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

const target = (source: FileSource): ['directory' | 'file', string] =>
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
