/**
 * The databases of a restore: all are loaded before the first takes effect, and then they take effect one right after the
 * other, the files after them.
 *
 * Postgres has no transaction over two databases. What can go wrong with one is over when it is loaded, its deferred
 * constraints included; only a server that goes away in the moment between two commits leaves one new and the other old.
 */
import { EngineError } from '../domain/errors.ts';
import type { PostgresSource } from '../domain/deployment.ts';
import { writeJournal } from './journal.ts';
import type { Journal } from './journal.ts';
import { isCommitted, loadDump } from './sources/postgres-restore.ts';
import type { LoadedDatabase, ProvenDump } from './sources/postgres-restore.ts';
import type { OnStep } from './swap.ts';

/**
 * Loads all, each into an open transaction. Where one fails, every database is as it was.
 *
 * @throws as `loadDump`
 */
export async function loadAll(dumps: readonly ProvenDump[], signal: AbortSignal, onPass: (bytes: number, files: number) => void): Promise<LoadedDatabase[]> {
  const loaded: LoadedDatabase[] = [];
  try {
    for (const dump of dumps) loaded.push(await loadDump(dump, signal, onPass));
    return loaded;
  } catch (error) {
    await abandonAll(loaded);
    throw error;
  }
}

export const abandonAll = async (loaded: readonly LoadedDatabase[]): Promise<void> => void await Promise.all(loaded.map((database) => database.abandon()));

/** How the commits ended. */
export interface Committed {
  /** Null: all databases are new. */
  failure: unknown;
  /** Whether it is known of each that it is new, or that it is not. */
  isKnown: boolean;
}

/**
 * Commits all, one after the other, and stops at the first that fails.
 */
export async function commitAll(loaded: readonly LoadedDatabase[], onStep: OnStep): Promise<Committed> {
  const done: string[] = [];
  for (const database of loaded) {
    try {
      await database.commit();
    } catch (error) {
      await abandonAll(loaded.slice(done.length + 1));
      const isKnown = error instanceof EngineError && error.code === 'TARGET_UNWRITABLE';
      return { failure: done.length === 0 || !isKnown ? error : mixed(done, error), isKnown };
    }
    done.push(database.path);
    await onStep('database committed');
  }
  return { failure: null, isKnown: true };
}

function mixed(done: readonly string[], error: unknown): EngineError {
  const reason = error instanceof Error ? error.message : String(error);
  return new EngineError('TARGET_UNWRITABLE', `${done.join(', ')} is restored already, and then: ${reason}`, 'Restore again: that brings all databases and files to one state.', { cause: error });
}

/**
 * Decides how an interrupted restore goes on whose databases may have been committed: forward where they were, back where
 * they were not.
 *
 * @param sources those of the deployment, by which the databases are reached
 * @returns the journal to complete
 * @throws EngineError DATABASE_UNREACHABLE, PG_TOOLS_MISSING where that cannot be found out now; a later call tries again
 */
export async function settle(journalDir: string, journal: Journal, sources: readonly PostgresSource[], onWarning: (text: string) => void): Promise<Journal> {
  const outcomes = await Promise.all((journal.databases ?? []).map(async ({ path, xid }) => {
    const source = sources.find((candidate) => candidate.path === path);
    if (source === undefined) {
      throw new EngineError('DATABASE_UNREACHABLE', `An interrupted restore of the database ${path} cannot be brought to its end: the deployment does not name it any more.`,
        'Declare it in the deployment file as before, deploy, and start the worker again.');
    }
    return { path, isNew: await isCommitted(source, xid) };
  }));
  const fresh = outcomes.filter(({ isNew }) => isNew).map(({ path }) => path);
  const isForward = fresh.length === outcomes.length;
  if (!isForward && fresh.length > 0) {
    onWarning(`${fresh.join(', ')} is restored, and the other databases and the files of the same restore are not: restore again.`);
  }
  const settled: Journal = isForward ? { ...journal, phase: 'SWAPPING' } : { ...journal, phase: 'UNPACKING', databases: undefined };
  await writeJournal(journalDir, settled);
  return settled;
}
