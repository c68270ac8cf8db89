/**
 * The feed of status changes: everybody who watches gets each change once, in commit order, none lost.
 *
 * The `transitions` table is the truth. One reader for each process follows it, woken by notifications and, as a
 * backstop, by a clock; it hands what it reads to those who want it, which it finds by kind and record. Whoever starts
 * behind the reader is told the rows in between from the last ones in memory, or from the table; so is who was too slow:
 * memory stays bounded, and nothing is dropped. docs/FEED.md says what clients are promised.
 */
import type { Logger } from 'pino';
import type { Db } from '../db/client.ts';
import type { Listener } from '../db/listener.ts';
import { feedState, presentStatuses, transitionsFrom, type FeedState, type PresentStatus, type RecordRef, type TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';
import { Attachment, keyOf, type Follower, type Hub } from './attachment.ts';
import { feedReplaced } from './cursor.ts';
import { follow } from './follow.ts';
import { gathered } from './gathered.ts';
import { RecentRows } from './recent.ts';

/** How many rows are read at a time. */
const BATCH = 500;
/** How many rows are kept in memory for those who come back, unless said otherwise. */
const RECENT = 10_000;
/** How often the reader looks although nothing woke it, in milliseconds. */
const BACKSTOP = 1_000;
/** Within how long a follower that is sent nothing is told how far the feed has come, in milliseconds, and in how many parts they are told. */
const [REMINDING, PARTS] = [60_000, 60];

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
  /** Which feed it is: its cursors carry it. */
  readonly id: string;
  /** Up to where the reader has read. */
  readonly position: number;
  /** How many are following. */
  readonly followers: number;
  close(): Promise<void>;
}

export interface FeedOptions {
  log: Pick<Logger, 'error'>;
  /** How many rows are kept in memory. */
  recent?: number;
  /** Within how long a follower that is sent nothing is told how far the feed has come, in milliseconds. */
  reminding?: number;
}

/**
 * Whether it is the change that was read at its position before. One that was made later is another, of a history in which
 * what was read has not happened; one that somebody has dated back by hand is still the same.
 */
const isSame = (row: TransitionRow, read: TransitionRow): boolean =>
  row.kind === read.kind && row.recordId === read.recordId && row.fromStatus === read.fromStatus && row.toStatus === read.toStatus && row.at <= read.at;

/** Starts the reader at the feed's present end. */
export async function startFeed(db: Db, listener: Listener, { log, recent = RECENT, reminding = REMINDING }: FeedOptions): Promise<Feed> {
  const { end, ...beginning } = await feedState(db);
  let { id } = beginning;
  const closing = new AbortController();
  const hub: Hub = { db, position: end, recent: new RecentRows(end, recent), live: new Map(), attached: new Set(), beginning: new Set(), begun: 0, closing: closing.signal };
  /** The change at the reader's position; null: it is not known, or no longer kept. */
  let last: TransitionRow | null = null;
  let isWoken = false;
  let reading: Promise<void> | null = null;

  const hand = (row: TransitionRow) => {
    hub.position = row.position;
    last = row;
    hub.recent.add(row);
    for (const key of [keyOf(row.kind, null), keyOf(row.kind, row.recordId)]) hub.live.get(key)?.forEach((attachment) => attachment.take(row));
  };
  // This process was away for so long that rows are gone which it never read: the table tells each follower.
  const skipTo = (floor: number) => {
    const missed = hub.position;
    hub.position = floor;
    last = null;
    hub.recent.skipTo(floor);
    for (const attachment of [...hub.live.values()].flatMap((alike) => [...alike])) attachment.fallBack(missed);
  };
  // The database has lost what was read from it: a backup of it was put back, or a standby took over that did not have it yet.
  const beginAnew = (state: FeedState) => {
    log.error({ position: hub.position, end: state.end }, 'the feed was put back to an earlier state, or replaced: who follows it is told to read the list again; docs/FEED.md says what else is to be done');
    id = state.id;
    hub.position = state.end;
    last = null;
    hub.recent.skipTo(state.end);
    for (const attachment of hub.attached) attachment.fail(feedReplaced());
  };
  /** Where nothing is kept from the reader's position on: all was removed, or has never been. */
  const readState = async () => {
    const state = await feedState(db);
    if (state.id !== id || state.end < hub.position) beginAnew(state);
    else if (state.floor > hub.position) skipTo(state.floor);
    // Committed since the reader looked.
    if (state.end > hub.position) isWoken = true;
  };
  const read = async () => {
    while (isWoken && !closing.signal.aborted) {
      isWoken = false;
      // With the one that was read last, which shows that it is still the same history.
      const rows = await transitionsFrom(db, hub.position, BATCH);
      const [first] = rows;
      if (first === undefined) {
        await readState();
      } else if (first.position === hub.position ? first.feedId === id && isSame(first, last ?? first) : first.floor >= hub.position) {
        if (first.floor > hub.position) skipTo(first.floor);
        else if (first.position === hub.position) last = first;
        for (const row of rows) if (row.position > hub.position) hand(row);
      } else {
        beginAnew(await feedState(db));
      }
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
  // The change at the present end, by which it is seen that the feed goes on from there, is not known yet.
  wakeReader();
  let part = 0;
  const reminder = setInterval(() => {
    part = (part + 1) % PARTS;
    for (const attachment of hub.attached) if (attachment.nth % PARTS === part) attachment.remind();
  }, reminding / PARTS);
  reminder.unref();
  const askState = gathered(async (asked: null[]) => {
    const state = await feedState(db);
    return asked.map(() => state);
  });

  return {
    attach: (filter, after, follower, present) => new Attachment(hub, filter, after, follower, present),
    follow: (filter, after, signal) => follow(hub, filter, after, signal),
    state: () => askState(null),
    present: gathered((records) => presentStatuses(db, records)),
    get id() { return id; },
    get position() { return hub.position; },
    get followers() { return hub.attached.size; },
    async close() {
      closing.abort();
      stopListening();
      clearInterval(backstop);
      clearInterval(reminder);
      await reading;
    },
  };
}
