/**
 * Decides, before anything is written, how each target of a restore will be replaced and where it is unpacked.
 */
import { constants } from 'node:fs';
import { access, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import type { FilesSource } from '../domain/deployment.ts';
import { exists, makeDirectories, pathBelow } from './disk.ts';
import { targetFault } from './faults.ts';
import type { JournalEntry } from './journal.ts';
import { keepRoot } from './root.ts';
import { WORK_PREFIX } from './tar.ts';
import type { Tar } from './tar.ts';

/** The work directory's name for the nth target of a restore. */
export const workName = (restoreKey: string, index: number): string => `${WORK_PREFIX}${restoreKey}-${index}`;

/** The restore that a directory's name speaks of, or null for any other name. */
export function restoreKeyOf(name: string): string | null {
  return name.startsWith(WORK_PREFIX) ? /^([A-Za-z0-9_-]+)-\d+$/.exec(name.slice(WORK_PREFIX.length))?.[1] ?? null : null;
}

/**
 * Plans one target. Creates no more than the directories above an absent target or a declared staging.
 *
 * @param protectedPaths what the target must not contain
 * @throws EngineError TARGET_UNWRITABLE, with what to change
 */
export async function planTarget(tar: Tar, source: FilesSource, name: string, protectedPaths: readonly string[]): Promise<JournalEntry> {
  try {
    return await plan(tar, source, name, protectedPaths);
  } catch (error) {
    throw targetFault(error, source.path);
  }
}

async function plan(tar: Tar, source: FilesSource, name: string, protectedPaths: readonly string[]): Promise<JournalEntry> {
  const { target, existed } = await resolveTarget(source.path);
  for (const path of protectedPaths) {
    if (pathBelow(target, await realpath(path).catch(() => path)) !== null) {
      throw unfit(source, `${path} lies in it and would be lost`, 'Move one of the two, so that neither lies in the other.');
    }
  }
  const mounts = await mountPoints();
  if (mounts.some((path) => path !== target && pathBelow(target, path) !== null)) {
    throw unfit(source, 'another file system is mounted in it', 'Declare the mounted directory as a source of its own, or unmount it.');
  }
  const parent = dirname(target);
  const isDirectory = existed && (await stat(target)).isDirectory();
  const isMount = mounts.includes(target) || (isDirectory && (await stat(target)).dev !== (await stat(parent)).dev);
  const isParentWritable = await access(parent, constants.W_OK | constants.X_OK).then(() => true, () => false);
  const canStayInPlace = isDirectory && source.type === 'DIRECTORY';
  if (isMount && !canStayInPlace) throw unfit(source, 'it is a mount point', 'Mount the directory it lies in, in place of the file itself.');
  if (!isParentWritable && !canStayInPlace) throw unfit(source, `${parent} cannot be written`, 'Make it writable for the user that runs the worker.');

  const place = isMount || !isParentWritable ? target : parent;
  const staging = source.staging === null ? place : await resolveStaging(source, source.staging, place);
  const kind = place === target || pathBelow(target, staging) !== null ? 'INSIDE' : 'REPLACE';
  if (kind === 'INSIDE' && !canStayInPlace) throw unfit(source, 'its staging directory lies in it', 'Declare a staging directory elsewhere on the same file system.');
  return {
    kind, target, work: join(staging, name), existed,
    rootBefore: kind === 'INSIDE' ? await keepRoot(tar, target) : null, rootAfter: null,
  };
}

/** The real path: a link at the end is followed, so that what it leads to is replaced and the link stays. */
async function resolveTarget(path: string): Promise<{ target: string; existed: boolean }> {
  if (await exists(path)) return { target: await realpath(path), existed: true };
  await makeDirectories(dirname(path), 0o755);
  return { target: join(await realpath(dirname(path)), basename(path)), existed: false };
}

async function resolveStaging(source: FilesSource, staging: string, place: string): Promise<string> {
  await makeDirectories(staging, 0o700);
  if ((await stat(staging)).dev !== (await stat(place)).dev) {
    throw unfit(source, `its staging directory ${staging} is on another file system`, 'Declare one on the same file system, or none.');
  }
  return await realpath(staging);
}

/** Every mount point that this process sees; empty where the system does not tell. */
async function mountPoints(): Promise<string[]> {
  const table = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  return table.split('\n').filter((line) => line !== '').map((line) =>
    (line.split(' ')[4] ?? '').replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8))));
}

/** @throws EngineError TARGET_UNWRITABLE where one target lies in another, or is the same */
export function refuseOverlaps(entries: readonly JournalEntry[]): void {
  for (const entry of entries) {
    const outer = entries.find((other) => other !== entry && pathBelow(other.target, entry.target) !== null);
    if (outer !== undefined) {
      throw new EngineError('TARGET_UNWRITABLE', `${entry.target} lies in ${outer.target}; they cannot both be replaced.`,
        'Declare sources of which none lies in another.');
    }
  }
}

function unfit(source: FilesSource, reason: string, hint: string): EngineError {
  return new EngineError('TARGET_UNWRITABLE', `${source.path} cannot be restored: ${reason}.`, hint);
}
