/**
 * One follower of the feed: live, catching up, or taking nothing for a while.
 */
import type { Db } from '../db/client.ts';
import type { TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';
import type { CursorError } from './cursor.ts';
import type { RecentRows } from './recent.ts';
import { replay } from './replay.ts';

/** Who is told of changes. */
export interface Follower {
  /** Takes a change. False: it takes none now, this one included, until it asks to resume. */
  take(row: TransitionRow): boolean;
  /**
   * It has been told everything that was there when it began, and goes on live. Told again now and then while nothing comes.
   * @param position it has taken all that it wants up to here
   */
  live?(position: number): void;
  /** Nothing more comes: some of what it has not been told is no longer kept, or the feed has gone back. */
  fail(error: CursorError): void;
}

/** What the reader and all its followers share. */
export interface Hub {
  readonly db: Db;
  readonly recent: RecentRows;
  /** Who is live, by what they want: a change is handed to two of these at most. */
  readonly live: Map<string, Set<Attachment>>;
  readonly attached: Set<Attachment>;
  /** Who is still to be told that it is live. */
  readonly beginning: Set<Attachment>;
  readonly closing: AbortSignal;
  /** Up to where the reader has handed on what there is. */
  position: number;
  /** How many have followed so far. */
  begun: number;
}

/** By what followers are found. */
export const keyOf = (kind: string, recordId: number | null): string => (recordId === null ? kind : `${kind}/${recordId}`);

const wants = (filter: TransitionFilter, row: TransitionRow): boolean =>
  row.kind === filter.kind && (filter.recordId === null || filter.recordId === row.recordId);

export class Attachment {
  readonly #hub: Hub;
  readonly #filter: TransitionFilter;
  readonly #key: string;
  readonly #follower: Follower;
  readonly #stopping = new AbortController();
  /** It has taken everything that it wants up to here; while it is live, up to where it became so. */
  #last: number;
  #isFull = false;
  /** The end of the feed when it began. */
  readonly #present: number;
  /** It is the so many-th. */
  readonly nth: number;
  /** The last position that its follower heard of. */
  #told = 0;
  /** What that was when it was last reminded, or looked at for it. */
  #toldBefore = 0;

  /**
   * @param after where it begins; it may take changes before this comes back
   * @param present the end of the feed now, which the reader may still be behind
   */
  constructor(hub: Hub, filter: TransitionFilter, after: number, follower: Follower, present: number = after) {
    this.#hub = hub;
    this.#filter = filter;
    this.#key = keyOf(filter.kind, filter.recordId);
    this.#last = after;
    this.#follower = follower;
    this.#present = present;
    this.nth = hub.begun += 1;
    hub.attached.add(this);
    hub.beginning.add(this);
    this.#catchUp();
  }

  /** Hands it a change that it wants, live. */
  take(row: TransitionRow): void {
    if (row.position > this.#last && !this.#offer(row)) this.#leave();
  }

  /** Live no more: what comes after a position is in the table alone. */
  fallBack(position: number): void {
    this.#leave();
    // It may have begun ahead of the reader.
    this.#last = Math.max(this.#last, position);
    this.#catchUp();
  }

  /** Nothing more comes. */
  fail(error: CursorError): void {
    this.stop();
    this.#follower.fail(error);
  }

  /** Goes on where it took no more. */
  resume(): void {
    if (!this.#isFull || this.#stopping.signal.aborted) return;
    this.#isFull = false;
    this.#catchUp();
  }

  stop(): void {
    this.#stopping.abort();
    this.#leave();
    this.#hub.attached.delete(this);
    this.#hub.beginning.delete(this);
  }

  #offer(row: TransitionRow): boolean {
    if (this.#follower.take(row)) {
      this.#told = row.position;
      return true;
    }
    this.#isFull = true;
    this.#last = row.position - 1;
    return false;
  }

  #leave(): void {
    const { live } = this.#hub;
    const alike = live.get(this.#key);
    if (alike?.delete(this) === true && alike.size === 0) live.delete(this.#key);
  }

  #catchUp(): void {
    const { recent, live, position } = this.#hub;
    if (!recent.covers(this.#last)) {
      void this.#readTable();
      return;
    }
    for (const row of recent.after(this.#last)) {
      if (wants(this.#filter, row) && !this.#offer(row)) return;
      // It may end with what it was just told.
      if (this.#stopping.signal.aborted) return;
    }
    this.#last = Math.max(this.#last, position);
    const alike = live.get(this.#key) ?? new Set();
    live.set(this.#key, alike.add(this));
    this.settle();
  }

  /** Tells it that it is live, if it is now and has not been told. */
  settle(): void {
    const { beginning, position } = this.#hub;
    if (position < this.#present || !this.#isLive() || !beginning.delete(this)) return;
    this.#tellLive();
  }

  /**
   * Tells it how far the feed has come where it was told nothing since the last time, so that the position from which it
   * would go on does not grow older than what is kept.
   */
  remind(): void {
    const isQuiet = this.#told === this.#toldBefore;
    this.#toldBefore = this.#told;
    if (!isQuiet || this.#hub.beginning.has(this) || !this.#isLive() || this.#hub.position <= this.#told) return;
    this.#tellLive();
    this.#toldBefore = this.#told;
  }

  #isLive(): boolean {
    return this.#hub.live.get(this.#key)?.has(this) === true;
  }

  #tellLive(): void {
    // It may have begun ahead of the reader.
    this.#told = Math.max(this.#last, this.#hub.position);
    this.#follower.live?.(this.#told);
  }

  async #readTable(): Promise<void> {
    const { db, closing, position } = this.#hub;
    const { signal } = this.#stopping;
    try {
      for await (const row of replay(db, this.#filter, this.#last, position, AbortSignal.any([signal, closing]))) {
        if (signal.aborted || !this.#offer(row)) return;
      }
    } catch (error) {
      if (!signal.aborted) this.#follower.fail(error as CursorError);
      return;
    }
    if (signal.aborted || closing.aborted) return;
    this.#last = Math.max(this.#last, position);
    this.#catchUp();
  }
}
