/**
 * Keeps the feed from growing for ever: what is older than its retention is removed, a little at a time, by whichever
 * gateway comes first. Nobody who writes waits for it, and a kill between any two batches leaves the feed whole.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { databaseTime, removeOldestTransitions } from '../records/transition-retention.ts';
import type { Pool } from '../records/rows.ts';

const DAY = 24 * 60 * 60_000;

/** How fast it works. Times are in milliseconds. */
export interface RetentionPace {
  /** How long after the start it begins: a machine's clock may be set meanwhile. */
  first: number;
  /** How long it rests once nothing is too old. */
  interval: number;
  /** How many changes go in one transaction. */
  batch: number;
  /** How long it rests between two of them, at least: it rests as long as it works. */
  pause: number;
}

const PACE: RetentionPace = { first: 5_000, interval: 5 * 60_000, batch: 5_000, pause: 50 };

/** A clock that is further ahead than this of what it was plus the time since then has jumped, in milliseconds. */
const JUMP = 60 * 60_000;
/** How long a clock must have stayed ahead until it is believed, in milliseconds. */
const JUMP_PATIENCE = DAY;

/**
 * The database's clock, read with caution. Where it jumps ahead, everything would be too old at once; so time goes on from
 * before the jump, until that has lasted for a day. A clock that is set back is believed at once: it only keeps more.
 */
export class CautiousClock {
  #last: { time: number; elapsed: number } | null = null;
  #aheadSince: number | null = null;

  /** Whether the clock is ahead, and not believed. */
  get isAhead(): boolean { return this.#aheadSince !== null; }

  /**
   * @param time what the clock says
   * @param elapsed by a clock that nobody sets, from any beginning
   * @returns what to take for the time; all are milliseconds
   */
  read(time: number, elapsed: number): number {
    const expected = this.#last === null ? time : this.#last.time + elapsed - this.#last.elapsed;
    const since = time > expected + JUMP ? this.#aheadSince ?? elapsed : null;
    const isBelieved = since === null || elapsed - since >= JUMP_PATIENCE;
    this.#aheadSince = isBelieved ? null : since;
    this.#last = { time: isBelieved ? time : expected, elapsed };
    return this.#last.time;
  }
}

/**
 * Starts it.
 * @param days how long changes are kept; null: for ever
 */
export function startFeedRetention(db: Pool, log: Logger, days: number | null, pace: RetentionPace = PACE): { stop(): void } {
  const stopping = new AbortController();
  const { signal } = stopping;
  const rest = (milliseconds: number) => sleep(milliseconds, undefined, { signal }).catch(() => undefined);
  const clock = new CautiousClock();
  let wasAhead = false;
  let isAway = false;

  const readClock = async (): Promise<number> => {
    const now = clock.read(await databaseTime(db), performance.now());
    if (clock.isAhead && !wasAhead) log.warn({ believed: new Date(now) }, 'the clock of the database has jumped ahead; where it stays so, the feed\'s retention goes by it in a day');
    wasAhead = clock.isAhead;
    return now;
  };

  const removeOld = async (keptDays: number): Promise<void> => {
    const before = new Date(await readClock() - keptDays * DAY);
    let [total, isMore] = [0, true];
    while (isMore && !signal.aborted) {
      const began = performance.now();
      const batch = await db.transaction((transaction) => removeOldestTransitions(transaction, before, pace.batch));
      total += batch?.removed ?? 0;
      isMore = batch?.removed === pace.batch;
      if (isMore) await rest(Math.max(pace.pause, performance.now() - began));
      else if (total > 0) log.info({ removed: total, floor: batch?.floor }, 'changes older than the feed\'s retention were removed');
    }
  };

  const run = async (keptDays: number): Promise<void> => {
    await rest(pace.first);
    while (!signal.aborted) {
      await removeOld(keptDays).then(() => { isAway = false; }, (error: unknown) => {
        if (signal.aborted) return;
        // An outage is told once.
        log[isAway ? 'debug' : 'warn']({ error }, 'the feed\'s oldest changes could not be removed; it will be tried again');
        isAway = true;
      });
      await rest(pace.interval);
    }
  };

  if (days !== null) void run(days);
  // A batch under way is not waited for: it is committed whole, or not at all.
  return { stop: () => stopping.abort() };
}
