/**
 * The indexes of the last backups: for each source every name with its state when it was backed up. They are kept on the
 * worker's own machine, for its user alone: names are as secret as the source, and in the store they are encrypted.
 *
 *     <directory>/<backup>/index.json     what the backup was made of, and the digest that its manifest hangs on
 *     <directory>/<backup>/1.index.zst    one for each source: records `state name`, sorted, NUL after each; `end N` last
 *
 * An index is named by its backup and moved there whole once that is published, so that one which is there is true.
 * Losing it costs a whole backup and nothing else.
 */
import { constants as fsConstants } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import type { ZstdCompress } from 'node:zlib';
import { z } from 'zod';
import { removeTree, syncDirectory, writeDurably } from '../disk.ts';
import { requireAttempt } from '../names.ts';
import { Records, STATE_FIELDS } from './state.ts';
import type { Entry } from './state.ts';

/** So many are kept: plain and encrypted backups may take turns, and the last one may be deleted. */
const KEPT = 3;
const PARTIAL_PREFIX = '.partial.';
const PIECE = 256 * 1024;

const CONTENT = z.object({
  version: z.literal(1),
  /** SHA-256 of the backup's `manifest.sha256`, which holds the digests of everything in it. */
  digests: z.string().regex(/^[0-9a-f]{64}$/),
  /** One for each archived source, in the backup's order; null where it has no index. */
  sources: z.array(z.object({
    /** What it was, and how it was read; see `keyOf`. */
    key: z.string(),
    /** File of its index. */
    file: z.string().regex(/^\d+\.index\.zst$/),
    /** Directories in its layers that carry extended attributes or access control lists. */
    attributed: z.array(z.string()),
  }).nullable()),
});

export type Index = z.infer<typeof CONTENT>;
export type SourceIndex = NonNullable<Index['sources'][number]>;

/**
 * Text of one byte a character, as it comes together. It is copied at once: names are cut out of pieces of records, and
 * one that waits in a list of strings would keep the whole piece in memory.
 */
class Gathered {
  #buffer = Buffer.allocUnsafe(2 * PIECE);
  #length = 0;

  get isMuch(): boolean {
    return this.#length >= PIECE;
  }

  add(text: string): void {
    if (this.#length + text.length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(2 * this.#buffer.length + text.length);
      this.#buffer.copy(larger, 0, 0, this.#length);
      this.#buffer = larger;
    }
    this.#length += this.#buffer.write(text, this.#length, 'latin1');
  }

  /** What there is, to be used up before more is added. */
  take(): Buffer {
    const content = this.#buffer.subarray(0, this.#length);
    this.#length = 0;
    return content;
  }
}

/** A file of text of one byte a character, written in large pieces. */
export class TextFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #text = new Gathered();

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  static async create(path: string): Promise<TextFile> {
    return new TextFile(path, await open(path, 'wx', 0o600));
  }

  add(text: string): void {
    this.#text.add(text);
  }

  /** Writes what has been added, where that is enough to be worth it, or in any case. */
  async relieve(inAnyCase = false): Promise<void> {
    if (inAnyCase || this.#text.isMuch) await this.#handle.writeFile(this.#text.take());
  }

  /** What has not been written is dropped. */
  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Writes an index; it is whole, and on disk, once `close` has settled. */
export class IndexWriter {
  readonly #zstd: ZstdCompress;
  readonly #written: Promise<void>;
  readonly #handle: FileHandle;
  readonly #text = new Gathered();
  #entries = 0;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
    this.#zstd = createZstdCompress({ params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 } });
    this.#written = pipeline(this.#zstd, async (pieces) => {
      for await (const piece of pieces) await handle.writeFile(piece as Buffer);
    });
    this.#written.catch(() => undefined);
  }

  static async create(path: string): Promise<IndexWriter> {
    return new IndexWriter(await open(path, 'wx', 0o600));
  }

  add({ state, name }: Entry): void {
    this.#entries += 1;
    this.#text.add(`${state} ${name}\0`);
  }

  async relieve(): Promise<void> {
    if (this.#text.isMuch) await this.#write();
  }

  async close(): Promise<void> {
    try {
      this.#text.add(`end ${this.#entries}\0`);
      await this.#write();
      this.#zstd.end();
      await this.#written;
      await this.#handle.sync();
    } finally {
      this.#zstd.destroy();
      await this.#handle.close();
    }
  }

  async #write(): Promise<void> {
    const content = this.#text.take();
    await new Promise<void>((resolve, reject) => {
      this.#written.catch(reject);
      this.#zstd.write(content, (error) => (error == null ? resolve() : reject(error)));
    });
  }
}

