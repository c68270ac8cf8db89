/**
 * Tells the operator of jobs for which no worker is there: nothing else would, since they only wait.
 */
import type { Logger } from 'pino';
import type { Pool } from '../records/rows.ts';
import { jobsWithoutWorker, WORKER_ALIVE_SECONDS, type WaitingJob } from '../records/workers.ts';

/** How often such jobs are looked for, in milliseconds. */
const INTERVAL = 5_000;

/** What the job waits for, for a person to read. */
function waitsFor({ hostname, journal }: Pick<WaitingJob, 'hostname' | 'journal'>): string {
  if (journal !== null) {
    return `The worker with DATA_DIR ${journal.dataDir} on ${journal.machine}: it had begun to replace the targets of the restore, and its journal there says how far it got. Start it again, with the same DATA_DIR; after an hour without it the job fails.`;
  }
  return hostname === '' ? 'A worker: none is there.'
    : `The worker of host ${hostname}: none has shown itself for ${WORKER_ALIVE_SECONDS} seconds. Start it with: npm run worker -- --host ${hostname}`;
}

/** What each of these jobs waits for; null: nothing that is missing. */
export async function waitingForOf(db: Pool, ids: readonly number[]): Promise<(string | null)[]> {
  const waiting = new Map((await jobsWithoutWorker(db, ids)).map((job) => [job.id, waitsFor(job)]));
  return ids.map((id) => waiting.get(id) ?? null);
}

/** Logs each job that waits for want of a worker, once. */
export function watchWaitingJobs(db: Pool, log: Logger): { stop(): void } {
  let told = new Set<number>();
  const look = async () => {
    const waiting = await jobsWithoutWorker(db, null);
    for (const job of waiting) {
      if (!told.has(job.id)) log.warn({ jobId: job.jobId, operation: job.operation }, `a job waits. ${waitsFor(job)}`);
    }
    told = new Set(waiting.map(({ id }) => id));
  };
  const timer = setInterval(() => void look().catch((error: unknown) => log.debug({ error }, 'waiting jobs could not be looked for')), INTERVAL);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
