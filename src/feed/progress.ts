/**
 * Progress of one job: sampled, the latest value wins, nothing is replayed.
 */
import type { Db } from '../db/client.ts';
import type { Listener } from '../db/listener.ts';
import { isLastStatus } from '../domain/lifecycle.ts';
import { findJob } from '../records/jobs.ts';
import type { Feed } from './feed.ts';

/** How often progress is looked at although nothing woke the watcher, in milliseconds. */
const BACKSTOP = 1_000;

export interface ProgressFeed {
  /** Yields whenever the job has moved, at once the first time, and ends after the job's end. */
  follow(jobId: number, signal: AbortSignal): AsyncGenerator<void, void>;
  close(): void;
}

/** One listener for all watchers. */
export function startProgressFeed(db: Db, listener: Listener, feed: Feed): ProgressFeed {
  const waiting = new Map<number, Set<() => void>>();
  const wake = (id: number) => waiting.get(id)?.forEach((resolve) => resolve());
  const stop = listener.on('progress', (payload) => (payload === null ? [...waiting.keys()].forEach(wake) : wake(Number(payload))));

  async function* follow(jobId: number, signal: AbortSignal): AsyncGenerator<void, void> {
    const watchers = waiting.get(jobId) ?? new Set<() => void>();
    waiting.set(jobId, watchers);
    let seen = '';
    let woken = Promise.withResolvers<void>();
    const onWake = () => woken.resolve();
    watchers.add(onWake);
    signal.addEventListener('abort', onWake);
    // A change of status is no progress, but an event of this stream too. One that is missed is seen by the backstop.
    const status = feed.attach({ kind: 'JOB', recordId: jobId }, feed.position, {
      take() {
        onWake();
        return true;
      },
      fail: onWake,
    });
    try {
      while (!signal.aborted) {
        woken = Promise.withResolvers<void>();
        // null: the database is away, and is tried again by the backstop.
        const job = await findJob(db, jobId).catch(() => null);
        if (job === undefined) return;
        if (job !== null) {
          const state = JSON.stringify([job.status, job.bytesDone, job.bytesTotal, job.filesDone, job.filesTotal, job.messages]);
          if (state !== seen) {
            seen = state;
            yield;
          }
          if (isLastStatus('JOB', job.status)) return;
        }
        const backstop = setTimeout(onWake, BACKSTOP);
        await woken.promise;
        clearTimeout(backstop);
      }
    } finally {
      status.stop();
      signal.removeEventListener('abort', onWake);
      watchers.delete(onWake);
      if (watchers.size === 0) waiting.delete(jobId);
    }
  }

  return { follow, close: stop };
}
