/**
 * Looks after the stores: whether each can be used, and whether the finished backups are still there. The file
 * system's own notifications make it quick, a clock makes it certain.
 */
import { watch, type FSWatcher } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename } from 'node:path';
import type { StoreState } from '../engine/index.ts';
import { allStores, markStorePrepared, setStoreStatus } from '../records/deployments.ts';
import type { StoreRow } from '../records/rows.ts';
import type { WorkerContext } from './context.ts';
import { startFirstScans } from './first-scans.ts';
import { startReconciler } from './reconcile.ts';
import { startReturns } from './returns.ts';
import { unlessSilent } from './silent-stores.ts';
import { doubtAbout } from './store-marks.ts';
import { storeOf } from './store-of.ts';
import { sweepStore } from './sweep.ts';

/** How often each store is looked at, in milliseconds. */
const CHECK_INTERVAL = 2_000;
/** The same for a store of another type than a directory: each look is a request that somebody pays for. */
const REMOTE_CHECK_INTERVAL = 30_000;
/** How often leftovers are looked for although nobody told of any: what another worker could not remove. */
const SWEEP_INTERVAL = 10 * 60_000;
/** A move is told as several changes; they are looked at together. */
const SETTLE = 100;

export interface StoreKeeper { stop(): Promise<void> }

/** Starts to look after all stores. Comes back after the first look. */
export async function keepStores(context: WorkerContext): Promise<StoreKeeper> {
  const stopping = new AbortController();
  const watchers = new Map<number, FSWatcher>();
  const nextLookAt = new Map<number, number>();
  const sweptAt = new Map<number, number>();
  const returns = startReturns(context, stopping.signal);
  const firstScans = startFirstScans(context);
  // SUCCESS means read back and verified, also after it was away.
  const reconciler = startReconciler(context, stopping.signal, (store, backup) => returns.add(store, backup, () => reconciler.told(store.id, backup.directory)));
  let timer: NodeJS.Timeout | undefined;
  let round: Promise<void> | null = null;

  const look = () => {
    clearTimeout(timer);
    round ??= lookAtAll().catch((error: unknown) => context.log.debug({ error }, 'the stores could not be looked at')).finally(() => {
      round = null;
      if (!stopping.signal.aborted) timer = setTimeout(look, CHECK_INTERVAL);
    });
    return round;
  };
  const lookSoon = () => {
    clearTimeout(timer);
    if (!stopping.signal.aborted && round === null) timer = setTimeout(look, SETTLE);
  };
  const watchStore = (store: StoreRow) => {
    // An object store tells of nothing.
    if (store.type !== 'DIRECTORY' || watchers.has(store.id)) return;
    try {
      const watcher = watch(store.path, (_event, name) => {
        // What is no backup yet, or none any more, is told by a dot; what befalls the directory itself, by its own name.
        if (name?.startsWith('.') !== true) reconciler.told(store.id, name === basename(store.path) ? null : name);
        lookSoon();
      });
      watchers.set(store.id, watcher);
      watcher.on('error', () => unwatch(store.id));
    } catch {
      // No notifications here: the clock alone.
    }
  };
  const unwatch = (storeId: number) => {
    watchers.get(storeId)?.close();
    watchers.delete(storeId);
  };

  async function lookAtAll(): Promise<void> {
    // At once: one that does not answer, or goes away in the middle, must not keep the others from being looked at.
    await Promise.all((await allStores(context.db)).map((store) =>
      lookAt(store).catch((error: unknown) => context.log.debug({ error, store: store.name }, 'a store could not be looked at'))));
  }

  async function lookAt(store: StoreRow): Promise<void> {
    // What a run could not remove goes soon, however seldom the store is looked at otherwise.
    if (store.status === 'READY' && performance.now() < (nextLookAt.get(store.id) ?? 0) && !context.unswept.has(store.id)) return;
    const state = await findOut(store);
    const { status, detail, isReadable } = state;
    if (status !== store.status) context.log[status === 'READY' ? 'info' : 'warn']({ store: store.name, status, detail }, 'backup store');
    await setStoreStatus(context.db, store.id, state);
    if (store.type !== 'DIRECTORY') nextLookAt.set(store.id, performance.now() + REMOTE_CHECK_INTERVAL);
    if (!isReadable) {
      // Nothing is known of its backups; once it is back, all are looked for.
      unwatch(store.id);
      reconciler.forget(store.id);
      firstScans.forget(store.id);
      sweptAt.delete(store.id);
      return;
    }
    await unlessSilent(storeOf(store), async () => {
      watchStore(store);
      // What is write-protected can be read all the same, and may hold all that a new gateway is to know.
      if (status !== 'UNREACHABLE') await sweep(store);
      firstScans.look(store);
      await reconciler.look(store, storeOf(store));
    });
  }

  /** What the store is, and that it is the store. */
  async function findOut(row: StoreRow): Promise<StoreState> {
    const store = storeOf(row);
    let state = await store.check();
    if (!row.isPrepared && !state.isSilent) {
      await unlessSilent(store, () => prepare(context, row));
      state = await store.check();
    }
    const doubt = state.isReadable ? await unlessSilent(store, () => doubtAbout(context, row)) : null;
    return doubt === null ? state : { status: 'UNREACHABLE', freeBytes: null, totalBytes: null, detail: doubt.advice, isReadable: false, isSilent: false };
  }

  /** Removes what a run has left that ended while the store was away. */
  async function sweep(store: StoreRow): Promise<void> {
    const isTold = context.unswept.delete(store.id);
    if (!isTold && performance.now() < (sweptAt.get(store.id) ?? Number.NEGATIVE_INFINITY) + SWEEP_INTERVAL) return;
    try {
      await sweepStore(context, store);
      sweptAt.set(store.id, performance.now());
    } catch (error) {
      if (isTold) context.unswept.add(store.id);
      throw error;
    }
  }

  await look();
  return {
    async stop() {
      stopping.abort();
      clearTimeout(timer);
      for (const id of watchers.keys()) unwatch(id);
      await round;
      await firstScans.end();
      await returns.end();
    },
  };
}

/**
 * Makes the directory of a store that has never been used. A store whose directory is gone later is left alone: it
 * may be a disk that is not mounted, and backups must not go onto the mount point beneath. Where the mount point is the
 * directory itself, `store-marks.ts` tells.
 */
async function prepare(context: WorkerContext, store: StoreRow): Promise<void> {
  try {
    // Owner and group alone: a store may hold backups that are not encrypted.
    if (store.type === 'DIRECTORY') await mkdir(store.path, { recursive: true, mode: 0o750 });
    // Not where nothing can be written; and a store that has moved is this place, although its backups may be in the other.
    await storeOf(store).mark().catch((error: unknown) => context.log.debug({ error, store: store.name }, 'a store has no mark yet'));
    await markStorePrepared(context.db, store.id);
  } catch (error) {
    context.log.error({ store: store.name, error }, 'the directory of a backup store could not be made; create it, or correct its path in the deployment file');
  }
}
