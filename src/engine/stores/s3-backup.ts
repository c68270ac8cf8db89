/**
 * One backup in an S3 store: the objects below a prefix of its own. They have their final keys from the beginning; the
 * manifest, written last, makes a backup of them.
 */
import { randomUUID } from 'node:crypto';
import { finished } from 'node:stream/promises';
import type { Readable, Writable } from 'node:stream';
import { EngineError } from '../../domain/errors.ts';
import { MANIFEST_FILE } from '../manifest.ts';
import type { BackupFiles, BackupWriter } from './contract.ts';
import type { Bucket, Manner } from './s3-bucket.ts';
import { ObjectReader, ObjectWriter } from './s3-streams.ts';

/** Beside the objects of a backup that is not published; its first line is the attempt. */
export const PARTIAL_MARK = '.partial';
/** Beside the objects of a backup that is being removed: what is left goes, whatever it is. */
export const REMOVING_MARK = '.removing';
const MARKS = [PARTIAL_MARK, REMOVING_MARK];

/** Removals at once: a backup has an object for each source. */
const REMOVALS_AT_ONCE = 8;
const ROUNDS = 4;

/** Every object below a backup's prefix with its length, marks included. */
async function survey(bucket: Bucket, name: string, manner?: Manner): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  for await (const { key, size } of bucket.list(`${name}/`, manner)) found.set(key.slice(name.length + 1), size);
  return found;
}

/** Aborts every unfinished upload below a backup's prefix. */
async function endUploads(bucket: Bucket, name: string, manner?: Manner): Promise<void> {
  for (const { key, uploadId } of await bucket.uploads(`${name}/`, manner)) await bucket.abortUpload(key, uploadId, manner);
}

/** The attempt that a mark speaks of. */
export const attemptOf = (mark: string): string => mark.split('\n')[0] ?? '';

/**
 * Removes everything below a backup's prefix. The mark comes first, so that a sweep goes on where this stopped, and the
 * manifest goes next, after which it is no backup any more.
 *
 * @param isUnfinished it is to be spared if it is published in this very moment: who publishes looks for the mark
 *   afterwards, so that one of the two sees the other
 * @returns whether it is gone
 * @throws EngineError STORE_UNREACHABLE
 */
export async function erase(bucket: Bucket, name: string, { isUnfinished = false, ...manner }: Manner & { isUnfinished?: boolean } = {}): Promise<boolean> {
  await endUploads(bucket, name, manner);
  if ((await survey(bucket, name, manner)).size === 0) return true;
  await bucket.put(`${name}/${REMOVING_MARK}`, Buffer.alloc(0), false, manner).catch((error: unknown) => {
    // What makes room must not need any.
    if (!(error instanceof EngineError && error.code === 'STORE_FULL')) throw error;
  });
  if (isUnfinished && await bucket.size(`${name}/${MANIFEST_FILE}`, manner) !== null) {
    await bucket.delete(`${name}/${REMOVING_MARK}`, manner);
    return false;
  }
  await bucket.delete(`${name}/${MANIFEST_FILE}`, manner);
  // More than once, since an attempt that was thought dead may still have added something.
  for (let round = 0; round < ROUNDS; round += 1) {
    const files = [...(await survey(bucket, name, manner)).keys()].filter((file) => file !== REMOVING_MARK);
    if (files.length === 0) break;
    for (let at = 0; at < files.length; at += REMOVALS_AT_ONCE) {
      await Promise.all(files.slice(at, at + REMOVALS_AT_ONCE).map((file) => bucket.delete(`${name}/${file}`, manner)));
    }
    await endUploads(bucket, name, manner);
  }
  await bucket.delete(`${name}/${REMOVING_MARK}`, manner);
  return true;
}

export class S3Files implements BackupFiles {
  readonly label: string;
  readonly #bucket: Bucket;
  readonly #name: string;
  readonly #isOwn: boolean;

  /** @param isOwn whether it may be seen before it is published, which is for its writer alone */
  constructor(bucket: Bucket, name: string, isOwn = false) {
    this.label = `${bucket.label}/${name}`;
    this.#bucket = bucket;
    this.#name = name;
    this.#isOwn = isOwn;
  }

