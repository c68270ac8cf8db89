/**
 * Reads one archive of a backup: its digest, and its members in passing.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import type { TransformCallback, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createZstdDecompress } from 'node:zlib';
import { EngineError, GatewayError } from '../domain/errors.ts';
import { decryptWith } from './age.ts';
import type { ManifestArchive } from './contract.ts';
import { openPlainFile } from './disk.ts';
import { isMissing, storeFault, throwIfCancelled } from './faults.ts';
import type { MemberScanner } from './members.ts';
import { ChildInput, InputRefused } from './process.ts';

const PIECE = 256 * 1024;

/** Digests what passes. */
class Digest extends Transform {
  readonly #hash = createHash('sha256');
  readonly #onPass: (bytes: number) => void;
  size = 0;

  constructor(onPass: (bytes: number) => void) {
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

/** Where the tar stream of an archive goes, once decrypted and decompressed. */
export interface Content {
  /** `AGE-SECRET-KEY-1…`, or null for an archive in clear. */
  identity: string | null;
  scanner: MemberScanner;
  /** The input of the program that takes it. */
  stdin: Writable;
}

/**
 * Reads a backup's file to its end and compares it with what the manifest says.
 *
 * @param content where the tar stream goes; null: the digest alone is of interest
 * @param onPass called with the bytes read of the file
 * @throws EngineError FILE_MISSING, DIGEST_MISMATCH, ARCHIVE_UNSAFE, STORE_UNREACHABLE; CancelledError; InputRefused where
 *   the program that takes the content gave up
 */
export async function readWhole(
  directory: string, expected: Pick<ManifestArchive, 'file' | 'sha256'> & { size?: number },
  content: Content | null, signal: AbortSignal, onPass: (bytes: number) => void = () => undefined,
): Promise<void> {
  throwIfCancelled(signal);
  const path = join(directory, expected.file);
  const handle = await openPlainFile(path).catch((error: unknown) => {
    throw isMissing(error) ? new EngineError('FILE_MISSING', `${expected.file} is missing.`, RESTORE_FILE, { cause: error }) : storeFault(error, directory);
  });
  const digest = new Digest(onPass);
  try {
    if (expected.size !== undefined && (await handle.stat()).size !== expected.size) throw mismatch(expected.file, 'its length differs');
    const file = handle.createReadStream({ highWaterMark: PIECE, autoClose: false });
    if (content === null) {
      await pipeline(file, digest, async (pieces) => {
        for await (const _ of pieces);
      }, { signal });
    } else {
      const sink = new ChildInput(content.stdin, () => content.scanner.ended);
      const decryption = content.identity === null ? [] : [decryptWith(content.identity)];
      await pipeline([file, digest, ...decryption, createZstdDecompress({ chunkSize: PIECE }), content.scanner, sink], { signal });
    }
  } catch (error) {
    throwIfCancelled(signal);
    if (error instanceof GatewayError) throw error;
    const syscall = error instanceof Error && 'syscall' in error ? error.syscall : null;
    if (error instanceof InputRefused) throw error;
    if (syscall !== null) throw storeFault(error, directory);
    // What is left are decoders that met other bytes than were written.
    throw mismatch(expected.file, error instanceof Error ? error.message : String(error), error);
  } finally {
    await handle.close();
  }
  if (digest.result() !== expected.sha256) throw mismatch(expected.file, 'its digest differs');
}

const RESTORE_FILE = 'Put the file back from a copy of the backup, or use another backup.';

function mismatch(file: string, reason: string, cause?: unknown): EngineError {
  return new EngineError('DIGEST_MISMATCH', `${file} is not what was written: ${reason}.`, RESTORE_FILE, { cause });
}
