/**
 * Backups that were MISSING and are there again: each is read back before it counts, one after the other, beside the
 * looks at the stores, which must not wait for that.
 */
import * as engine from '../engine/index.ts';
import { changeBackupStatus } from '../records/backups.ts';
import type { BackupRow, StoreRow } from '../records/rows.ts';
import type { WorkerContext } from './context.ts';
import { unlessSilent } from './silent-stores.ts';
import { storeOf } from './store-of.ts';

export interface Returns {
  /** Reads a backup back soon. `lookAgain` is called where another look is needed to be sure. */
  add(store: StoreRow, backup: Pick<BackupRow, 'id' | 'directory'>, lookAgain: () => void): void;
  /** Waits for what is under way; the signal ends it. */
  end(): Promise<void>;
}

/** Starts with nothing to read. */
export function startReturns(context: WorkerContext, signal: AbortSignal): Returns {
  const waiting = new Set<number>();
  /** What was found wrong with a backup the last time. */
  const findings = new Map<number, string>();
  let last = Promise.resolve();

  async function readBack(store: StoreRow, backup: Pick<BackupRow, 'id' | 'directory'>, lookAgain: () => void): Promise<void> {
    if (signal.aborted) return;
    const { problems, details, sizeOnDisk } = await engine.verifyBackup(storeOf(store).open(backup.directory), { signal });
    const names = { backup: backup.directory, store: store.name };
    const finding = `${sizeOnDisk} ${details.join()}`;
    if (problems.length > 0 && findings.get(backup.id) !== finding) {
      // It may still be being copied: only what two looks find alike is a damage.
      findings.set(backup.id, finding);
      context.log.info({ ...names, details }, 'a missing backup is back, and not whole yet');
      return lookAgain();
    }
    findings.delete(backup.id);
    if (!await storeOf(store).has(backup.directory)) return;
    await changeBackupStatus(context.db, backup.id, ['MISSING'], 'SUCCESS', { fileProblems: problems, problemDetails: details, timeVerified: new Date() });
    context.log.info({ ...names, details }, 'a missing backup is back');
  }

  return {
    add(store, backup, lookAgain) {
      if (waiting.has(backup.id)) return;
      waiting.add(backup.id);
      last = last.then(() => unlessSilent(storeOf(store), () => readBack(store, backup, lookAgain)))
        .catch((error: unknown) => context.log.warn({ error, backup: backup.directory, store: store.name }, 'a backup that came back could not be read'))
        .finally(() => waiting.delete(backup.id));
    },
    end: () => last,
  };
}
