/**
 * Stores that nobody has looked through since they were declared: each is scanned once it can be reached. Beside the
 * looks at the stores, which must not wait for a long list.
 */
import { directoriesOf, markStoreScanned } from '../records/checks.ts';
import type { StoreRow } from '../records/rows.ts';
import { queueScan } from '../records/scans.ts';
import type { WorkerContext } from './context.ts';
import { unlessSilent } from './silent-stores.ts';
import { storeOf } from './store-of.ts';

/** Who asks for a scan that nobody asked for. */
const INITIATED_BY = 'system';

export interface FirstScans {
  /** Sees to it that a store that can be reached is scanned. */
  look(store: StoreRow): void;
  /** The store went away: once it is back, a scan that was cut off is tried again. */
  forget(storeId: number): void;
  /** Waits for what is under way. */
  end(): Promise<void>;
}

export function startFirstScans(context: WorkerContext): FirstScans {
  /** One that fails or is cancelled is not begun anew as long as the store stays where it is; the next start tries again. */
  const asked = new Map<number, string>();
  let last = Promise.resolve();

  async function ask(store: StoreRow): Promise<void> {
    const [names, known] = [await unlessSilent(storeOf(store), () => storeOf(store).list()), await directoriesOf(context.db, store.id)];
    const unknown = names.filter((name) => !known.has(name));
    // A store that holds nothing new needs no job: that is what a first start finds.
    if (unknown.length === 0) return void await markStoreScanned(context.db, store);
    const job = await context.db.transaction((tx) => queueScan(tx, store.id, INITIATED_BY, 'scanned'));
    if (job !== null) context.log.info({ store: store.name, unknown: unknown.length, jobId: job.jobId }, 'the store holds backups that are not in the catalogue; it is being scanned');
  }

  return {
    look(store) {
      if (store.isScanned) return void asked.delete(store.id);
      if (!store.isDeclared || asked.get(store.id) === store.path) return;
      asked.set(store.id, store.path);
      last = last.then(() => ask(store)).catch((error: unknown) => {
        asked.delete(store.id);
        context.log.debug({ error, store: store.name }, 'what is in a store could not be looked at');
      });
    },
    forget: (storeId) => void asked.delete(storeId),
    end: () => last,
  };
}
