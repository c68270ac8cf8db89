/**
 * Writes one archive: tar, then zstd, then age where the backup is encrypted, then a file of the store and its digest.
 */
import { createHash } from 'node:crypto';
import { Writable } from 'node:stream';
import type { Duplex, Transform } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import type { SourceSpec } from '../domain/deployment.ts';
import { EngineError } from '../domain/errors.ts';
import { encryptTo } from './age.ts';
import { archiveInto } from './direct.ts';
import type { DirectWriter } from './direct.ts';
import { errnoOf, ioFault, storeFault, throwIfCancelled } from './faults.ts';
import { MemberScanner } from './members.ts';
import { handOver, release } from './memory.ts';
import { killedBy } from './process.ts';
import type { Child } from './process.ts';
import { ReadBack } from './read-back.ts';
import type { FileDigest } from './read-back.ts';
import { openSource } from './sources/reading.ts';
import type { ReadableSource } from './sources/reading.ts';
import type { Tar } from './tar.ts';
import type { BackupWriter, Store } from './stores/contract.ts';
import { closed, compression } from './zstd.ts';

export interface ArchiveJob {
  tar: Tar;
  source: SourceSpec;
  store: Store;
  writer: BackupWriter;
  /** Name of the file to make; it must not exist. */
  file: string;
  /** `age1…`, or null for an archive in clear. */
  recipient: string | null;
  /** File of the names to archive, NUL after each, which have been listed before; absent: the source as it is found. */
  members?: string;
}

export interface WrittenArchive {
  files: number;
  directories: number;
  bytes: number;
  /** The file. */
  stored: FileDigest;
  /** Whether it was read back as it was written, and found to be right. */
  isProven: boolean;
  /** Files that it lacks or does not hold whole, with the reason. */
  unreadable: string[];
  /** Directories in it that carry extended attributes or access control lists. */
  attributed: string[];
}

/** Writes to a file of a store, digests what it writes, and counts it. */
class DigestingWriter extends Writable {
  readonly hash = createHash('sha256');
  size = 0;
  readonly #file: Writable;
  #isFinished = false;

  constructor(file: Writable) {
    super({ highWaterMark: 1024 * 1024 });
    this.#file = file;
    file.on('error', (error) => this.destroy(error));
    file.on('close', () => {
      if (!this.#isFinished) this.destroy(new Error('the file was closed early'));
    });
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.hash.update(data);
    this.size += data.length;
    // What fails comes as an event.
    const goesOn = this.#file.write(data, (error) => {
      if (error == null) release(data);
    });
    if (goesOn) done();
    else this.#file.once('drain', done);
  }

  override _final(done: Done): void {
    this.#file.end(() => {
      this.#isFinished = true;
      done();
    });
  }

  override _destroy(reason: Error | null, done: Done): void {
    if (!this.#isFinished) this.#file.destroy();
    done(reason);
  }
}

type Done = (error?: Error | null) => void;

/**
 * Writes one archive so that it lasts. Settles only when tar, or pg_dump, and zstd are gone.
 *
 * @param onPass called with the bytes of the content that passed and the files that began in them
 * @param onWarning called with what tar left out, such as sockets
 * @throws EngineError SOURCE_UNREADABLE, DATABASE_UNREACHABLE, PG_TOOLS_MISSING, STORE_FULL, STORE_UNREACHABLE,
 *   DIGEST_MISMATCH where it was read back and is not what was written; CancelledError
 */
export async function writeArchive(
  job: ArchiveJob, signal: AbortSignal, onPass: (bytes: number, files: number) => void, onWarning: (text: string) => void,
): Promise<WrittenArchive> {
  const source = await openSource(job.tar, job.source, job.store.localPath, signal, job.members);
  throwIfCancelled(signal);
  const file = await job.writer.create(job.file);
  const { direct, zstd, encryption, reading, child } = await startAll(job, file, source, signal);
  const output = direct === null ? new DigestingWriter(file) : null;
  let stored: WrittenArchive['stored'] | null = null;
  const scanner = source.scanner(onPass);
  // What a pipe gives is nobody else's. A listener makes it flow: nothing may be awaited before the next reader is there.
  child.stdout!.on('data', handOver);
  try {
    await pipeline([child.stdout!, scanner, zstd, ...encryption, ...output === null ? [] : [output]], { signal });
    if (direct !== null && reading !== null) {
      [stored] = await Promise.all([reading.finish(direct.stored, signal), ended(file, signal)]);
    }
  } catch (error) {
    // Where the program itself cut the stream off it is ending anyway, and how it ends is the reason.
    const isItsFault = child.stdout?.readableEnded === true;
    if (!isItsFault) child.kill();
    const exit = await child.exit;
    await closed(zstd);
    await reading?.cancel();
    if (output === null) await closed(file);
    throwIfCancelled(signal);
    if (isItsFault && exit.code !== 0) {
      // What came of it is no whole archive; otherwise it may have gone well enough, and the fault lies with what came after it.
      if (error instanceof EngineError && error.code === 'ARCHIVE_UNSAFE') throw source.fault(exit);
      source.judge(exit);
    }
    throw errnoOf(error) === null ? ioFault(error, `${job.source.path} could not be archived`) : storeFault(error, job.store.label);
  }
  const exit = await child.exit;
  const { unreadable, warnings } = source.judge(exit);
  for (const line of warnings) onWarning(`${job.source.path}: ${line}`);
  const { files, directories, bytes } = scanner;
  return {
    files, directories, bytes, unreadable, isProven: stored !== null,
    stored: stored ?? { size: output!.size, sha256: output!.hash.digest('hex') },
    attributed: scanner instanceof MemberScanner ? scanner.attributed : [],
  };
}

interface Output { direct: DirectWriter | null; zstd: Duplex | DirectWriter; encryption: Transform[] }

/** Starts all that writes an archive into a file. Where one of them cannot be started nothing is left of the others, nor of the file. */
async function startAll(job: ArchiveJob, file: Writable, source: ReadableSource, signal: AbortSignal): Promise<Output & { reading: ReadBack | null; child: Child }> {
  let output: Output | null = null;
  let reading: ReadBack | null = null;
  try {
    output = await outputInto(file, job.recipient);
    reading = output.direct === null ? null : new ReadBack(job.writer.files, job.file, job.recipient === null);
    return { ...output, reading, child: killedBy(signal, source.start()) };
  } catch (error) {
    if (output !== null) await closed(output.zstd);
    await reading?.cancel();
    await closed(file);
    throw error;
  }
}

/** What content passes through on its way into a file; `direct` writes the file too. */
async function outputInto(file: Writable & { descriptor?: number }, recipient: string | null): Promise<Output> {
  const direct = file.descriptor === undefined ? null : await archiveInto(file.descriptor, recipient);
  if (direct !== null) return { direct, zstd: direct, encryption: [] };
  return { direct: null, zstd: await compression(), encryption: recipient === null ? [] : [await encryptTo(recipient)] };
}

/** Ends a file that another has written. @throws what hinders it from lasting */
async function ended(file: Writable, signal: AbortSignal): Promise<void> {
  file.end();
  await finished(file, { signal });
}
