/**
 * What is known of one name in a source, and how it is written down.
 *
 * A state is the text `type mode uid gid size mtime ctime inode links`, as GNU find prints them. Two states are compared as
 * texts: any difference counts as a change, whichever way the clock went. The change time and the inode show what a
 * preserved modification time hides; a link cannot get another target, nor a file other attributes, without them.
 */

/** One name of a source. */
export interface Entry {
  /** Bytes, one character each, relative to the source, without `./`; '' is the source itself. */
  name: string;
  state: string;
}

/** An entry as the walk finds it. */
export interface FoundEntry extends Entry {
  /** What of its content lies on disk, in bytes; less than its length where it has holes. */
  allocated: number;
}

export const STATE_FIELDS = 9;

/** `f`, `d`, `l` and so on. */
export const typeOf = (state: string): string => state.slice(0, 1);

export const isDirectory = (state: string): boolean => typeOf(state) === 'd';

/** Length of a regular file in bytes, 0 of anything else. */
export function lengthOf(state: string): number {
  return typeOf(state) === 'f' ? Number(state.split(' ', 5)[4]) : 0;
}

/** The inode of what has several names; null of anything else. */
export function sharedInodeOf(state: string): string | null {
  const [inode, links] = state.split(' ').slice(-2);
  return isDirectory(state) || links === '1' || inode === undefined ? null : inode;
}

/** The directory that a name lies in; null for the source itself. */
export function parentOf(name: string): string | null {
  if (name === '') return null;
  const slash = name.lastIndexOf('/');
  return slash < 0 ? '' : name.slice(0, slash);
}

const SLASH = 0x2f;

/**
 * The order in which sources are listed: by bytes, the slash before all others. So what is in a directory follows it
 * with nothing else between, and tar, which puts a directory's time back when it leaves it, never comes back to it.
 */
export function compareNames(one: string, other: string): number {
  if (one === other) return 0;
  const length = Math.min(one.length, other.length);
  for (let at = 0; at < length; at += 1) {
    const [a, b] = [one.charCodeAt(at), other.charCodeAt(at)];
    if (a !== b) return a === SLASH ? -1 : b === SLASH ? 1 : a - b;
  }
  return one.length - other.length;
}

/** Changes bytes, where they are, so that sort(1), which knows no other order than theirs, brings them into this one; NUL stays. */
export function forSorting(bytes: Buffer): Buffer {
  return translate(bytes, TO_SORT);
}

/** The way back. */
export function fromSorting(bytes: Buffer): Buffer {
  return translate(bytes, FROM_SORT);
}

/** What separates the fields of a record, while it is sorted. */
export const SORTED_SPACE = '!';

const TO_SORT = Uint8Array.from({ length: 256 }, (_, byte) => (byte === SLASH ? 1 : byte > 0 && byte < SLASH ? byte + 1 : byte));
const FROM_SORT = Uint8Array.from({ length: 256 }, (_, byte) => TO_SORT.indexOf(byte));

function translate(bytes: Buffer, table: Uint8Array): Buffer {
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = table[bytes[at]!]!;
  return bytes;
}

/** A name as tar and rm are given it: never an option, never outside. */
export const asMember = (name: string): string => (name === '' ? '.' : `./${name}`);

/** Splits what a stream of NUL-terminated records brings, piece by piece. */
export class Records {
  #rest = '';

  /** The records that end in this piece. */
  push(piece: Buffer): string[] {
    const records = (this.#rest + piece.toString('latin1')).split('\0');
    this.#rest = records.pop() ?? '';
    return records;
  }

  /** Whether the last record was ended. */
  get isWhole(): boolean {
    return this.#rest === '';
  }
}

/** Reads entries one by one from batches, and knows the next one. */
export class Cursor<E extends Entry> {
  /** Null at the end. */
  next: E | null = null;
  readonly #batches: AsyncIterator<E[]>;
  #batch: E[] = [];
  #at = 0;

  constructor(batches: AsyncIterable<E[]>) {
    this.#batches = batches[Symbol.asyncIterator]();
  }

  /** True where `next` is set at once; else `fill` has to fetch a batch. It saves a promise for each name. */
  advance(): boolean {
    this.#at += 1;
    this.next = this.#batch[this.#at] ?? null;
    return this.next !== null;
  }

  async fill(): Promise<void> {
    for (;;) {
      const { value, done } = await this.#batches.next();
      if (done === true) return;
      if (value.length === 0) continue;
      this.#batch = value;
      this.#at = 0;
      this.next = value[0] ?? null;
      return;
    }
  }

  /** Gives up what is left. */
  async close(): Promise<void> {
    await this.#batches.return?.();
  }
}
