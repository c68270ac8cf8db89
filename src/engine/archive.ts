/**
 * Writes one archive: tar, then zstd, then age where the backup is encrypted, then a file and its digest.
 */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { Writable } from 'node:stream';
import type { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';
import type { FilesSource } from '../domain/deployment.ts';
import { encryptTo } from './age.ts';
import { errnoOf, ioFault, storeFault, throwIfCancelled } from './faults.ts';
import { MemberScanner } from './members.ts';
import { killedBy } from './process.ts';
import { resolveSource, tarReadFault } from './source.ts';
import { complaints, startCreating } from './tar.ts';
import type { Tar } from './tar.ts';

/** zstd's own default: a better ratio than gzip at several times its speed. */
const COMPRESSION_LEVEL = 3;

export interface ArchiveJob {
  tar: Tar;
  source: FilesSource;
  storePath: string;
  /** Absolute path of the file to make; it must not exist. */
  path: string;
  /** `age1…`, or null for an archive in clear. */
  recipient: string | null;
}

export interface WrittenArchive {
  files: number;
  directories: number;
  bytes: number;
  size: number;
  sha256: string;
}

/** Writes to an open file and digests what it writes. */
class DigestingWriter extends Writable {
  readonly hash = createHash('sha256');
  size = 0;
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    super({ highWaterMark: 1024 * 1024 });
    this.#handle = handle;
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.hash.update(data);
    this.size += data.length;
    // On an open handle, writeFile goes on where the last one ended, and writes all.
    this.#handle.writeFile(data).then(() => done(), done);
  }
}

/**
 * Writes and syncs one archive. Settles only when tar is gone and the file closed; what to do with a file left by a
 * failure is the caller's to decide.
 *
 * @param onPass called with the bytes of the tar stream that passed and the files that began in them
 * @param onWarning called with what tar left out, such as sockets
 * @throws EngineError SOURCE_UNREADABLE, STORE_FULL, STORE_UNREACHABLE; CancelledError
 */
export async function writeArchive(
  job: ArchiveJob, signal: AbortSignal, onPass: (bytes: number, files: number) => void, onWarning: (text: string) => void,
): Promise<WrittenArchive> {
  const input = await resolveSource(job.source, job.storePath);
  const encryption: Transform[] = job.recipient === null ? [] : [await encryptTo(job.recipient)];
  const handle = await open(job.path, 'wx', 0o600).catch((error: unknown) => {
    throw storeFault(error, job.storePath);
  });
  try {
    throwIfCancelled(signal);
    const child = killedBy(signal, startCreating(job.tar, input, 'archive'));
    const scanner = new MemberScanner(job.source.type, onPass);
    const writer = new DigestingWriter(handle);
    const zstd = createZstdCompress({
      chunkSize: 256 * 1024,
      params: { [constants.ZSTD_c_compressionLevel]: COMPRESSION_LEVEL, [constants.ZSTD_c_checksumFlag]: 1 },
    });
    try {
      await pipeline([child.stdout!, scanner, zstd, ...encryption, writer], { signal });
    } catch (error) {
      // Where tar itself cut the stream off it is ending anyway, and how it ends is the reason.
      const isTarsFault = child.stdout?.readableEnded === true;
      if (!isTarsFault) child.kill();
      const exit = await child.exit;
      throwIfCancelled(signal);
      if (isTarsFault && exit.code !== 0) throw tarReadFault(job.source, exit);
      throw errnoOf(error) === null ? ioFault(error, `${job.source.path} could not be archived`) : storeFault(error, job.storePath);
    }
    const exit = await child.exit;
    if (exit.code !== 0) throw tarReadFault(job.source, exit);
    for (const line of complaints(exit)) onWarning(`${job.source.path}: ${line}`);
    await handle.sync().catch((error: unknown) => {
      throw storeFault(error, job.storePath);
    });
    const { files, directories, bytes } = scanner;
    return { files, directories, bytes, size: writer.size, sha256: writer.hash.digest('hex') };
  } finally {
    await handle.close();
  }
}
