/**
 * Finds what has changed in a source: merges its last index with a new walk, both sorted, in one pass.
 *
 * What is found is written down as it is found: the new index; the names that the next archive is to hold, each after
 * the directories that it lies in; and the names to remove before that archive is unpacked.
 */
import { setImmediate } from 'node:timers/promises';
import { asMember, compareNames, Cursor, isDirectory, lengthOf, parentOf, sharedInodeOf, typeOf } from './state.ts';
import type { Entry, FoundEntry } from './state.ts';
import { IndexWriter, readIndex, TextFile } from './index-files.ts';

/** More removals, or more directories in one pass, than this are no small change. They are kept in memory. */
const REMEMBERED = 100_000;

/** Paths of the files to write; none may exist, nor any whose name begins with theirs. */
export interface DifferenceFiles {
  index: string;
  names: string;
  removed: string;
}

/** Amounts of what an archive would hold. Bytes are about those of a tar stream. */
export interface Amount { files: number; bytes: number }

export interface Difference {
  /** Everything in the source. */
  whole: Amount;
  /**
   * What has changed since, with the files of the names to archive and to remove; null where that cannot be told, or is too much to be told.
   */
  changed: (Amount & { names: string; removed: string; removals: number }) | null;
  /** Directories that are replaced with all that is in them, for the sake of their attributes. */
  replaced: ReadonlySet<string>;
}

export interface Before {
  /** Opens its index, which is sorted. */
  open(): AsyncIterable<Entry[]>;
  /** Directories that carry attributes: unpacking over one takes none away, so it is replaced when it changes. */
  attributed: ReadonlySet<string>;
}

/** A header, an extended header with its own, and the content in blocks of 512 bytes. */
const tarBytes = ({ state, allocated }: FoundEntry): number => 1536 + Math.ceil(Math.min(lengthOf(state), allocated) / 512) * 512;

class TooMuch extends Error {}

/** The names of the next archive and those to remove, as the merge finds them. */
class Changes {
  readonly amount: Amount = { files: 0, bytes: 0 };
  removals = 0;
  readonly replaced = new Set<string>();
  readonly #names: TextFile;
  readonly #removed: TextFile;
  readonly #attributed: ReadonlySet<string>;
  /** Directories that are none any more: what was in them goes with them. */
  readonly #gone = new Set<string>();
  /** Directories that the archive holds already. */
  readonly #written = new Set<string>();
  /** Inodes of what is archived under one of several names. */
  readonly linked = new Set<string>();
  /** Inodes of which every name is archived. */
  readonly #complete: ReadonlySet<string>;

  constructor([names, removed]: Texts, attributed: ReadonlySet<string>, complete: ReadonlySet<string>) {
    this.#names = names;
    this.#removed = removed;
    this.#complete = complete;
    this.#attributed = attributed;
  }

