/**
 * On start: removes, or brings to its end, what processes that died have left and that no job will come back to.
 *
 * Names are collected first and their jobs looked up afterwards. The other way round, a job that another worker begins
 * in between would look like one that nobody works on.
 */
import { readdir } from 'node:fs/promises';
import { isFiles, type FilesSource } from '../domain/deployment.ts';
import * as engine from '../engine/index.ts';
import { backupsOfManyAttempts } from '../records/attempts.ts';
import { allStores, findDeployment } from '../records/deployments.ts';
import { endedJobs } from '../records/jobs.ts';
import type { StoreRow } from '../records/rows.ts';
import { overtakenRestores, sweepableRestores } from '../records/swaps.ts';
import type { ServedHosts } from '../records/workers.ts';
import { jobOfAttempt, nameOf } from './backup-operation.ts';
import type { WorkerContext } from './context.ts';
import { journalsId } from './journals.ts';
import { deployedDatabases, jobOfRestoreKey } from './restore-operation.ts';
import { unlessSilent } from './silent-stores.ts';
import { storeOf } from './store-of.ts';

/** Unfinished backups in the stores. One that is away is swept when it is back. */
export async function sweepStores(context: WorkerContext): Promise<void> {
  for (const store of await allStores(context.db)) await sweepStore(context, store).catch(() => undefined);
}

/** What this worker's own runs could not remove, once their stores can be written again. */
export async function sweepUnswept(context: WorkerContext): Promise<void> {
  if (context.unswept.size === 0) return;
  for (const store of await allStores(context.db)) {
    if (context.unswept.has(store.id)) await sweepStore(context, store).then(() => context.unswept.delete(store.id), () => undefined);
  }
}

/** Unfinished backups in one store. @throws EngineError STORE_UNREACHABLE */
export async function sweepStore(context: WorkerContext, store: StoreRow): Promise<void> {
  await unlessSilent(storeOf(store), () => sweepNow(context, store));
}

async function sweepNow(context: WorkerContext, store: StoreRow): Promise<void> {
  const jobOf = (attempt: string) => jobOfAttempt(context, attempt);
  const swept = await sweepEnded(context, jobOf, async (isLeftover) => storeOf(store).sweep(isLeftover));
  if (swept.length > 0) context.log.info({ store: store.name, swept }, 'removed unfinished backups');
  await removeStrays(context, store);
}

/**
 * Removes what came into a store after its attempt had been tidied up: a request of a worker that was cut off, and that
 * the network kept. Only under names that an attempt of this installation had and that are no backup's: what else has no
 * manifest may be a copy that somebody is making.
 */
async function removeStrays(context: WorkerContext, store: StoreRow): Promise<void> {
  const strays = new Set(await storeOf(store).strays());
  if (strays.size === 0) return;
  for (const { directory, status, epoch } of await backupsOfManyAttempts(context.db, store.id)) {
    const first = epoch > 1 && directory.endsWith(`.${epoch}`) ? directory.slice(0, -`.${epoch}`.length) : directory;
    for (let nth = 1; nth <= epoch; nth += 1) {
      const name = nameOf({ directory: first }, nth);
      if (!strays.has(name) || (name === directory && status !== 'FAILED')) continue;
      await storeOf(store).remove(name);
      context.log.info({ store: store.name, name }, 'removed what an attempt that was given up has left');
    }
  }
}

/**
 * Interrupted restores whose journals are here: their targets become wholly old or wholly new, and what lies beside the
 * targets of the served hosts goes.
 */
export async function sweepRestores(context: WorkerContext, served: ServedHosts): Promise<void> {
  const onWarning = (text: string) => context.log.warn(text);
  const journals = await journalKeys(context);
  const databases = await deployedDatabases(context);
  const ended = await endedJobs(context.db, journals.map(jobOfRestoreKey));
  const overtaken = await overtakenRestores(context.db, journals.map(jobOfRestoreKey));
  for (const key of journals) {
    const end = ended.get(jobOfRestoreKey(key));
    if (end === undefined) continue;
    if (end === 'COMPLETED') {
      // A worker with journals elsewhere did it instead. Going on here would undo what has changed since.
      context.log.error({ restore: key, journalDir: context.journalDir }, 'another worker has finished this interrupted restore; what its journal names beside the targets is to be removed by hand, then the journal');
      continue;
    }
    if (overtaken.has(jobOfRestoreKey(key))) {
      context.log.error({ restore: key, journalDir: context.journalDir }, 'a later restore has replaced what this interrupted one was about; what its journal names beside the targets is to be removed by hand, then the journal');
      continue;
    }
    await engine.recoverRestore(context.journalDir, key, { databases, onWarning }).then(
      (recovery) => context.log.warn({ restore: key, recovery }, 'brought an interrupted restore to its end'),
      (error: unknown) => context.log.error({ error, restore: key }, 'an interrupted restore could not be brought to its end'),
    );
  }
  const deployed = (await findDeployment(context.db))?.deployed;
  const own = deployed?.hosts.filter(({ id }) => served.isEvery || served.numbers.includes(id)) ?? [];
  const sources: FilesSource[] = own.flatMap((host) => Object.values(host.content).flat()).filter(isFiles);
  const isMidway = new Set(await journalKeys(context));
  const jobOf = (key: string) => (isMidway.has(key) ? null : jobOfRestoreKey(key));
  const journalsHere = await journalsId(context.journalDir).catch(() => null);
  const swept = await sweepEnded(context, jobOf, (isLeftover) => engine.sweepRestoreLeftovers(sources, isLeftover, { onWarning }),
    (jobIds) => sweepableRestores(context.db, jobIds, journalsHere));
  if (swept.length > 0) context.log.info({ swept }, 'removed what restores had left');
}

/** Sweeps the names whose jobs have ended, by what `endedOf` makes of that. */
async function sweepEnded<T>(
  context: WorkerContext, jobOf: (name: string) => string | null, sweep: (isLeftover: (name: string) => boolean) => Promise<T>,
  endedOf: (jobIds: readonly string[]) => Promise<{ has(jobId: string): boolean }> = (jobIds) => endedJobs(context.db, jobIds),
): Promise<T> {
  const seen = new Map<string, string>();
  const nothing = await sweep((name) => {
    const jobId = jobOf(name);
    if (jobId !== null) seen.set(name, jobId);
    return false;
  });
  if (seen.size === 0) return nothing;
  const ended = await endedOf([...seen.values()]);
  return sweep((name) => ended.has(seen.get(name) ?? ''));
}

/** The restores that a journal speaks of. */
async function journalKeys(context: WorkerContext): Promise<string[]> {
  const suffix = '.restore.json';
  const names = await readdir(context.journalDir).catch(() => []);
  return names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
}
