/**
 * For which hosts this worker works, and that it lives: both are read and written again every few seconds, since a
 * deploy may move the console, and since a worker that crashed says so only by its silence.
 */
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../domain/errors.ts';
import { EVERY_HOST, findServedHosts, forgetDeadWorkers, removeWorker, showWorker, WORKER_ALIVE_SECONDS, type ServedHosts } from '../records/workers.ts';
import type { WorkerContext } from './context.ts';

/** Three signs of life fit into the time after which a worker counts as gone, in milliseconds. */
const INTERVAL = (WORKER_ALIVE_SECONDS * 1_000) / 3;
/** How often a worker that came before the first deployment looks for it, in milliseconds. */
const DEPLOYMENT_INTERVAL = 1_000;

export interface Presence {
  /** The hosts that it works for now. */
  readonly served: ServedHosts;
  stop(): Promise<void>;
}

/**
 * Finds the hosts by their hostnames or host_ids (null: every host), and begins to show that the worker lives. Waits
 * where nothing has been deployed yet.
 * @throws GatewayError HOST_UNKNOWN, naming the hosts there are
 */
export async function startPresence(context: WorkerContext, names: readonly string[] | null, signal: AbortSignal): Promise<Presence> {
  const worker = { id: randomUUID(), machine: hostname() };
  const stopping = new AbortController();
  let served = names === null ? EVERY_HOST : await waitForHosts(context, names, signal);
  let missing = '';

  const showOnce = async (): Promise<void> => {
    if (names !== null) {
      const search = await findServedHosts(context.db, names);
      if (search !== undefined) served = search.served;
      const lost = search?.unknown.join(', ') ?? '';
      if (lost !== '' && lost !== missing) context.log.warn({ hosts: lost }, 'hosts of this worker are no longer in the deployment: they have no jobs any more');
      missing = lost;
    }
    await showWorker(context.db, { ...worker, served });
  };
  await showOnce();
  await forgetDeadWorkers(context.db);
  const showing = (async () => {
    for (;;) {
      await sleep(INTERVAL, undefined, { signal: stopping.signal }).catch(() => undefined);
      if (stopping.signal.aborted) return;
      await showOnce().catch((error: unknown) => context.log.debug({ error }, 'the worker could not show that it lives'));
    }
  })();
  return {
    get served() { return served; },
    async stop() {
      stopping.abort();
      await showing;
      await removeWorker(context.db, worker.id).catch(() => undefined);
    },
  };
}

async function waitForHosts(context: WorkerContext, names: readonly string[], signal: AbortSignal): Promise<ServedHosts> {
  let search = await findServedHosts(context.db, names);
  if (search === undefined) context.log.warn('nothing has been deployed yet: this worker waits for a gateway to read the deployment file');
  while (search === undefined) {
    await sleep(DEPLOYMENT_INTERVAL, undefined, { signal });
    search = await findServedHosts(context.db, names);
  }
  if (search.unknown.length > 0) {
    throw new GatewayError('HOST_UNKNOWN', `There is no host ${search.unknown.join(', ')} in the deployment.`, `Its hosts are ${search.known.join(', ')}; name them by hostname or id.`);
  }
  return search.served;
}
