/**
 * On start: removes, or brings to its end, what processes that died have left and that no job will come back to.
 *
 * Names are collected first and their jobs looked up afterwards. The other way round, a job that another worker begins
 * in between would look like one that nobody works on.
 */
import { readdir } from 'node:fs/promises';
import { isFiles, type FilesSource } from '../domain/deployment.ts';
import * as engine from '../engine/index.ts';
import { allStores, findDeployment } from '../records/deployments.ts';
import { endedJobs } from '../records/jobs.ts';
import type { StoreRow } from '../records/rows.ts';
import type { ServedHosts } from '../records/workers.ts';
import { jobOfAttempt } from './backup-operation.ts';
import type { WorkerContext } from './context.ts';
import { deployedDatabases, jobOfRestoreKey } from './restore-operation.ts';
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
  const jobOf = (attempt: string) => jobOfAttempt(context, attempt);
  const swept = await sweepEnded(context, jobOf, async (isLeftover) => storeOf(store).sweep(isLeftover));
  if (swept.length > 0) context.log.info({ store: store.name, swept }, 'removed unfinished backups');
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
  for (const key of journals) {
    const end = ended.get(jobOfRestoreKey(key));
    if (end === undefined) continue;
    if (end === 'COMPLETED') {
      // A worker with journals elsewhere did it instead. Going on here would undo what has changed since.
      context.log.error({ restore: key, journalDir: context.journalDir }, 'another worker has finished this interrupted restore; what its journal names beside the targets is to be removed by hand, then the journal');
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
  const swept = await sweepEnded(context, jobOf, (isLeftover) => engine.sweepRestoreLeftovers(sources, isLeftover, { onWarning }));
  if (swept.length > 0) context.log.info({ swept }, 'removed what restores had left');
}

/** Sweeps the names whose jobs have ended. */
async function sweepEnded<T>(context: WorkerContext, jobOf: (name: string) => string | null, sweep: (isLeftover: (name: string) => boolean) => Promise<T>): Promise<T> {
  const seen = new Map<string, string>();
  const nothing = await sweep((name) => {
    const jobId = jobOf(name);
    if (jobId !== null) seen.set(name, jobId);
    return false;
  });
  if (seen.size === 0) return nothing;
  const ended = await endedJobs(context.db, [...seen.values()]);
  return sweep((name) => ended.has(seen.get(name) ?? ''));
}

/** The restores that a journal speaks of. */
async function journalKeys(context: WorkerContext): Promise<string[]> {
  const suffix = '.restore.json';
  const names = await readdir(context.journalDir).catch(() => []);
  return names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length));
}
