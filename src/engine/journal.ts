/**
 * The journal of a restore: what is being replaced by what, and how far that is. One file for all of a restore's
 * targets, so that the restore as a whole is old or new.
 */
import { readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { makeDirectories, syncDirectory, writeDurably } from './disk.ts';
import { ioFault, isMissing } from './faults.ts';

const ENTRY = z.object({
  /**
   * REPLACE: the target is renamed away and the new content renamed into its place. INSIDE: the target stays (it
   * is a mount point, or its parent cannot be written) and its entries are exchanged one by one.
   */
  kind: z.enum(['REPLACE', 'INSIDE']),
  /** Real absolute path, links resolved. */
  target: z.string(),
  /** The directory of this restore's own, on the target's file system: `new`, later `old`, lie in it. */
  work: z.string(),
  /** Whether there was anything at the target. */
  existed: z.boolean(),
  /** INSIDE: the target's own mode, owner, times and attributes, as a tar archive of it alone; base64. */
  rootBefore: z.string().nullable(),
  rootAfter: z.string().nullable(),
});
export type JournalEntry = z.infer<typeof ENTRY>;

const JOURNAL = z.object({
  version: z.literal(1),
  restoreKey: z.string(),
  /**
   * UNPACKING: no target is touched. COMMITTING: everything is unpacked, and the databases may be new: which they are
   * decides. SWAPPING: goes on to new. REVERTING: goes back to old. REPLACED and REVERTED: only the work directories are
   * left to remove.
   */
  phase: z.enum(['UNPACKING', 'COMMITTING', 'SWAPPING', 'REVERTING', 'REPLACED', 'REVERTED']),
  entries: z.array(ENTRY),
  /**
   * Databases that belong to the same restore, by path, each with the transaction that replaces it. From SWAPPING on they
   * are new for good, so that there is no way back.
   */
  databases: z.array(z.object({ path: z.string(), xid: z.string().regex(/^\d+$/) })).optional(),
});
export type Journal = z.infer<typeof JOURNAL>;

const pathOf = (journalDir: string, restoreKey: string): string => join(journalDir, `${restoreKey}.restore.json`);

/** True for a key that can be part of a file name. */
export function isRestoreKey(key: string): boolean {
  return /^[A-Za-z0-9_-]{1,100}$/.test(key);
}

/** Writes the journal so that after a crash either the former or this one is there, whole. */
export async function writeJournal(journalDir: string, journal: Journal): Promise<void> {
  const path = pathOf(journalDir, journal.restoreKey);
  const temporary = `${path}.tmp`;
  try {
    await makeDirectories(journalDir, 0o700);
    await rm(temporary, { force: true });
    await writeDurably(temporary, JSON.stringify(journal));
    await rename(temporary, path);
    await syncDirectory(journalDir);
  } catch (error) {
    throw ioFault(error, `The journal ${path} could not be written`);
  }
}

/** Null where there is none: the restore never began, or is over. */
export async function readJournal(journalDir: string, restoreKey: string): Promise<Journal | null> {
  const path = pathOf(journalDir, restoreKey);
  try {
    return JOURNAL.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    if (isMissing(error)) return null;
    throw ioFault(error, `The journal ${path} cannot be read`);
  }
}

/** Removes what a process left that died while it wrote its first journal. */
export async function removeUnfinishedJournal(journalDir: string, restoreKey: string): Promise<void> {
  const path = pathOf(journalDir, restoreKey);
  await rm(`${path}.tmp`, { force: true }).catch((error: unknown) => {
    throw ioFault(error, `The journal ${path} could not be removed`);
  });
}

/** The last act of a restore. */
export async function removeJournal(journalDir: string, restoreKey: string): Promise<void> {
  const path = pathOf(journalDir, restoreKey);
  try {
    await rm(`${path}.tmp`, { force: true });
    await rm(path, { force: true });
    await syncDirectory(journalDir);
  } catch (error) {
    throw ioFault(error, `The journal ${path} could not be removed`);
  }
}
