/**
 * Brings a restore to its end from whatever its journal says: the restore itself calls it, and so does the recovery
 * after a kill. A second call goes on where the first one stopped.
 */
import { targetFault } from './faults.ts';
import { exists, removeTree, syncDirectory } from './disk.ts';
import { removeJournal, writeJournal } from './journal.ts';
import type { Journal, JournalEntry } from './journal.ts';
import { putBackRoot } from './root.ts';
import { swapBack, swapForward } from './swap.ts';
import type { OnStep } from './swap.ts';
import type { Tar } from './tar.ts';
import { probePath } from './unpack.ts';

export interface Completion {
  tar: Tar;
  journalDir: string;
  onStep: OnStep;
  onWarning(text: string): void;
}

/** The last journal, and why the new content could not be put in place; null where it is. */
export interface Completed {
  outcome: 'REPLACED' | 'REVERTED';
  failure: unknown;
}

/**
 * Goes forward from UNPACKING (nothing to do but clean) or SWAPPING, back from REVERTING, and back from SWAPPING
 * where forward is impossible and no database is new already. At its end no work directory and no journal is left.
 *
 * @throws EngineError TARGET_UNWRITABLE where neither direction is possible now: the journal stays, and a later
 *   call tries again
 */
export async function complete(journal: Journal, context: Completion): Promise<Completed> {
  if (journal.phase === 'COMMITTING') throw new Error('it is not known yet whether the databases are new');
  let failure: unknown = null;
  if (journal.phase === 'SWAPPING') {
    try {
      for (const entry of journal.entries) await swapForward(entry, context.onStep);
      journal = await enter(journal, 'REPLACED', context);
    } catch (error) {
      // The databases are new already: the files must follow.
      if (journal.databases !== undefined) throw targetFault(error, journal.entries.map(({ target }) => target).join(', '));
      failure = error;
      journal = await enter(journal, 'REVERTING', context);
    }
  }
  if (journal.phase === 'REVERTING') {
    for (const entry of journal.entries.toReversed()) {
      await swapBack(entry, context.onStep).catch((error: unknown) => {
        throw targetFault(error, entry.target);
      });
    }
    journal = await enter(journal, 'REVERTED', context);
  }
  const outcome = journal.phase === 'REPLACED' ? 'REPLACED' : 'REVERTED';
  for (const entry of journal.entries) await clean(entry, outcome, context);
  await context.onStep('cleaned');
  await removeJournal(context.journalDir, journal.restoreKey);
  await context.onStep('journal removed');
  return { outcome, failure };
}

async function enter(journal: Journal, phase: Journal['phase'], context: Completion): Promise<Journal> {
  const next = { ...journal, phase };
  await writeJournal(context.journalDir, next);
  await context.onStep(`journal says ${phase}`);
  return next;
}

/** Removes what a target no longer needs. What resists is left to a later sweep: the content is in place. */
async function clean(entry: JournalEntry, outcome: Completed['outcome'], { tar, onWarning }: Completion): Promise<void> {
  for (const path of [entry.work, probePath(entry)]) {
    await removeTree(path).catch((error: unknown) => onWarning(String(error)));
  }
  // Last, since the removal itself changes the directory's time.
  const root = outcome === 'REPLACED' ? entry.rootAfter : entry.rootBefore;
  try {
    if (root !== null && await exists(entry.target)) {
      await putBackRoot(tar, entry.target, root);
      await syncDirectory(entry.target);
    }
  } catch (error) {
    onWarning(String(error));
  }
}