/** The entries of an index, in batches. @throws where it is damaged or torn, at the latest at its end */
export async function* readIndex(path: string): AsyncGenerator<Entry[]> {
  const handle = await open(path, fsConstants.O_RDONLY | fsConstants.O_NOFOLLOW);
  const pieces = handle.createReadStream({ highWaterMark: PIECE });
  const zstd = createZstdDecompress({ chunkSize: PIECE });
  const feeding = pipeline(pieces, zstd);
  feeding.catch(() => undefined);
  const records = new Records();
  let [entries, isEnded] = [0, false];
  try {
    for await (const piece of zstd) {
      const batch: Entry[] = [];
      for (const record of records.push(piece as Buffer)) {
        if (isEnded) throw new Error('it goes on after its end');
        if (record.startsWith('end ')) {
          isEnded = record === `end ${entries}`;
          if (!isEnded) throw new Error('it lacks entries');
          continue;
        }
        let end = -1;
        for (let field = 0; field < STATE_FIELDS; field += 1) end = record.indexOf(' ', end + 1);
        if (end < 0) throw new Error('a record is damaged');
        batch.push({ state: record.slice(0, end), name: record.slice(end + 1) });
        entries += 1;
      }
      yield batch;
    }
    await feeding;
    if (!isEnded || !records.isWhole) throw new Error('it is cut off');
  } finally {
    zstd.destroy();
    await handle.close().catch(() => undefined);
  }
}

/** The indexes of one host's backups in one store. */
export class Indexes {
  readonly #directory: string;

  /** @param directory absolute path, which nobody else uses; made when it is needed */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The index of a backup; null where there is none, or it is damaged. */
  async find(backup: string): Promise<Index | null> {
    try {
      return CONTENT.parse(JSON.parse(await readFile(join(this.#directory, backup, 'index.json'), 'utf8')));
    } catch {
      return null;
    }
  }

  pathOf(backup: string, source: SourceIndex): string {
    return join(this.#directory, backup, source.file);
  }

  /** Makes a directory in which an index is prepared, and removes what dead attempts left: one host has one backup at a time. */
  async begin(attempt: string): Promise<string> {
    requireAttempt(attempt);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#directory)) {
      if (name.startsWith(PARTIAL_PREFIX)) await removeTree(join(this.#directory, name));
    }
    const path = join(this.#directory, `${PARTIAL_PREFIX}${attempt}`);
    await mkdir(path, { mode: 0o700 });
    return path;
  }

  /** Makes what was prepared the index of a backup that has been published, and removes the oldest. */
  async commit(prepared: string, backup: string, index: Index): Promise<void> {
    // Lists of names, which have served their purpose.
    for (const name of await readdir(prepared)) {
      if (!index.sources.some((source) => source?.file === name)) await unlink(join(prepared, name));
    }
    await writeDurably(join(prepared, 'index.json'), JSON.stringify(index));
    await syncDirectory(prepared);
    const path = join(this.#directory, backup);
    await removeTree(path);
    await rename(prepared, path);
    await syncDirectory(this.#directory);
    const others = (await readdir(this.#directory)).filter((name) => !name.startsWith('.'));
    const dated = await Promise.all(others.map(async (name) => ({ name, time: (await stat(join(this.#directory, name))).mtimeMs })));
    // The new one stays whatever the clock says.
    const old = dated.filter(({ name }) => name !== backup).sort((one, other) => other.time - one.time).slice(KEPT - 1);
    for (const { name } of old) await removeTree(join(this.#directory, name));
  }

  /** Removes what was prepared in vain. */
  async discard(prepared: string): Promise<void> {
    await removeTree(prepared);
  }
}
