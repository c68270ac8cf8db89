/**
 * The feed of status changes: everybody who watches gets each change once, in commit order, none lost.
 *
 * The `transitions` table is the truth. One reader for each process follows it, woken by notifications and, as a
 * backstop, by a clock; it hands what it reads to the subscribers' queues. A subscriber that starts behind the
 * reader reads the rows in between by itself, and so does one that was too slow for its queue: memory stays
 * bounded, and nothing is dropped.
 */
import type { Db } from '../db/client.ts';
import type { Listener } from '../db/listener.ts';
import { feedState, transitionsAfter, type TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';

/** How many rows are read at a time. */
const BATCH = 500;
/** How many changes wait for a subscriber before it is sent back to the table. */
const QUEUE_LIMIT = 1_000;
/** How often the reader looks although nothing woke it, in milliseconds. */
const BACKSTOP = 1_000;

interface Subscriber {
  readonly filter: TransitionFilter;
  queue: TransitionRow[];
  /** The queue was full: what came since then is in the table only. */
  overflown: boolean;
  wake: () => void;
}

export interface Feed {
  /** Every change that the filter wants after a position, first those already there, then live, until aborted. */
  follow(filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void>;
  /** How many are following. */
  readonly followers: number;
  close(): Promise<void>;
}

const wants = (filter: TransitionFilter, row: TransitionRow): boolean =>
  row.kind === filter.kind && (filter.recordId === null || filter.recordId === row.recordId);

/** Starts the reader at the feed's present end. */
export async function startFeed(db: Db, listener: Listener): Promise<Feed> {
  let position = (await feedState(db)).end;
  const subscribers = new Set<Subscriber>();
  let isClosed = false;
  let isWoken = false;
  let reading: Promise<void> | null = null;

  const hand = (row: TransitionRow) => {
    position = row.position;
    for (const subscriber of subscribers) {
      if (subscriber.overflown || !wants(subscriber.filter, row)) continue;
      if (subscriber.queue.length >= QUEUE_LIMIT) {
        subscriber.overflown = true;
        subscriber.queue = [];
      } else subscriber.queue.push(row);
      subscriber.wake();
    }
  };
  const read = async () => {
    while (isWoken && !isClosed) {
      isWoken = false;
      const rows = await transitionsAfter(db, position, { limit: BATCH });
      for (const row of rows) hand(row);
      if (rows.length === BATCH) isWoken = true;
    }
  };
  const wakeReader = () => {
    isWoken = true;
    // A database that is away is tried again by the backstop.
    reading ??= read().catch(() => undefined).finally(() => {
      reading = null;
      if (isWoken && !isClosed) setImmediate(wakeReader);
    });
  };
  const stopListening = listener.on('feed', wakeReader);
  const backstop = setInterval(wakeReader, BACKSTOP);
  backstop.unref();

  async function* follow(filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
    const subscriber: Subscriber = { filter, queue: [], overflown: false, wake: () => undefined };
    const onAbort = () => subscriber.wake();
    signal.addEventListener('abort', onAbort);
    let last = after;
    try {
      while (!signal.aborted && !isClosed) {
        // From here on the reader's rows are queued; the rows up to its position are read from the table.
        subscriber.overflown = false;
        subscribers.add(subscriber);
        const until = position;
        while (last < until && !signal.aborted) {
          const rows = await transitionsAfter(db, last, { filter, until, limit: BATCH });
          for (const row of rows) {
            last = row.position;
            yield row;
          }
          if (rows.length < BATCH) last = Math.max(last, until);
        }
        while (!signal.aborted && !isClosed && !subscriber.overflown) {
          const row = subscriber.queue.shift();
          if (row === undefined) {
            await new Promise<void>((resolve) => {
              subscriber.wake = resolve;
              if (signal.aborted || isClosed || subscriber.queue.length > 0 || subscriber.overflown) resolve();
            });
          } else if (row.position > last) {
            last = row.position;
            yield row;
          }
        }
      }
    } finally {
      subscribers.delete(subscriber);
      signal.removeEventListener('abort', onAbort);
    }
  }

  return {
    follow,
    get followers() { return subscribers.size; },
    async close() {
      isClosed = true;
      stopListening();
      clearInterval(backstop);
      for (const subscriber of subscribers) subscriber.wake();
      await reading;
    },
  };
}
