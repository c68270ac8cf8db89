/**
 * Exchanges old content and new by renames. Each step can be taken up again after a kill: what is where shows how far
 * the one before came.
 *
 * In the work directory: `new`, what is to come; `old`, what was there; `old.partial`, an `old` not yet complete.
 */
import { chmod, lstat, mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { exists, pathBelow, syncDirectory } from './disk.ts';
import { errnoOf, isMissing } from './faults.ts';
import type { JournalEntry } from './journal.ts';

export type OnStep = (step: string) => void | Promise<void>;

/** Brings one target to its new content, from wherever a former call stopped. */
export async function swapForward(entry: JournalEntry, onStep: OnStep): Promise<void> {
  // Without this, a process that lost its restore to another would take "nothing to come" for "all is in place".
  if (!(await exists(entry.work))) throw new Error(`${entry.work} is gone`);
  await (entry.kind === 'REPLACE' ? replaceForward(entry, onStep) : exchangeForward(entry, onStep));
}

/** Brings one target back to its old content, from wherever a former call of either direction stopped. */
export async function swapBack(entry: JournalEntry, onStep: OnStep): Promise<void> {
  if (!(await exists(entry.work))) return;
  await (entry.kind === 'REPLACE' ? replaceBack(entry, onStep) : exchangeBack(entry, onStep));
}

async function replaceForward({ target, work }: JournalEntry, onStep: OnStep): Promise<void> {
  const [fresh, old] = [join(work, 'new'), join(work, 'old')];
  if (!(await exists(fresh))) return;
  if (await exists(target)) {
    // With the old content aside already, what lies here was put there since by somebody else.
    await move(target, (await exists(old)) ? await strayName(work) : old);
    await onStep('old content aside');
  }
  await move(fresh, target);
  await onStep('new content in place');
}

async function replaceBack({ target, work, existed }: JournalEntry, onStep: OnStep): Promise<void> {
  const [fresh, old] = [join(work, 'new'), join(work, 'old')];
  const hasOld = await exists(old);
  const hasFresh = await exists(fresh);
  if (await exists(target)) {
    if (!hasFresh && (hasOld || !existed)) await move(target, fresh);
    else if (hasOld) await move(target, await strayName(work));
    await onStep('new content aside');
  }
  if (hasOld) await move(old, target);
  await onStep('old content back');
}

async function exchangeForward({ target, work }: JournalEntry, onStep: OnStep): Promise<void> {
  const [fresh, old, partial] = [join(work, 'new'), join(work, 'old'), join(work, 'old.partial')];
  if (!(await exists(old))) {
    await ensureDirectory(partial);
    await moveEntries(target, partial, work, onStep);
    await move(partial, old);
    await onStep('old content aside');
  }
  if (await exists(fresh)) {
    await moveEntries(fresh, target, work, onStep);
    await rmdir(fresh);
    await syncDirectory(work);
  }
  await onStep('new content in place');
}

async function exchangeBack({ target, work }: JournalEntry, onStep: OnStep): Promise<void> {
  const [fresh, old, partial] = [join(work, 'new'), join(work, 'old'), join(work, 'old.partial')];
  if (await exists(old)) {
    await ensureDirectory(fresh);
    await moveEntries(target, fresh, work, onStep);
    await move(old, partial);
    await onStep('new content aside');
  }
  if (await exists(partial)) {
    await moveEntries(partial, target, work, onStep);
    await rmdir(partial);
    await syncDirectory(work);
  }
  await onStep('old content back');
}

/** Renames, and has both directories on disk before the next step builds on it. */
async function move(from: string, to: string): Promise<void> {
  await renameAnyway(from, to);
  await syncDirectory(dirname(to));
  if (dirname(from) !== dirname(to)) await syncDirectory(dirname(from));
}

/**
 * Moving a directory to another one takes the right to write in it, which its owner may not have given himself. He
 * has it for the moment of the rename; its mode is what it was after that.
 */
async function renameAnyway(from: string | Buffer, to: string | Buffer): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    const stat = errnoOf(error) === 'EACCES' ? await lstat(from) : null;
    if (stat?.isDirectory() !== true || (stat.mode & 0o200) !== 0) throw error;
    await chmod(from, (stat.mode & 0o7777) | 0o200);
    const isMoved = await rename(from, to).then(() => true, () => false);
    await chmod(isMoved ? to : from, stat.mode & 0o7777);
    if (!isMoved) throw error;
  }
}

/** Moves all entries of a directory, except the one that the work directory lies in. Names are bytes, not text. */
async function moveEntries(from: string, to: string, work: string, onStep: OnStep): Promise<void> {
  const kept = pathBelow(from, work)?.split(sep)[0];
  for (const name of await readdir(from, { encoding: 'buffer' })) {
    if (kept !== undefined && name.equals(Buffer.from(kept))) continue;
    const destination = Buffer.concat([Buffer.from(`${to}${sep}`), name]);
    const source = Buffer.concat([Buffer.from(`${from}${sep}`), name]);
    if (await exists(destination)) await rename(destination, await strayName(work));
    // What its owner removes by himself meanwhile needs no moving.
    await renameAnyway(source, destination).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    await onStep('entry moved');
  }
  await syncDirectory(from);
  await syncDirectory(to);
}

async function ensureDirectory(path: string): Promise<void> {
  if (!(await exists(path))) await mkdir(path, { mode: 0o700 });
}

/** A free name for what neither the backup nor the old content explains. */
async function strayName(work: string): Promise<string> {
  for (let nth = 1; ; nth += 1) {
    const path = join(work, `stray.${nth}`);
    if (!(await exists(path))) return path;
  }
}