  /** The old entry's name is not there any more. */
  gone(old: Entry): void {
    const parent = parentOf(old.name);
    if (parent === null) throw new TooMuch();
    if (isDirectory(old.state)) remember(this.#gone, old.name);
    if (!this.#gone.has(parent)) this.#remove(old.name);
  }

  added(entry: FoundEntry): void {
    this.#archive(entry);
  }

  /** The name is there as before. @throws TooMuch where no archive on top of the others can bring the change about */
  kept(old: Entry, entry: FoundEntry): void {
    if (old.state === entry.state) {
      const isTakenIn = (this.replaced.size > 0 && this.#isBelowReplaced(entry.name))
        || (this.#complete.size > 0 && this.#complete.has(sharedInodeOf(entry.state) ?? ''));
      if (isTakenIn) this.#archive(entry);
      return;
    }
    if (typeOf(old.state) !== typeOf(entry.state)) {
      if (isDirectory(old.state)) remember(this.#gone, old.name);
      this.#remove(old.name);
    } else if (isDirectory(entry.state) && this.#attributed.has(entry.name)) {
      remember(this.replaced, entry.name);
      this.#remove(entry.name);
    }
    this.#archive(entry);
  }

  #remove(name: string): void {
    const parent = parentOf(name);
    // The source itself cannot be removed, nor what is listed without end be looked through.
    if (parent === null || this.removals >= REMEMBERED) throw new TooMuch();
    this.removals += 1;
    this.#removed.add(`${asMember(name)}\0`);
    // Its time changes with the removal, and is put back by the archive.
    this.#directory(parent);
  }

  #archive(entry: FoundEntry): void {
    const parent = parentOf(entry.name);
    if (parent !== null) this.#directory(parent);
    if (isDirectory(entry.state)) {
      this.#directory(entry.name);
    } else {
      const inode = sharedInodeOf(entry.state);
      if (inode !== null) remember(this.linked, inode);
      this.#names.add(`${asMember(entry.name)}\0`);
      this.amount.files += 1;
      this.amount.bytes += tarBytes(entry);
    }
  }

  /** A directory and those above it, each once: an archive is refused whose members lie in no directory of its own. */
  #directory(name: string): void {
    if (this.#written.has(name)) return;
    const parent = parentOf(name);
    if (parent !== null) this.#directory(parent);
    remember(this.#written, name);
    this.#names.add(`${asMember(name)}\0`);
    this.amount.bytes += 1536;
  }

  #isBelowReplaced(name: string): boolean {
    for (let above = parentOf(name); above !== null; above = parentOf(above)) if (this.replaced.has(above)) return true;
    return false;
  }
}

function remember(names: Set<string>, name: string): void {
  if (names.size >= REMEMBERED) throw new TooMuch();
  // A copy: what was cut out of a piece of records keeps all of that in memory.
  names.add(Buffer.from(name, 'latin1').toString('latin1'));
}

/** The files of names to archive, and to remove. */
type Texts = readonly [TextFile, TextFile];

/**
 * @param before null: there is nothing to compare with
 * @throws what the walk throws, and the file system's errors of the files to write
 */
export async function compare(before: Before | null, found: AsyncIterable<FoundEntry[]>, files: DifferenceFiles): Promise<Difference> {
  const whole: Amount = { files: 0, bytes: 0 };
  const index = await IndexWriter.create(files.index);
  const now = new Cursor(found);
  const listener: Listener = {
    onEntry(entry) {
      index.add(entry);
      if (!isDirectory(entry.state)) whole.files += 1;
      whole.bytes += tarBytes(entry);
    },
    onBatch: () => index.relieve(),
  };
  let difference: Merged | null = null;
  try {
    if (before !== null) difference = await merge(before, now, files, '', new Set(), listener);
    // Without an index before it, or once that is no use, the walk alone goes on to its end.
    if (difference === null) await drain(now, listener);
  } catch (error) {
    await index.close().catch(() => undefined);
    throw error;
  } finally {
    await now.close();
  }
  await index.close();
  if (before !== null && difference !== null && difference.changes.linked.size > 0) {
    // A directory that was moved has taken some names of a file along and left others, with no change to see in those:
    // they are archived too, or the names would not be one file any more.
    const again = new Cursor(withLengths(readIndex(files.index)));
    difference = await merge(before, again, files, '.linked', difference.changes.linked, null).finally(() => again.close());
  }
  if (difference === null) return { whole, changed: null, replaced: new Set() };
  const { changes, names, removed } = difference;
  return { whole, changed: { ...changes.amount, removals: changes.removals, names, removed }, replaced: changes.replaced };
}

async function* withLengths(batches: AsyncIterable<Entry[]>): AsyncGenerator<FoundEntry[]> {
  for await (const batch of batches) yield batch.map((entry) => ({ ...entry, allocated: Infinity }));
}

interface Merged { changes: Changes; names: string; removed: string }
/** Told each entry in turn, and the end of each batch. */
interface Listener {
  onEntry(entry: FoundEntry): void;
  onBatch(): Promise<void>;
}

/** @returns null where the last index is damaged, or the changes are too many; `now` stands at the next entry then */
async function merge(
  before: Before, now: Cursor<FoundEntry>, files: DifferenceFiles, suffix: string, complete: ReadonlySet<string>, listener: Listener | null,
): Promise<Merged | null> {
  const [names, removed] = [`${files.names}${suffix}`, `${files.removed}${suffix}`];
  const texts: Texts = [await TextFile.create(names), await TextFile.create(removed)];
  const old = new Cursor(before.open());
  const changes = new Changes(texts, before.attributed, complete);
  try {
    if (!await mergeAll(changes, old, now, texts, listener)) return null;
    for (const text of texts) await text.relieve(true);
    return { changes, names, removed };
  } finally {
    await Promise.allSettled([old.close(), ...texts.map((text) => text.close())]);
  }
}

async function mergeAll(changes: Changes, old: Cursor<Entry>, now: Cursor<FoundEntry>, texts: Texts, listener: Listener | null): Promise<boolean> {
  const fillOld = async (): Promise<boolean> => old.fill().then(() => true, () => false);
  await now.fill();
  if (!await fillOld()) return false;
  while (old.next !== null || now.next !== null) {
    const [was, is] = [old.next, now.next];
    const order = was === null ? 1 : is === null ? -1 : compareNames(was.name, is.name);
    try {
      if (was !== null && is !== null && order === 0) changes.kept(was, is);
      else if (was !== null && order < 0) changes.gone(was);
      else if (is !== null) changes.added(is);
    } catch (error) {
      if (error instanceof TooMuch) return false;
      throw error;
    }
    if (is !== null && order >= 0) {
      listener?.onEntry(is);
      if (!now.advance()) {
        await listener?.onBatch();
        for (const text of texts) await text.relieve();
        // Lets others go on, the collector of garbage among them.
        await setImmediate();
        await now.fill();
      }
    }
    if (was !== null && order <= 0 && !old.advance() && !await fillOld()) return false;
  }
  return true;
}

async function drain(now: Cursor<FoundEntry>, listener: Listener): Promise<void> {
  if (now.next === null) await now.fill();
  while (now.next !== null) {
    listener.onEntry(now.next);
    if (now.advance()) continue;
    await listener.onBatch();
    await now.fill();
  }
}

/**
 * Writes down every name of an index, for an archive of the whole source.
 *
 * @param member the archive's name of a source that is a file; null for a directory
 */
export async function writeAllNames(index: string, path: string, member: string | null): Promise<void> {
  const names = await TextFile.create(path);
  try {
    for await (const batch of readIndex(index)) {
      for (const { name } of batch) names.add(`${member ?? asMember(name)}\0`);
      await names.relieve();
    }
    await names.relieve(true);
  } finally {
    await names.close();
  }
}
