/**
 * The feed of status changes: everybody who watches gets each change once, in commit order, none lost.
 *
 * The `transitions` table is the truth. One reader for each process follows it, woken by notifications and, as a
 * backstop, by a clock; it hands what it reads to the subscribers' queues. A subscriber that starts behind the
 * reader reads the rows in between by itself, and so does one that was too slow for its queue: memory stays
 * bounded, and nothing is dropped.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Db } from '../db/client.ts';
import type { Listener } from '../db/listener.ts';
import { feedState, transitionsAfter, type FeedRow, type TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';
import { cursorExpired } from './cursor.ts';

/** How many rows are read at a time. */
const BATCH = 500;
/** How many changes wait for a subscriber before it is sent back to the table. */
const QUEUE_LIMIT = 1_000;
/** How often the reader looks although nothing woke it, and a database that is away is tried again, in milliseconds. */
const BACKSTOP = 1_000;

interface Subscriber {
  readonly filter: TransitionFilter;
  queue: TransitionRow[];
  /** The queue was full: what came since then is in the table only. */
  overflown: boolean;
  wake: () => void;
}

export interface Feed {
  /**
   * Every change that the filter wants after a position, first those already there, then live, until aborted.
   * @throws CursorError where it falls so far behind that some are no longer kept
   */
  follow(filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void>;
  /** How many are following. */
  readonly followers: number;
  close(): Promise<void>;
}

const wants = (filter: TransitionFilter, row: TransitionRow): boolean =>
  row.kind === filter.kind && (filter.recordId === null || filter.recordId === row.recordId);

/**
 * The changes that the filter wants between two positions, from the table. A database that is away is waited for.
 * @throws CursorError where some of them are no longer kept: an end that says so, instead of a gap that nobody sees
 */
export async function* replay(db: Db, filter: TransitionFilter, after: number, until: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
  for (let last = after; last < until && !signal.aborted;) {
    let rows: FeedRow[];
    let floor: number;
    try {
      rows = await transitionsAfter(db, last, { filter, until, limit: BATCH });
      // Rows bring the floor with them; that there are none says nothing of it.
      floor = rows[0]?.floor ?? (await feedState(db)).floor;
    } catch {
      await sleep(BACKSTOP, undefined, { signal }).catch(() => undefined);
      continue;
    }
    if (floor > last) throw cursorExpired();
    yield* rows;
    last = rows.length < BATCH ? until : rows.at(-1)?.position ?? until;
  }
}

/** Starts the reader at the feed's present end. */
export async function startFeed(db: Db, listener: Listener): Promise<Feed> {
  let position = (await feedState(db)).end;
  const subscribers = new Set<Subscriber>();
  const closing = new AbortController();
  let isWoken = false;
  let reading: Promise<void> | null = null;

  const sendToTable = (subscriber: Subscriber) => {
    subscriber.overflown = true;
    subscriber.queue = [];
    subscriber.wake();
  };
  const hand = (row: TransitionRow) => {
    position = row.position;
    for (const subscriber of subscribers) {
      if (subscriber.overflown || !wants(subscriber.filter, row)) continue;
      if (subscriber.queue.length >= QUEUE_LIMIT) sendToTable(subscriber);
      else {
        subscriber.queue.push(row);
        subscriber.wake();
      }
    }
  };
  const read = async () => {
    while (isWoken && !closing.signal.aborted) {
      isWoken = false;
      const rows = await transitionsAfter(db, position, { limit: BATCH });
      // This process was away for so long that rows are gone which it never read: the table tells each subscriber.
      if (rows[0] !== undefined && rows[0].floor > position) subscribers.forEach(sendToTable);
      for (const row of rows) hand(row);
      if (rows.length === BATCH) isWoken = true;
    }
  };
  const wakeReader = () => {
    isWoken = true;
    // A database that is away is tried again by the backstop.
    reading ??= read().catch(() => undefined).finally(() => {
      reading = null;
      if (isWoken && !closing.signal.aborted) setImmediate(wakeReader);
    });
  };
  const stopListening = listener.on('feed', wakeReader);
  const backstop = setInterval(wakeReader, BACKSTOP);
  backstop.unref();

  async function* follow(filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
    const subscriber: Subscriber = { filter, queue: [], overflown: false, wake: () => undefined };
    const ending = AbortSignal.any([signal, closing.signal]);
    const onEnd = () => subscriber.wake();
    ending.addEventListener('abort', onEnd);
    let last = after;
    try {
      while (!ending.aborted) {
        // From here on the reader's rows are queued; the rows up to its position are read from the table.
        subscriber.overflown = false;
        subscribers.add(subscriber);
        const until = position;
        for await (const row of replay(db, filter, last, until, ending)) {
          last = row.position;
          yield row;
        }
        last = Math.max(last, until);
        while (!ending.aborted && !subscriber.overflown) {
          const row = subscriber.queue.shift();
          if (row === undefined) {
            // Nothing that it wants is left up to here: where it goes on should it be sent back to the table.
            last = Math.max(last, position);
            await new Promise<void>((resolve) => {
              subscriber.wake = resolve;
              if (ending.aborted || subscriber.queue.length > 0 || subscriber.overflown) resolve();
            });
          } else if (row.position > last) {
            last = row.position;
            yield row;
          }
        }
      }
    } finally {
      subscribers.delete(subscriber);
      ending.removeEventListener('abort', onEnd);
    }
  }

  return {
    follow,
    get followers() { return subscribers.size; },
    async close() {
      closing.abort();
      stopListening();
      clearInterval(backstop);
      await reading;
    },
  };
}
