/**
 * The worker: claims jobs from Postgres, drives the engine, and writes how they ended. It runs inside the gateway
 * process by default, and needs nothing of it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledError, GatewayError } from '../domain/errors.ts';
import type { JobOperation } from '../domain/vocabulary.ts';
import { findTar } from '../engine/index.ts';
import { forgetOldKeys } from '../records/idempotency.ts';
import { claimJob, isConnectionFault, LEASE_SECONDS, releaseJob, renewLease } from '../records/jobs.ts';
import { backupOperation } from './backup-operation.ts';
import { startClock } from './clock.ts';
import { MAX_ATTEMPTS, type Operation, type WorkerContext } from './context.ts';
import { deleteOperation } from './delete-operation.ts';
import { drillOperation, sweepDrills } from './drill-operation.ts';
import { journalsId } from './journals.ts';
import { planOperation } from './plan-operation.ts';
import { startPresence } from './presence.ts';
import { restoreOperation } from './restore-operation.ts';
import { retentionOperation } from './retention-operation.ts';
import { JobLostError, Run, WorkerStoppedError } from './run.ts';
import { scanOperation } from './scan-operation.ts';
import { unlessStoreIsSilent } from './silent-stores.ts';
import { keepStores, type StoreKeeper } from './stores.ts';
import { verifyOperation } from './verify-operation.ts';
import { sweepRestores, sweepStores, sweepUnswept } from './sweep.ts';

/** How often the queue is looked at although nothing woke the worker, in milliseconds. */
const BACKSTOP = 1_000;

/** A claim that took longer is renewed before its job is begun, in milliseconds. */
const SLOW_CLAIM = (LEASE_SECONDS * 1_000) / 4;

/** How often what nobody asks for any more is removed from the database, in milliseconds. */
const HOUSEKEEPING = 60 * 60_000;

/** How often a worker that does not keep the stores tries to remove what it left in one, in milliseconds. */
const SWEEP_INTERVAL = 60_000;

/** What this version can do; other jobs wait for a worker that can. */
const OPERATIONS = {
  BACKUP: backupOperation, RESTORE: restoreOperation, DELETE: deleteOperation,
  VERIFY: verifyOperation, SCAN: scanOperation, DRILL: drillOperation, PLAN: planOperation, RETENTION: retentionOperation,
} satisfies Partial<Record<JobOperation, Operation>>;
const CLAIMED = Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[];

/** What takes moments and must not wait behind what may take hours. */
const SHORT: readonly JobOperation[] = ['DELETE', 'RETENTION'];
/** What a request waits for. */
const ASKED: readonly JobOperation[] = ['PLAN'];
/** What reads whole backups to check them, as many as somebody asks for: no backup and no restore waits behind that. */
const CHECKS: readonly JobOperation[] = ['VERIFY', 'SCAN', 'DRILL'];
/** How many jobs run at once, apart for each lane; the rules allow one backup for each host and one restore for each deployment. */
const LANES = [
  { places: 4, operations: CLAIMED.filter((operation) => ![...SHORT, ...ASKED, ...CHECKS].includes(operation)) },
  ...[SHORT, ASKED, CHECKS].map((lane) => ({ places: 2, operations: CLAIMED.filter((operation) => lane.includes(operation)) })),
];

export interface Worker {
  /** Gives running jobs back to the queue, with nothing half-done left behind. */
  stop(): Promise<void>;
}

/**
 * Starts to work for the hosts of these hostnames or host_ids; null: for every host. Waits until there is a deployment;
 * the signal ends that.
 * @throws GatewayError where a name is no host's
 */
