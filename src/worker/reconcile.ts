/**
 * Whether the finished backups of a store are still there: SUCCESS ⇄ MISSING, as their files go and come back.
 *
 * The store is asked for its list, once, however many backups there are; only a backup that the list lacks is looked at by
 * itself. What a directory tells of by itself is looked at alone. Looking through all takes its time with many backups:
 * the pause until the next is a multiple of it.
 */
import type { Logger } from 'pino';
import type { Store } from '../engine/index.ts';
import { backupsToReconcile, changeBackupStatus } from '../records/backups.ts';
import type { BackupRow, Db, StoreRow } from '../records/rows.ts';
import { requireStore } from './store-marks.ts';

/** How often every finished backup is looked for, although nothing told of a change, in milliseconds. */
const INTERVAL = 15_000;
/** Of all time, no more than one part in so many goes into that. */
const SHARE = 20;
/** So many changes are looked at one by one; of more, a list tells sooner. */
const NAMED = 1_000;

/** What became of a backup's files. */
type Finished = Pick<BackupRow, 'id' | 'status' | 'directory'>;

export interface Reconciler {
  /** The store told that something of this name has come or gone, or, with null, that it does not know what. */
  told(storeId: number, name: string | null): void;
  /** Looks at what is due in a store that can be reached. @throws EngineError STORE_UNREACHABLE */
  look(row: StoreRow, store: Store): Promise<void>;
  /** The store went away: once it is back, all its backups are looked for. */
  forget(storeId: number): void;
}

/** @param onReturn told of each MISSING backup whose files are there again, as often as it is found so */
export function startReconciler(
  { db, log }: { db: Db; log: Pick<Logger, 'warn' | 'debug'> }, signal: AbortSignal, onReturn: (row: StoreRow, backup: Finished) => void,
): Reconciler {
  /** When all backups of a store are due, by `performance.now()`. Absent: now. */
  const dueAt = new Map<number, number>();
  /** Before when they must not be, for the share of time that it takes. */
  const soonest = new Map<number, number>();
  /** What a store has told of since it was last looked at. */
  const changes = new Map<number, Set<string>>();

  /** @param listed what the store holds; null: it is asked for each */
  async function compare(row: StoreRow, backups: readonly Finished[], store: Store, listed: ReadonlySet<string> | null): Promise<void> {
    for (const backup of backups) {
      if (signal.aborted) return;
      const isMissing = backup.status === 'MISSING';
      // One that counts may have come, and its job have ended, since the list was made.
      const isThere = listed?.has(backup.directory) === true || ((listed === null || !isMissing) && await store.has(backup.directory));
      if (isThere && isMissing) onReturn(row, backup);
      if (isThere || isMissing) continue;
      // What was unmounted since the store was looked at lacks everything.
      await requireStore({ db, log }, row, store);
      if (await changeBackupStatus(db, backup.id, ['SUCCESS'], 'MISSING')) {
        log.warn({ backup: backup.directory, store: row.name }, 'a backup is missing');
      }
    }
  }

  async function lookAtAll(row: StoreRow, store: Store): Promise<void> {
    const begin = performance.now();
    try {
      // Something in it that cannot be read, and may be nobody's backup, must not hide all others.
      const listed = await store.list().then((names) => new Set(names), () => null);
      await compare(row, await backupsToReconcile(db, row.id), store, listed);
      dueAt.set(row.id, performance.now() + INTERVAL);
    } finally {
      soonest.set(row.id, performance.now() + (performance.now() - begin) * (SHARE - 1));
    }
  }

  return {
    told(storeId, name) {
      const known = changes.get(storeId) ?? new Set();
      if (name === null || known.size >= NAMED) dueAt.delete(storeId);
      else changes.set(storeId, known.add(name));
    },
    async look(row, store) {
      const names = [...changes.get(row.id) ?? []];
      changes.delete(row.id);
      try {
        if (performance.now() >= Math.max(dueAt.get(row.id) ?? 0, soonest.get(row.id) ?? 0)) await lookAtAll(row, store);
        else if (names.length > 0) await compare(row, await backupsToReconcile(db, row.id, names), store, null);
      } catch (error) {
        // What was told is not told again.
        dueAt.delete(row.id);
        throw error;
      }
    },
    forget(storeId) {
      dueAt.delete(storeId);
      soonest.delete(storeId);
      changes.delete(storeId);
    },
  };
}
