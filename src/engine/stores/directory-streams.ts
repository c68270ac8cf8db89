/**
 * Files of a directory store as streams whose failures are the engine's errors, and whose end is lasting.
 */
import type { FileHandle } from 'node:fs/promises';
import { unlink } from 'node:fs/promises';
import { Readable, Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { storeFault } from '../faults.ts';
import { handOver } from '../memory.ts';

/** Few enough system calls that they do not count, little enough memory that it does not either. */
const PIECE = 256 * 1024;

type Done = (error?: Error | null) => void;

/** How long to wait for more of a file that another is writing, in milliseconds. Long enough for many pieces at once. */
const PATIENCE_MS = 50;
/** So much of it is put on the disk at a time while it is still being written, so that little is left for its end. */
const SYNCED = 64 * 1024 * 1024;

/** Reads an open file from its beginning, and closes it. */
export class FileReader extends Readable {
  readonly #handle: FileHandle;
  readonly #store: string;
  readonly #whole: AbortSignal | null;
  #reading: Promise<void> = Promise.resolve();
  #unsynced = 0;

  /** @param whole of a file that another is writing: aborted once nothing follows any more; null: it is all there */
  constructor(handle: FileHandle, store: string, whole: AbortSignal | null = null) {
    super({ highWaterMark: PIECE });
    this.#handle = handle;
    this.#store = store;
    this.#whole = whole;
  }

  override _read(): void {
    this.#reading = this.#next().then((piece) => void this.push(piece), (error: unknown) => void this.destroy(storeFault(error, this.#store)));
  }

  override _destroy(reason: Error | null, done: Done): void {
    void this.#reading.then(() => this.#handle.close()).then(() => done(reason), () => done(reason));
  }

  async #next(): Promise<Buffer | null> {
    const piece = handOver(Buffer.allocUnsafeSlow(PIECE));
    while (!this.destroyed) {
      // Asked before: what was written until then is found.
      const isWhole = this.#whole?.aborted !== false;
      const { bytesRead } = await this.#handle.read(piece, 0, PIECE, null);
      if (!isWhole) await this.#keepUp(bytesRead);
      if (bytesRead > 0) return piece.subarray(0, bytesRead);
      if (isWhole) break;
    }
    return null;
  }

  /** With a writer that goes on. */
  async #keepUp(bytesRead: number): Promise<void> {
    this.#unsynced += bytesRead;
    if (this.#unsynced >= SYNCED) {
      await this.#handle.datasync();
      this.#unsynced = 0;
    }
    if (bytesRead < PIECE) await setTimeout(PATIENCE_MS, undefined, { signal: this.#whole! }).catch(() => undefined);
  }
}

/** Writes an open file. It finishes when all is on disk; destroyed before, it takes the file away. */
export class FileWriter extends Writable {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #store: string;
  #isWhole = false;

  constructor(handle: FileHandle, path: string, store: string) {
    super({ highWaterMark: 4 * PIECE });
    this.#handle = handle;
    this.#path = path;
    this.#store = store;
  }

  get descriptor(): number {
    return this.#handle.fd;
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: Done): void {
    // On an open handle, writeFile goes on where the last one ended, and writes all.
    this.#settle(this.#handle.writeFile(data), done);
  }

  override _writev(pieces: { chunk: Buffer }[], done: Done): void {
    this.#settle(this.#handle.writeFile(pieces.map(({ chunk }) => chunk)), done);
  }

  override _final(done: Done): void {
    this.#settle(this.#handle.sync().then(() => {
      this.#isWhole = true;
    }), done);
  }

  override _destroy(reason: Error | null, done: Done): void {
    const end = async (): Promise<void> => {
      await this.#handle.close();
      // What resists goes with the whole backup.
      if (!this.#isWhole) await unlink(this.#path);
    };
    end().then(() => done(reason), () => done(reason));
  }

  #settle(work: Promise<void>, done: Done): void {
    work.then(() => done(), (error: unknown) => done(storeFault(error, this.#store)));
  }
}
