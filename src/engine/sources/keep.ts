/**
 * Carries over what a restore of a directory with patterns must not destroy: what lies in the target now and the patterns
 * leave out. It is linked into the new tree, so that the swap changes nothing about it; the work directory it is in goes
 * with the restore, should that fail.
 *
 * Nothing carried over takes the place of anything that the backup holds, and directories that the backup holds stay as
 * it holds them, their times included.
 */
import { link, lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EngineError } from '../../domain/errors.ts';
import { exists } from '../disk.ts';
import { errnoOf, isMissing, targetFault, throwIfCancelled } from '../faults.ts';
import { killedBy } from '../process.ts';
import { complaints, startArchivingDirectories, startExtracting, summary } from '../tar.ts';
import type { Tar } from '../tar.ts';
import type { Selection } from './patterns.ts';
import { entriesOf, nameIn, pathIn } from './walk.ts';

export interface KeepJob {
  tar: Tar;
  /** The target as it is. */
  from: string;
  /** The new tree. */
  to: string;
  /** A directory of the restore's own. */
  work: string;
  /** What is replaced is what all of them take: the backup's own and the present ones. */
  selections: readonly Selection[];
  /** What no archive holds and no restore keeps. */
  isLeftOut(name: string): boolean;
}

/**
 * @returns how many files and directories were carried over
 * @throws EngineError TARGET_UNWRITABLE where something to keep lies below what is a file in the backup, or cannot be
 *   linked; CancelledError
 */
export async function carryOver(job: KeepJob, signal: AbortSignal): Promise<number> {
  try {
    return await carry(job, signal);
  } catch (error) {
    throwIfCancelled(signal);
    throw targetFault(error, job.from);
  }
}

async function carry(job: KeepJob, signal: AbortSignal): Promise<number> {
  const { tar, from, to } = job;
  // Links that are added change a directory's time: it is noted before, and put back at the end.
  const before = join(job.work, 'directories.tar');
  await archiveDirectories(tar, to, touchedDirectories(job, signal), before, signal);
  const made: string[] = [];
  let carried = 0;
  for await (const { name, isDirectory } of missing(job, signal)) {
    carried += 1;
    const [source, target] = [pathIn(from, name), pathIn(to, name)];
    if (isDirectory) {
      await mkdir(target, { mode: 0o700 });
      made.push(name);
      continue;
    }
    await link(source, target).catch((error: unknown) => {
      // What its owner removes meanwhile needs no keeping.
      if (!isMissing(error)) throw cannotLink(from, name, error);
    });
  }
  const after = join(job.work, 'made.tar');
  await archiveDirectories(tar, from, made, after, signal);
  for (const archive of [after, before]) await extractDirectories(tar, archive, to, signal);
  return carried;
}

interface Missing {
  name: string;
  isDirectory: boolean;
}

/** What is to be carried over and is not in the new tree yet, each directory before what is in it. */
async function* missing(job: KeepJob, signal: AbortSignal): AsyncGenerator<Missing> {
  yield* missingBelow(job, '', [], signal);
}

/** Without a new tree, nothing of it is there. */
type WalkJob = Pick<KeepJob, 'from' | 'selections' | 'isLeftOut'> & { to: string | null };

/** @param pending directories on the way here that the new tree lacks; emptied when something in them is kept */
async function* missingBelow(job: WalkJob, directory: string, pending: string[], signal: AbortSignal): AsyncGenerator<Missing> {
  const entries = await entriesOf(job.from, directory).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const { name: base, isDirectory } of entries) {
    throwIfCancelled(signal);
    const name = nameIn(directory, base);
    if (job.isLeftOut(name)) continue;
    const isKept = !job.selections.every((selection) => selection.takes(name));
    // Below a directory that the new tree lacks there is nothing of the backup's.
    const there = pending.length > 0 || job.to === null ? null : await lstat(pathIn(job.to, name)).catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    });
    if (there === null && isKept) {
      for (const above of pending.splice(0)) yield { name: above, isDirectory: true };
      yield { name, isDirectory };
    }
    if (!isDirectory) continue;
    if (there !== null && !there.isDirectory()) {
      await refuseToLose(job, name, signal);
      continue;
    }
    const isMade = there !== null || isKept;
    if (!isMade) pending.push(name);
    yield* missingBelow(job, name, pending, signal);
    if (!isMade && pending.at(-1) === name) pending.pop();
  }
}

/** The directories of the new tree in which something will be linked. */
async function* touchedDirectories(job: KeepJob, signal: AbortSignal): AsyncGenerator<string> {
  let last: string | null = null;
  for await (const { name } of missing(job, signal)) {
    const slash = name.lastIndexOf('/');
    const above = slash < 0 ? '' : name.slice(0, slash);
    if (above === last || (above !== '' && !(await exists(pathIn(job.to, above))))) continue;
    last = above;
    yield above;
  }
}

/**
 * Something below a directory of the target that a restore keeps, whatever the backup holds; null where there is nothing.
 */
export async function firstKept(
  job: Pick<KeepJob, 'from' | 'selections' | 'isLeftOut'>, directory: string, signal: AbortSignal,
): Promise<string | null> {
  for await (const { name } of missingBelow({ ...job, to: null }, directory, [], signal)) return name;
  return null;
}

/** What is to be kept has no place where the backup holds a file in place of its directory. */
async function refuseToLose(job: WalkJob, name: string, signal: AbortSignal): Promise<void> {
  const kept = await firstKept(job, name, signal);
  if (kept !== null) {
    throw new EngineError('TARGET_UNWRITABLE',
      `${shown(job.from, kept)} is left out by the patterns of its source and would be lost: the backup holds a file in place of ${shown(job.from, name)}.`,
      'Move it elsewhere, then restore again.');
  }
}

const shown = (root: string, name: string): string => pathIn(root, name).toString('utf8');

function cannotLink(from: string, name: string, error: unknown): unknown {
  if (errnoOf(error) !== 'EPERM' && errnoOf(error) !== 'EMLINK' && errnoOf(error) !== 'EXDEV') return error;
  return new EngineError('TARGET_UNWRITABLE', `${shown(from, name)} is left out by the patterns of its source and could not be kept: ${(error as Error).message}.`,
    'Linux lets only its owner link to a file that others cannot write. Run the worker as that user or as root, or move the file elsewhere.', { cause: error });
}

/** Writes the directories alone, with all that tar keeps of them, into an archive. */
async function archiveDirectories(tar: Tar, root: string, names: AsyncIterable<string> | Iterable<string>, archive: string, signal: AbortSignal): Promise<void> {
  const child = killedBy(signal, startArchivingDirectories(tar, root, archive));
  let failure: unknown = null;
  const lines = async function* (): AsyncGenerator<Buffer> {
    try {
      for await (const name of names) yield Buffer.from(`./${name}\0`, 'latin1');
    } catch (error) {
      failure = error;
    }
  };
  // A tar that ends early breaks the pipe, and its words say why.
  await pipeline(Readable.from(lines()), child.stdin!).catch(() => undefined);
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (failure !== null) throw failure;
  if (exit.code !== 0) throw new Error(summary(complaints(exit)));
}

async function extractDirectories(tar: Tar, archive: string, to: string, signal: AbortSignal): Promise<void> {
  const child = killedBy(signal, startExtracting(tar, to, archive));
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (exit.code !== 0) throw new Error(summary(complaints(exit)));
}
