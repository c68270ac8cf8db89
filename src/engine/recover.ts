/**
 * What is to do after a process died in a restore.
 */
import { lstat, readdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FilesSource, PostgresSource } from '../domain/deployment.ts';
import type { Recovery } from './contract.ts';
import { complete } from './complete.ts';
import { settle } from './databases.ts';
import { exists, removeTree } from './disk.ts';
import { readJournal, removeUnfinishedJournal } from './journal.ts';
import { keepRoot, putBackRoot } from './root.ts';
import { requireTar } from './tar.ts';
import { restoreKeyOf } from './target.ts';

/**
 * Brings an interrupted restore to its end. Where targets had begun to be replaced it goes forward, or back where
 * that is impossible; otherwise it removes what was unpacked. Where databases belong to it, their servers are asked which
 * of both it is. Safe to call at any time while the restore itself does
 * not run, and as often as one likes.
 *
 * @param run `databases`: those of the deployment, by which the ones of the restore are reached
 * @returns `none` where there is nothing to recover
 * @throws EngineError TARGET_UNWRITABLE, TAR_MISSING, DATABASE_UNREACHABLE, PG_TOOLS_MISSING, IO where it cannot be done now; a later call tries again
 */
export async function recoverRestore(
  journalDir: string, restoreKey: string,
  run: { databases?: readonly PostgresSource[]; onWarning?(text: string): void; onStep?(step: string): void | Promise<void> } = {},
): Promise<Recovery> {
  let journal = await readJournal(journalDir, restoreKey);
  if (journal === null) {
    // One that was being written for the first time when the process died: nothing had been touched.
    await removeUnfinishedJournal(journalDir, restoreKey);
    return 'none';
  }
  if (journal.phase === 'COMMITTING') journal = await settle(journalDir, journal, run.databases ?? [], (text) => run.onWarning?.(text));
  const { outcome } = await complete(journal, {
    tar: await requireTar(), journalDir,
    onStep: async (step) => await run.onStep?.(step),
    onWarning: (text) => run.onWarning?.(text),
  });
  return outcome === 'REPLACED' ? 'rolled-forward' : 'rolled-back';
}

/**
 * Removes work directories that no journal speaks of any more: old content that could not be removed after a
 * restore. One that a swap was interrupted in is left alone and reported, since it holds the only copy of something.
 *
 * @param sources the deployment's, beside which restores unpack
 * @param isLeftover told the key of the restore that a directory belongs to; true: no journal of it is left, and
 *   nobody works on it
 * @returns the paths that were removed
 */
export async function sweepRestoreLeftovers(
  sources: readonly FilesSource[], isLeftover: (restoreKey: string) => boolean, run: { onWarning?(text: string): void } = {},
): Promise<string[]> {
  const removed: string[] = [];
  for (const [directory, isTarget] of await workPlaces(sources)) {
    const names = (await readdir(directory).catch(() => [])).filter((name) => {
      const key = restoreKeyOf(name.replace(/\.probe$/, ''));
      return key !== null && isLeftover(key);
    });
    for (const name of names) {
      const path = join(directory, name);
      try {
        if (await isMidway(path)) throw new Error(`${path} holds content of an interrupted restore; put it back or remove it by hand`);
        await (isTarget ? removeKeepingTimes(directory, path) : removeTree(path));
        removed.push(path);
      } catch (error) {
        run.onWarning?.(String(error));
      }
    }
  }
  return removed;
}

/** Every directory in which work directories of these sources can lie, and whether it is a target itself. */
async function workPlaces(sources: readonly FilesSource[]): Promise<Map<string, boolean>> {
  const places = new Map<string, boolean>();
  const add = async (place: string | null, isTarget: boolean): Promise<void> => {
    const real = place === null ? null : await realpath(place).catch(() => null);
    if (real !== null && (await lstat(real)).isDirectory()) places.set(real, isTarget || places.get(real) === true);
  };
  for (const { path, staging } of sources) {
    await add(staging, false);
    await add(await realpath(path).then(dirname, () => dirname(path)), false);
    await add(path, true);
  }
  return places;
}

async function isMidway(work: string): Promise<boolean> {
  const [fresh, old, partial] = await Promise.all(['new', 'old', 'old.partial'].map((name) => exists(join(work, name))));
  return partial === true || (fresh === true && old === true);
}

/** A target's own time belongs to what was restored. */
async function removeKeepingTimes(directory: string, path: string): Promise<void> {
  const tar = await requireTar();
  const root = await keepRoot(tar, directory);
  await removeTree(path);
  await putBackRoot(tar, directory, root);
}
