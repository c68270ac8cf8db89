/**
 * A store: the directory that backups are kept in.
 */
import { constants } from 'node:fs';
import { access, lstat, readdir, rename, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreState } from './contract.ts';
import { exists, isPlainName, removeTree, syncDirectory } from './disk.ts';
import { ioFault, isMissing, storeFault } from './faults.ts';
import { MANIFEST_FILE } from './manifest.ts';

/** A backup under this name is being removed and is none any more. */
const REMOVING_PREFIX = '.removing-';
/** Below this not even a manifest is sure to fit. */
const NEARLY_NOTHING_BYTES = 4 * 1024 * 1024;
/** A dead network file system answers never, not late. */
const ANSWER_LIMIT_MS = 5_000;

/**
 * Looks whether a store can be written to. Creates nothing, and never throws.
 *
 * @param path the store's directory
 */
export async function checkStore(path: string): Promise<StoreState> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<StoreState>((resolve) => {
    timer = setTimeout(() => resolve(unreachable(`${path} did not answer within ${ANSWER_LIMIT_MS / 1000} s.`)), ANSWER_LIMIT_MS);
  });
  try {
    return await Promise.race([look(path), late]);
  } catch (error) {
    return unreachable(isMissing(error) ? `There is no directory ${path}.` : error instanceof Error ? error.message : String(error));
  } finally {
    clearTimeout(timer);
  }
}

function unreachable(detail: string): StoreState {
  return { status: 'UNREACHABLE', freeBytes: null, detail };
}

async function look(path: string): Promise<StoreState> {
  if (!(await stat(path)).isDirectory()) return unreachable(`${path} is not a directory.`);
  const { bavail, bsize, files, ffree } = await statfs(path);
  const freeBytes = bavail * bsize;
  try {
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return { status: 'UNREACHABLE', freeBytes, detail: `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}.` };
  }
  // Some file systems count no files at all and answer 0 of 0.
  if (files > 0 && ffree === 0) return { status: 'FULL', freeBytes, detail: `${path} can hold no further file.` };
  if (freeBytes < NEARLY_NOTHING_BYTES) return { status: 'FULL', freeBytes, detail: `${path} has ${freeBytes} bytes left.` };
  return { status: 'READY', freeBytes, detail: null };
}

/**
 * Whether a store holds a backup under this name, which a manifest shows.
 *
 * @throws EngineError STORE_UNREACHABLE where the store itself is not there: that says nothing about the backup
 */
export async function storeHas(storePath: string, directoryName: string): Promise<boolean> {
  requirePlainName(directoryName);
  await requireStore(storePath);
  try {
    return (await lstat(join(storePath, directoryName, MANIFEST_FILE))).isFile();
  } catch (error) {
    if (isMissing(error)) return false;
    throw storeFault(error, storePath);
  }
}

/**
 * The names of all backups in a store, sorted. Partial ones, which callers name with a leading dot, are left out.
 *
 * @throws EngineError STORE_UNREACHABLE
 */
export async function listBackups(storePath: string): Promise<string[]> {
  await requireStore(storePath);
  const names: string[] = [];
  for (const entry of await entries(storePath)) {
    if (!entry.isDirectory() || entry.name.startsWith('.')) continue;
    if (await storeHas(storePath, entry.name)) names.push(entry.name);
  }
  return names.sort();
}

/**
 * Removes a backup. It is renamed aside first, so that a half-removed one is never mistaken for a backup; a call
 * after a crash goes on where the first one stopped. Nothing there is no error.
 *
 * @throws EngineError STORE_UNREACHABLE
 */
export async function removeBackup(storePath: string, directoryName: string): Promise<void> {
  requirePlainName(directoryName);
  await requireStore(storePath);
  const path = join(storePath, directoryName);
  const aside = join(storePath, `${REMOVING_PREFIX}${directoryName}`);
  try {
    await removeTree(aside);
    if (!(await exists(path))) return;
    await rename(path, aside);
    await syncDirectory(storePath);
    await removeTree(aside);
    await syncDirectory(storePath);
  } catch (error) {
    throw storeFault(error, storePath);
  }
}

/**
 * Removes what dead processes left in a store: partial backups that the caller knows nobody works on, and backups
 * whose removal stopped halfway.
 *
 * @param isLeftover told each name in the store
 * @returns the names that were removed
 * @throws EngineError STORE_UNREACHABLE
 */
export async function sweepPartials(storePath: string, isLeftover: (name: string) => boolean): Promise<string[]> {
  await requireStore(storePath);
  const removed: string[] = [];
  try {
    for (const { name } of await entries(storePath)) {
      if (!name.startsWith(REMOVING_PREFIX) && !isLeftover(name)) continue;
      await removeTree(join(storePath, name));
      removed.push(name);
    }
    if (removed.length > 0) await syncDirectory(storePath);
  } catch (error) {
    throw storeFault(error, storePath);
  }
  return removed;
}

async function entries(storePath: string) {
  return await readdir(storePath, { withFileTypes: true }).catch((error: unknown) => {
    throw storeFault(error, storePath);
  });
}

async function requireStore(storePath: string): Promise<void> {
  const isStore = await stat(storePath).then((found) => found.isDirectory(), (error: unknown) => {
    throw storeFault(error, storePath);
  });
  if (!isStore) throw storeFault(new Error('it is not a directory'), storePath);
}

function requirePlainName(name: string): void {
  if (!isPlainName(name)) throw ioFault(new Error('the name leads out of the store'), `${name} is no backup`);
}