  async sizes(): Promise<ReadonlyMap<string, number> | null> {
    const found = await survey(this.#bucket, this.#name);
    const isUnfinished = MARKS.some((mark) => found.has(mark)) && !found.has(MANIFEST_FILE);
    for (const mark of MARKS) found.delete(mark);
    // A person may have left the prefix itself as an empty object.
    found.delete('');
    return this.#isOwn || (found.size > 0 && !isUnfinished) ? found : null;
  }

  async read(file: string): Promise<{ size: number; stream: Readable }> {
    const key = `${this.#name}/${file}`;
    const opened = await this.#bucket.get(key);
    if (opened === null) throw new EngineError('FILE_MISSING', `${file} is missing.`, 'Put the file back from a copy of the backup, or use another backup.');
    return { size: opened.size, stream: new ObjectReader(this.#bucket, key, opened) };
  }
}

export class S3Writer implements BackupWriter {
  readonly files: BackupFiles;
  readonly #bucket: Bucket;
  readonly #name: string;
  readonly #written = new Map<string, number>();
  readonly #writing = new Map<string, ObjectWriter>();
  readonly #onUntidy: (tidy: () => Promise<void>) => void;

  private constructor(bucket: Bucket, name: string, onUntidy: (tidy: () => Promise<void>) => void) {
    this.#bucket = bucket;
    this.#name = name;
    this.#onUntidy = onUntidy;
    this.files = new S3Files(bucket, name, true);
  }

  /**
   * @param onUntidy told where something could not be removed, the mark of a published backup or what failed in its
   *   publication; what it is told does so
   * @throws EngineError STORE_UNREACHABLE, also where anything has the name; STORE_FULL
   */
  static async begin(bucket: Bucket, name: string, attempt: string, onUntidy: (tidy: () => Promise<void>) => void): Promise<S3Writer> {
    if ((await survey(bucket, name)).size > 0) throw bucket.taken(name);
    // Two that begin at once write different marks, of which the server takes one.
    await bucket.put(`${name}/${PARTIAL_MARK}`, Buffer.from(`${attempt}\n${randomUUID()}\n`), true);
    return new S3Writer(bucket, name, onUntidy);
  }

  async create(file: string): Promise<Writable> {
    if (MARKS.includes(file) || file === MANIFEST_FILE || this.#written.has(file) || this.#writing.has(file)) throw this.#bucket.taken(`${this.#name}/${file}`);
    const writer = new ObjectWriter(this.#bucket, `${this.#name}/${file}`, (size) => this.#written.set(file, size));
    this.#writing.set(file, writer);
    writer.once('close', () => this.#writing.delete(file));
    return writer;
  }

  /** Nothing is shared: a store that copies on its own side would take the same room. */
  async share(): Promise<boolean> {
    return false;
  }

  async publish(manifest: string): Promise<void> {
    const [key, body] = [`${this.#name}/${MANIFEST_FILE}`, Buffer.from(manifest)];
    if (await this.#bucket.size(`${this.#name}/${PARTIAL_MARK}`) === null) throw this.#removed();
    try {
      await this.#bucket.put(key, body, true);
      this.#written.set(MANIFEST_FILE, body.length);
      // A sweep that took this attempt for a dead one may have removed everything meanwhile.
      await this.#requireWhole();
    } catch (error) {
      // A manifest that stays would make a backup of it that nobody counts, and that a sweep takes for one.
      await this.#bucket.delete(key, this.#bucket.tidily()).catch(() => this.#onUntidy(async () => void await erase(this.#bucket, this.#name)));
      throw error;
    }
    await this.#tidy().catch(() => this.#onUntidy(() => this.#tidy()));
  }

  /** It is a backup by now, whatever becomes of this, which the sweep does as well where this process dies. */
  async #tidy(): Promise<void> {
    const manner = this.#bucket.tidily();
    // One has begun without its writer's knowledge where the answer to the request was lost.
    await endUploads(this.#bucket, this.#name, manner);
    await this.#bucket.delete(`${this.#name}/${PARTIAL_MARK}`, manner);
  }

  async discard(): Promise<string | null> {
    try {
      const closing = [...this.#writing.values()].map((writer) => {
        writer.on('error', () => undefined).destroy();
        return finished(writer).catch(() => undefined);
      });
      await Promise.all(closing);
      await erase(this.#bucket, this.#name, this.#bucket.tidily());
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** @throws EngineError STORE_UNREACHABLE where not every object is there, or somebody is removing them */
  async #requireWhole(): Promise<void> {
    // Asked for one by one: some servers list an object only a moment after they have it.
    const found = await Promise.all([...this.#written.keys()].map((file) => this.#bucket.size(`${this.#name}/${file}`)));
    const isWhole = [...this.#written.values()].every((size, nth) => found[nth] === size);
    if (!isWhole || await this.#bucket.size(`${this.#name}/${REMOVING_MARK}`) !== null) throw this.#removed();
  }

  #removed(): EngineError {
    return new EngineError('STORE_UNREACHABLE', `What was written to ${this.files.label} is not all there any more: somebody else removes it.`,
      'See that no other installation and no lifecycle rule works on this prefix.');
  }
}
