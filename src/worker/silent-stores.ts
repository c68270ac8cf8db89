/**
 * Work with a store that may stop answering for good, as a network file system does whose server is gone: a call into it
 * cannot be taken back, so that the work is left to itself instead. Whatever it still does when the store is back is
 * fenced off, as the work of any worker is that has lost its job.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../domain/errors.ts';
import type * as engine from '../engine/index.ts';
import { findBackup } from '../records/backups.ts';
import { findStoreById } from '../records/checks.ts';
import type { WorkerContext } from './context.ts';
import type { Run } from './run.ts';
import { storeOf } from './store-of.ts';

/** How often the store is asked beside the work, in milliseconds. */
const INTERVAL = 1_000;
/** For how long a job waits for a store that has fallen silent, in milliseconds: a file server that starts again is back by then. */
const PATIENCE = 120_000;

/**
 * Does work with a store, and waits for it no longer once the store is silent. A store that is silent from the start is not
 * asked for more. One of an object store has limits of its own.
 *
 * @param patience for how long a silence is waited out that begins amid the work, in milliseconds; asked again and again
 * @throws EngineError STORE_UNREACHABLE; and whatever the work throws
 */
export async function unlessSilent<T>(store: engine.Store, work: () => Promise<T>, patience: () => number = () => 0): Promise<T> {
  if (store.localPath === null) return work();
  const before = await store.check();
  if (before.isSilent) throw silent(store, before);
  const ended = new AbortController();
  const watch = async (): Promise<never> => {
    let since: number | null = null;
    for (;;) {
      await sleep(INTERVAL, undefined, { signal: ended.signal });
      const state = await store.check();
      since = state.isSilent ? since ?? performance.now() : null;
      if (since !== null && performance.now() - since >= patience()) throw silent(store, state);
    }
  };
  try {
    // What loses the race is handled, too: nobody else would.
    return await Promise.race([work(), watch()]);
  } finally {
    ended.abort();
  }
}

const silent = (store: engine.Store, { detail }: engine.StoreState): EngineError => new EngineError('STORE_UNREACHABLE',
  `The backup store ${store.label} does not answer: ${detail}`, 'See that the server of its file system runs and can be reached, or mount it again.');

/**
 * The same for a job, and the store that it is about: one that is cancelled, has had its time or is to be given back waits
 * for no silence, any other for two minutes. A restore is waited for: its targets must not be left in between.
 */
export async function unlessStoreIsSilent(context: WorkerContext, run: Run, work: () => Promise<void>): Promise<void> {
  const { operation, backupId, storeId } = run.job;
  if (operation === 'RESTORE') return work();
  const id = storeId ?? (backupId === null ? undefined : (await findBackup(context.db, backupId))?.storeId);
  const row = id === undefined ? undefined : await findStoreById(context.db, id);
  if (row === undefined || row.type !== 'DIRECTORY') return work();
  try {
    await unlessSilent(storeOf(row), work, () => (run.signal.aborted ? 0 : PATIENCE));
  } catch (error) {
    // What goes on by itself once the store is back must find that it is over.
    if (error instanceof EngineError && error.code === 'STORE_UNREACHABLE') run.giveUp(error);
    throw error;
  }
}
