/**
 * The feed of status changes: everybody who watches gets each change once, in commit order, none lost.
 *
 * The `transitions` table is the truth. One reader for each process follows it, woken by notifications and, as a
 * backstop, by a clock; it hands what it reads to those who want it, which it finds by kind and record. Whoever starts
 * behind the reader is told the rows in between from the last ones in memory, or from the table; so is who was too slow:
 * memory stays bounded, and nothing is dropped. docs/FEED.md says what clients are promised.
 */
import type { Db } from '../db/client.ts';
import type { Listener } from '../db/listener.ts';
import { feedState, presentStatuses, transitionsAfter, type FeedState, type PresentStatus, type RecordRef, type TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';
import { Attachment, keyOf, type Follower, type Hub } from './attachment.ts';
import { follow } from './follow.ts';
import { gathered } from './gathered.ts';
import { RecentRows } from './recent.ts';

/** How many rows are read at a time. */
const BATCH = 500;
/** How many rows are kept in memory for those who come back, unless said otherwise. */
const RECENT = 10_000;
/** How often the reader looks although nothing woke it, in milliseconds. */
const BACKSTOP = 1_000;

export interface Feed {
  /** Tells a follower every change that the filter wants after a position, first those already there, then live, until it is stopped. `present`: the feed's end now. */
  attach(filter: TransitionFilter, after: number, follower: Follower, present?: number): Pick<Attachment, 'resume' | 'stop'>;
  /**
   * The same as a generator, until aborted.
   * @throws CursorError where it falls so far behind that some are no longer kept
   */
  follow(filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void>;
  /** The feed's state, read after it was asked for; many who ask at once are answered by one statement. */
  state(): Promise<FeedState>;
  /** The present status of a record, in the same way. */
  present(record: RecordRef): Promise<PresentStatus>;
  /** Up to where the reader has read. */
  readonly position: number;
  /** How many are following. */
  readonly followers: number;
  close(): Promise<void>;
}

/**
 * Starts the reader at the feed's present end.
 * @param options.recent how many rows are kept in memory
 */
export async function startFeed(db: Db, listener: Listener, { recent = RECENT }: { recent?: number } = {}): Promise<Feed> {
  const { end } = await feedState(db);
  const closing = new AbortController();
  const hub: Hub = { db, position: end, recent: new RecentRows(end, recent), live: new Map(), attached: new Set(), beginning: new Set(), closing: closing.signal };
  let isWoken = false;
  let reading: Promise<void> | null = null;

  const hand = (row: TransitionRow) => {
    hub.position = row.position;
    hub.recent.add(row);
    for (const key of [keyOf(row.kind, null), keyOf(row.kind, row.recordId)]) hub.live.get(key)?.forEach((attachment) => attachment.take(row));
  };
  // This process was away for so long that rows are gone which it never read: the table tells each follower.
  const skipTo = (floor: number) => {
    const missed = hub.position;
    hub.position = floor;
    hub.recent.skipTo(floor);
    for (const attachment of [...hub.live.values()].flatMap((alike) => [...alike])) attachment.fallBack(missed);
  };
  const read = async () => {
    while (isWoken && !closing.signal.aborted) {
      isWoken = false;
      const rows = await transitionsAfter(db, hub.position, BATCH);
      if (rows[0] !== undefined && rows[0].floor > hub.position) skipTo(rows[0].floor);
      for (const row of rows) hand(row);
      for (const attachment of hub.beginning) attachment.settle();
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
  const askState = gathered(async (asked: null[]) => {
    const state = await feedState(db);
    return asked.map(() => state);
  });

  return {
    attach: (filter, after, follower, present) => new Attachment(hub, filter, after, follower, present),
    follow: (filter, after, signal) => follow(hub, filter, after, signal),
    state: () => askState(null),
    present: gathered((records) => presentStatuses(db, records)),
    get position() { return hub.position; },
    get followers() { return hub.attached.size; },
    async close() {
      closing.abort();
      stopListening();
      clearInterval(backstop);
      await reading;
    },
  };
}
