/**
 * zstd as streams: the zstd program of this machine, or Node's own where there is none. Both write and read the same
 * format.
 */
import { Duplex } from 'node:stream';
import type { Writable } from 'node:stream';
import { ioFault } from './faults.ts';
import { handOver } from './memory.ts';
import { feed, run, start } from './process.ts';
import type { Child, Exit } from './process.ts';
import { NodeCompression, NodeDecompression } from './zstd-node.ts';

/** zstd's own default: a better ratio than gzip at several times its speed. */
const COMPRESSION_LEVEL = 3;
const PROGRAM = 'zstd';

/** One thread: more of them take more memory, and the other processors read and digest meanwhile. */
const COMPRESSING = ['-q', '-c', `-${COMPRESSION_LEVEL}`, '-T1', '--check'];

let found: Promise<boolean> | undefined;

/** Whether the program is on the PATH. Looks again the next time where it is not. */
export async function hasProgram(): Promise<boolean> {
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

/** Starts the program, which must be there, to compress what it reads into an open file or the input of another child. */
export const startCompressing = (stdout: number | Writable): Child => start(PROGRAM, COMPRESSING, { stdin: true, stdout });

/** Starts the program, which must be there, to decompress what it reads, and to compare it with its check sum. */
export const startTesting = (): Child => start(PROGRAM, ['-q', '-t'], { stdin: true });

/** Settles when a stream that has ended or failed has let go of everything. */
export async function closed(stream: Writable): Promise<void> {
  stream.destroy();
  if (!stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve));
}

type Done = (error?: Error | null) => void;

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
    feed(this.#child.stdin!, data, () => failureIn(this.#child), done);
  }

  override _final(done: Done): void {
    this.#child.stdin!.end();
    done();
  }

  override _destroy(reason: Error | null, done: Done): void {
    const { stdin, stdout, exit, kill } = this.#child;
    kill();
    stdin!.destroy();
    stdout!.destroy();
    exit.then(() => done(reason), () => done(reason));
  }

  async #end(): Promise<void> {
    const failure = await failureIn(this.#child);
    if (this.destroyed) return;
    if (failure === null) this.push(null);
    else this.destroy(failure);
  }
}

const failureIn = (child: Child): Promise<Error | null> => child.exit.then(failureOf, (error: Error) => error);

/** As the C library words them. */
const SYSTEM_ERRORS: Record<string, string> = {
  'No space left on device': 'ENOSPC', 'Disk quota exceeded': 'EDQUOT', 'Read-only file system': 'EROFS', 'Input/output error': 'EIO',
  'Stale file handle': 'ESTALE', 'File too large': 'EFBIG',
};

/** Why the program did not do its work; null: it did. */
export function failureOf({ code, signal, stderr }: Exit): Error | null {
  // Whoever ended it has said nothing about what passed.
  if (signal !== null) return ioFault(new Error(`${PROGRAM} was ended by ${signal}`), 'The work was cut short');
  if (code === 0) return null;
  const reason = stderr.trim().split('\n').at(-1) || `${PROGRAM} ended with code ${code}`;
  const [, errno] = Object.entries(SYSTEM_ERRORS).find(([words]) => reason.includes(words)) ?? [];
  return Object.assign(new Error(reason), errno === undefined ? {} : { code: errno });
}