export async function startWorker(context: WorkerContext, hosts: readonly string[] | null = null, signal = new AbortController().signal): Promise<Worker> {
  const tar = await findTar();
  if (tar === null) context.log.warn('GNU tar was not found: backups and restores will fail. Install it (Debian: tar, macOS: brew install gnu-tar) and try again.');
  else context.log.info({ tar: tar.path, version: tar.version }, 'archives are made with GNU tar');
  const presence = await startPresence(context, hosts, signal);
  // One worker alone judges the stores: two that see them differently would contradict each other for ever.
  let stores: StoreKeeper | null = null;
  const keepStoresOrNot = async (): Promise<void> => {
    if (presence.served.hasConsole === (stores !== null)) return;
    if (stores === null) {
      stores = await keepStores(context);
    } else {
      await stores.stop();
      stores = null;
    }
  };
  // The keeper does this by itself.
  const sweeping = setInterval(() => {
    if (stores === null) void sweepUnswept(context).catch((error: unknown) => context.log.debug({ error }, 'the stores could not be swept'));
  }, SWEEP_INTERVAL);
  sweeping.unref();
  await sweepStores(context);
  await sweepRestores(context, presence.served);
  await sweepDrills(context);
  await keepStoresOrNot();

  const keepHouse = () => forgetOldKeys(context.db).catch((error: unknown) => context.log.debug({ error }, 'old idempotency keys remain'));
  await keepHouse();
  const housekeeping = setInterval(keepHouse, HOUSEKEEPING);
  housekeeping.unref();

  const stopping = new AbortController();
  const runs = new Map<Run, Promise<void>>();
  let wake: () => void = () => undefined;
  const stopListening = context.onWake(() => {
    for (const run of runs.keys()) void run.check();
    wake();
  });

  const loop = async () => {
    while (!stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => { wake = resolve; });
      try {
        await keepStoresOrNot();
        const journals = await journalsId(context.journalDir).catch(() => null);
        for (const { operations, places } of LANES) {
          const isFree = () => [...runs.keys()].filter(({ job }) => operations.includes(job.operation as keyof typeof OPERATIONS)).length < places;
          while (isFree() && !stopping.signal.aborted) {
            let heldSince = performance.now();
            const job = await claimJob(context.db, operations, presence.served, journals);
            if (job === undefined) break;
            // An answer that was long on its way, over a network that comes back, leaves little of the lease or nothing.
            if (performance.now() - heldSince > SLOW_CLAIM) {
              heldSince = performance.now();
              if (await renewLease(context.db, job) === undefined) continue;
            }
            start(new Run(context, job, heldSince));
          }
        }
      } catch (error) {
        context.log.warn({ error }, 'the queue could not be read; it will be tried again');
      }
      const backstop = new AbortController();
      await Promise.race([woken, sleep(BACKSTOP, undefined, { signal: AbortSignal.any([backstop.signal, stopping.signal]) }).catch(() => undefined)]);
      backstop.abort();
    }
  };
  const start = (run: Run) => {
    const done = work(context, run).finally(() => {
      runs.delete(run);
      wake();
    });
    runs.set(run, done);
  };

  const looping = loop();
  const clock = startClock(context);
  return {
    async stop() {
      stopping.abort();
      clearInterval(housekeeping);
      clearInterval(sweeping);
      stopListening();
      for (const run of runs.keys()) run.stop();
      await Promise.all([looping, clock.stop()]);
      await Promise.all(runs.values());
      await stores?.stop();
      await presence.stop();
    },
  };
}

/** Does one job to its end. Never throws: what can't be written now is found by whoever claims the job next. */
async function work(context: WorkerContext, run: Run): Promise<void> {
  const { job } = run;
  const log = context.log.child({ jobId: job.jobId, operation: job.operation, attempt: job.attempt });
  const operation: Operation = OPERATIONS[job.operation as keyof typeof OPERATIONS];
  const alive = run.keepAlive();
  try {
    if (job.status === 'CANCELLING') throw new CancelledError();
    if (job.attempt > MAX_ATTEMPTS) {
      throw new GatewayError('WORKER_DIED', `The worker died ${MAX_ATTEMPTS} times while it ran this job, or lost its database.`, 'Look at the worker\'s log for the reason, then start it again.');
    }
    if (job.attempt > 1) run.note(`The attempt before did not come to its end; this is attempt ${job.attempt} of ${MAX_ATTEMPTS}.`);
    log.info('job started');
    await unlessStoreIsSilent(context, run, () => operation.run(context, run));
    log.info('job completed');
  } catch (error) {
    await settle(context, run, operation, error, log).catch(async (failure: unknown) => {
      // While the job was brought to its end: the next attempt does that.
      if (failure instanceof WorkerStoppedError) return releaseJob(context.db, run.hold);
      throw failure;
    }).catch((failure: unknown) => {
      log.error({ error: failure }, 'the end of a job could not be written; it will be run again');
    });
  } finally {
    await run.end();
    await alive;
  }
}

/** Writes how a job ended that did not complete. */
async function settle(context: WorkerContext, run: Run, operation: Operation, error: unknown, log: WorkerContext['log']): Promise<void> {
  // The engine tells of an abort in its own words; the reason of the abort is what counts.
  const cause: unknown = run.signal.aborted ? run.signal.reason : error;
  if (cause instanceof WorkerStoppedError) {
    await releaseJob(context.db, run.hold);
    return log.info('job given back');
  }
  // The table is the truth. Only who holds the job may clean up after it: what lies there may be a successor's.
  let status = await renewLease(context.db, run.hold);
  if (status !== undefined && status !== 'CANCELLING') {
    if (cause instanceof JobLostError) return log.warn('job given up for want of its lease; it will be run again');
    // It is back, as the renewal shows: what was lost is one attempt.
    if (isConnectionFault(cause)) {
      await releaseJob(context.db, run.hold, true);
      return log.warn({ error: cause }, 'the database went away under the job; it will be run again');
    }
    const reason = cause instanceof GatewayError ? cause.advice : `Unexpected: ${withoutParameters(cause)}`;
    log.error({ error: cause }, 'job failed');
    if (await operation.fail(context, run, reason)) return;
    status = await renewLease(context.db, run.hold);
  }
  if (status !== 'CANCELLING') return log.warn('job lost to another worker');
  await operation.cancel(context, run);
  log.info('job cancelled');
}

/** What an unforeseen error says. The message of a failed statement repeats its parameters, which are nobody's to read. */
function withoutParameters(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return 'params' in cause ? `a statement of the database failed${cause.cause instanceof Error ? `: ${cause.cause.message}` : ''}` : cause.message;
}
