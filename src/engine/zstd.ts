/**
 * zstd as streams: the zstd program of this machine, or Node's own where there is none. Both write and read the same
 * format.
 */
import { Duplex, Writable } from 'node:stream';
import { GatewayError } from '../domain/errors.ts';
import { ioFault } from './faults.ts';
import { handOver, release } from './memory.ts';
import { killedBy, run, start } from './process.ts';
import type { Child, Exit } from './process.ts';
import { NodeCompression, NodeDecompression } from './zstd-node.ts';

/** zstd's own default: a better ratio than gzip at several times its speed. */
const COMPRESSION_LEVEL = 3;
const PROGRAM = 'zstd';

/** One thread: more of them take more memory, and the other processors read and digest meanwhile. */
const COMPRESSING = ['-q', '-c', `-${COMPRESSION_LEVEL}`, '-T1', '--check'];

let found: Promise<boolean> | undefined;

/** Whether the program is on the PATH. Looks again the next time where it is not. */
async function hasProgram(): Promise<boolean> {
  const isThere = await (found ??= run(PROGRAM, ['--version']).then(({ code }) => code === 0, () => false));
  if (!isThere) found = undefined;
  return isThere;
}

/** Compresses what passes into one frame with a check sum. Closed, it has no child process any more. */
export async function compression(): Promise<Duplex> {
  return await hasProgram() ? new ProgramStream(COMPRESSING) : new NodeCompression(COMPRESSION_LEVEL);
}

/**
 * Decompresses what passes; it fails where that was altered. A cut at the end can pass unnoticed: that is for the digest
 * of the file and for whoever reads the content. Closed, it has no child process any more.
 */
export async function decompression(): Promise<Duplex> {
  return await hasProgram() ? new ProgramStream(['-q', '-c', '-d']) : new NodeDecompression();
}

/**
 * Compresses what it is given into an open file; it finishes when the program has ended, before the file is lasting. Closed,
 * it has no child process any more. Null where there is no zstd program. It fails with a system error, `code` and all,
 * where the file could not be written.
 */
export async function compressionInto(file: number): Promise<Writable | null> {
  return await hasProgram() ? new ProgramWriter(file) : null;
}

/** What of a frame in an open file cannot be decompressed to what its check sum says; null: nothing, or there is no program. */
export async function flawOf(file: number, signal: AbortSignal): Promise<string | null> {
  if (!await hasProgram()) return null;
  const failure = failureOf(await killedBy(signal, start(PROGRAM, ['-q', '-t'], { stdin: file })).exit);
  if (failure instanceof GatewayError) throw failure;
  return failure === null ? null : failure.message;
}

/** Settles when a stream that has ended or failed has let go of everything. */
export async function closed(stream: Writable): Promise<void> {
  stream.destroy();
  if (!stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve));
}

type Done = (error?: Error | null) => void;

/** Gives the program a piece; where it takes no more, how it ended says why. Tens of thousands of times: without promises. */
function give(child: Child, data: Buffer, done: Done): void {
  child.stdin!.write(data, (error) => {
    if (error == null) {
      release(data);
      done();
    } else {
      refused(child, error, done);
    }
  });
}

function refused(child: Child, error: Error, done: Done): void {
  void failureIn(child).then((failure) => done(failure ?? error));
}

/** Ends the program, and waits until it is gone. */
function letGo({ stdin, stdout, exit, kill }: Child, reason: Error | null, done: Done): void {
  kill();
  stdin!.destroy();
  stdout?.destroy();
  exit.then(() => done(reason), () => done(reason));
}

/** Passes everything through the program. */
class ProgramStream extends Duplex {
  readonly #child: Child;

  constructor(args: readonly string[]) {
    super({ readableHighWaterMark: 512 * 1024, writableHighWaterMark: 256 * 1024 });
    this.#child = start(PROGRAM, args, { stdin: true, stdout: true });
    const output = this.#child.stdout!;
    output.on('data', (piece: Buffer) => {
      if (!this.push(handOver(piece))) output.pause();
    });
    output.on('end', () => void this.#end());
    // What fails to start has no output that ends.
    this.#child.exit.catch((error: unknown) => this.destroy(error as Error));
  }

  override _read(): void {
    this.#child.stdout!.resume();
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: Done): void {
    give(this.#child, data, done);
  }

  override _final(done: Done): void {
    this.#child.stdin!.end();
    done();
  }

  override _destroy(reason: Error | null, done: Done): void {
    letGo(this.#child, reason, done);
  }

  async #end(): Promise<void> {
    const failure = await failureIn(this.#child);
    if (this.destroyed) return;
    if (failure === null) this.push(null);
    else this.destroy(failure);
  }
}

/** Has the program write into an open file. */
class ProgramWriter extends Writable {
  readonly #child: Child;

  constructor(file: number) {
    super({ highWaterMark: 256 * 1024 });
    this.#child = start(PROGRAM, COMPRESSING, { stdin: true, stdout: file });
    // One that ends by itself before its input does has failed.
    void failureIn(this.#child).then((failure) => {
      if (failure !== null) this.destroy(failure);
    });
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: Done): void {
    give(this.#child, data, done);
  }

  override _final(done: Done): void {
    this.#child.stdin!.end();
    void failureIn(this.#child).then(done);
  }

  override _destroy(reason: Error | null, done: Done): void {
    letGo(this.#child, reason, done);
  }
}

const failureIn = (child: Child): Promise<Error | null> => child.exit.then(failureOf, (error: Error) => error);

/** As the C library words them. */
const SYSTEM_ERRORS: Record<string, string> = {
  'No space left on device': 'ENOSPC', 'Disk quota exceeded': 'EDQUOT', 'Read-only file system': 'EROFS', 'Input/output error': 'EIO',
  'Stale file handle': 'ESTALE', 'File too large': 'EFBIG',
};

/** Why the program did not do its work; null: it did. */
function failureOf({ code, signal, stderr }: Exit): Error | null {
  // Whoever ended it has said nothing about what passed.
  if (signal !== null) return ioFault(new Error(`${PROGRAM} was ended by ${signal}`), 'The work was cut short');
  if (code === 0) return null;
  const reason = stderr.trim().split('\n').at(-1) || `${PROGRAM} ended with code ${code}`;
  const [, errno] = Object.entries(SYSTEM_ERRORS).find(([words]) => reason.includes(words)) ?? [];
  return Object.assign(new Error(reason), errno === undefined ? {} : { code: errno });
}
