/**
 * Reads a file back while others write it, so that little is left to do at its end.
 */
import { pipeline } from 'node:stream/promises';
import { GatewayError } from '../domain/errors.ts';
import { throwIfCancelled } from './faults.ts';
import { ChildInput } from './process.ts';
import type { Child } from './process.ts';
import { Digest, mismatch, Nowhere } from './read.ts';
import type { BackupFiles } from './stores/contract.ts';
import { failureOf, startTesting } from './zstd.ts';

export interface FileDigest { size: number; sha256: string }

export class ReadBack {
  readonly #file: string;
  readonly #whole = new AbortController();
  readonly #given = new AbortController();
  readonly #zstd: Child | null;
  readonly #result: Promise<FileDigest>;

  /** @param isFrame whether the zstd program is to decompress what is read, and so to tell whether it holds what it was given */
  constructor(files: BackupFiles, file: string, isFrame: boolean) {
    this.#file = file;
    this.#zstd = isFrame ? startTesting() : null;
    this.#result = this.#read(files);
    // Looked at in the end.
    this.#result.catch(() => undefined);
  }

  /**
   * To be called once all is written.
   *
   * @param expected what was written; null: that is not known, and only decompressing it tells
   * @throws EngineError DIGEST_MISMATCH where the file does not hold it, STORE_UNREACHABLE, IO; CancelledError
   */
  async finish(expected: FileDigest | null, signal: AbortSignal): Promise<FileDigest> {
    throwIfCancelled(signal);
    const cancel = (): void => this.#given.abort();
    signal.addEventListener('abort', cancel, { once: true });
    this.#whole.abort();
    try {
      const read = await this.#result;
      if (expected !== null && read.size !== expected.size) throw mismatch(this.#file, 'its length differs');
      if (expected !== null && read.sha256 !== expected.sha256) throw mismatch(this.#file, 'its digest differs');
      return read;
    } catch (error) {
      throwIfCancelled(signal);
      throw error;
    } finally {
      signal.removeEventListener('abort', cancel);
    }
  }

  /** Gives up. Settles when nothing of it runs any more. */
  async cancel(): Promise<void> {
    this.#given.abort();
    this.#whole.abort();
    await this.#result.catch(() => undefined);
  }

  async #read(files: BackupFiles): Promise<FileDigest> {
    const digest = new Digest();
    const zstd = this.#zstd;
    // Where the program has had enough, how it ended says why.
    const sink = zstd === null ? new Nowhere() : new ChildInput(zstd.stdin!, () => true);
    try {
      const { stream } = await files.read(this.#file, this.#whole.signal);
      await pipeline([stream, digest, sink], { signal: this.#given.signal });
    } catch (error) {
      zstd?.kill();
      await zstd?.exit.catch(() => undefined);
      throw error;
    }
    const failure = zstd === null ? null : failureOf(await zstd.exit);
    if (failure instanceof GatewayError) throw failure;
    if (failure !== null) throw mismatch(this.#file, failure.message);
    return { size: digest.size, sha256: digest.result() };
  }
}
