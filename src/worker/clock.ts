/**
 * The clock: starts schedules when they are due, and looks now and then whether retention has something to do. Every
 * process that has a worker runs one; the database sees to it that each run is started once.
 *
 * It sleeps until the next run, or until it is told that schedules have changed, and never for longer than a minute: a
 * clock that is set, a machine that was asleep or a notification that was lost makes it late by that at most.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { WorkerContext } from './context.ts';

/** In milliseconds. */
const LONGEST_SLEEP = 60_000;
/** Where a run is due that another process has, in milliseconds. */
const SHORT_SLEEP = 1_000;
/** Where the database is away, in milliseconds. */
const AFTER_FAILURE = 5_000;
/** How long after the start retention is looked at first, and how often after that, in milliseconds. */
const FIRST_RETENTION = 60_000;
const RETENTION_INTERVAL = 60 * 60_000;

/** What a clock needs of the use cases. */
export interface ClockTasks {
  /** Starts every run that is due. `next`: milliseconds until the next run; null: there is none. */
  runDueSchedules(): Promise<{ runs: { schedule: string; isNews: boolean; lastOutcome: string; lastReason: string | null; error?: unknown }[]; next: number | null }>;
  /** Queues a RETENTION job where there is something to remove. */
  queueRetention(): Promise<void>;
  /** Calls back when schedules have changed, a hint only; answers how to stop. */
  onSchedulesChanged(wake: () => void): () => void;
}

export interface Clock { stop(): Promise<void> }

/** Starts the clock. Its first look is at once: what came due while nothing ran is started then, each schedule once. */
export function startClock(context: WorkerContext): Clock {
  const { tasks, log } = context;
  const stopping = new AbortController();
  let wake: () => void = () => undefined;
  const stopListening = tasks.onSchedulesChanged(() => wake());
  let isAway = false;
  let retentionAt = performance.now() + FIRST_RETENTION;

  const look = async (): Promise<number> => {
    const { runs, next } = await tasks.runDueSchedules();
    for (const { schedule, isNews, lastOutcome, lastReason, error } of runs) {
      if (error !== undefined) log.error({ schedule, error }, 'a schedule could not be run; it is tried again');
      else if (lastOutcome === 'STARTED') log.info({ schedule }, 'schedule started');
      else if (isNews) log.warn({ schedule, outcome: lastOutcome, reason: lastReason }, 'schedule not started');
    }
    if (performance.now() >= retentionAt) {
      await tasks.queueRetention();
      retentionAt = performance.now() + RETENTION_INTERVAL;
    }
    return next === null ? LONGEST_SLEEP : next <= 0 ? SHORT_SLEEP : Math.min(next, LONGEST_SLEEP);
  };

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      const woken = new Promise<void>((resolve) => { wake = resolve; });
      const pause = await look().then((next) => {
        isAway = false;
        return next;
      }, (error: unknown) => {
        // An outage is told once.
        log[isAway ? 'debug' : 'warn']({ error }, 'the schedules could not be looked at; it will be tried again');
        isAway = true;
        return AFTER_FAILURE;
      });
      const napping = new AbortController();
      await Promise.race([woken, sleep(pause, undefined, { signal: AbortSignal.any([napping.signal, stopping.signal]) }).catch(() => undefined)]);
      napping.abort();
    }
  };

  const looping = loop();
  return {
    async stop() {
      stopping.abort();
      stopListening();
      await looping;
    },
  };
}
