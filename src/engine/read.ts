/**
 * Reads one archive of a backup: its digest, and its members in passing.
 */
import { createHash } from 'node:crypto';
import { Transform, Writable } from 'node:stream';
import type { Duplex, TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EngineError, GatewayError } from '../domain/errors.ts';
import { decryptWith } from './age.ts';
import type { ManifestArchive } from './contract.ts';
import { throwIfCancelled } from './faults.ts';
import { release } from './memory.ts';
import { ChildInput, InputRefused } from './process.ts';
import type { BackupFiles } from './stores/contract.ts';
import { closed, decompression } from './zstd.ts';

const PIECE = 256 * 1024;

/** Digests what passes. */
export class Digest extends Transform {
  readonly #hash = createHash('sha256');
  readonly #onPass: (bytes: number) => void;
  size = 0;

  constructor(onPass: (bytes: number) => void = () => undefined) {
    super({ readableHighWaterMark: 2 * PIECE, writableHighWaterMark: 2 * PIECE });
    this.#onPass = onPass;
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#hash.update(data);
    this.size += data.length;
    this.#onPass(data.length);
    done(null, data);
  }

  /** Lower-case hexadecimal; once only. */
  result(): string {
    return this.#hash.digest('hex');
  }
}

/** Takes everything. */
export class Nowhere extends Writable {
  override _write(data: Buffer, _encoding: BufferEncoding, done: () => void): void {
    release(data);
    done();
  }
}

/** Where the tar stream of an archive goes, once decrypted and decompressed. */
export interface Content {
  /** `AGE-SECRET-KEY-1…`, or null for an archive in clear. */
  identity: string | null;
  /** Looks at what passes; `ended` says whether the program may stop reading now. */
  scanner: Transform & { readonly ended: boolean };
  /** The input of the program that takes it. */
  stdin: Writable;
}

/**
 * Reads a backup's file to its end and compares it with what the manifest says. Settles only when zstd is gone; the
 * program that takes the content is the caller's.
 *
 * @param content where the tar stream goes; null: the digest alone is of interest
 * @param onPass called with the bytes read of the file
 * @throws EngineError FILE_MISSING, DIGEST_MISMATCH, ARCHIVE_UNSAFE, STORE_UNREACHABLE; CancelledError; InputRefused where
 *   the program that takes the content gave up
 */
export async function readWhole(
  files: BackupFiles, expected: Pick<ManifestArchive, 'file' | 'sha256'> & { size?: number },
  content: Content | null, signal: AbortSignal, onPass: (bytes: number) => void = () => undefined,
): Promise<void> {
  throwIfCancelled(signal);
  const { size, stream } = await files.read(expected.file);
  const digest = new Digest(onPass);
  let zstd: Duplex | null = null;
  try {
    if (expected.size !== undefined && size !== expected.size) throw mismatch(expected.file, 'its length differs');
    if (content === null) {
      await pipeline(stream, digest, new Nowhere(), { signal });
    } else {
      const sink = new ChildInput(content.stdin, () => content.scanner.ended);
      const decryption = content.identity === null ? [] : [decryptWith(content.identity)];
      zstd = await decompression();
      await pipeline([stream, digest, ...decryption, zstd, content.scanner, sink], { signal });
    }
  } catch (error) {
    stream.destroy();
    if (zstd !== null) await closed(zstd);
    throwIfCancelled(signal);
    if (error instanceof GatewayError || error instanceof InputRefused) throw error;
    // What is left are decoders that met other bytes than were written.
    throw mismatch(expected.file, error instanceof Error ? error.message : String(error), error);
  }
  if (digest.result() !== expected.sha256) throw mismatch(expected.file, 'its digest differs');
}

/** A file that does not hold what was written to it. */
export function mismatch(file: string, reason: string, cause?: unknown): EngineError {
  return new EngineError('DIGEST_MISMATCH', `${file} is not what was written: ${reason}.`,
    'Put the file back from a copy of the backup, or use another backup.', { cause });
}
