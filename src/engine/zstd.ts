/**
 * zstd as streams: the zstd program of this machine, or Node's own where there is none. Both write and read the same
 * format.
 */
import { Duplex } from 'node:stream';
import { ioFault } from './faults.ts';
import { handOver, release } from './memory.ts';
import { run, start } from './process.ts';
import type { Child } from './process.ts';
import { NodeCompression, NodeDecompression } from './zstd-node.ts';

/** zstd's own default: a better ratio than gzip at several times its speed. */
const COMPRESSION_LEVEL = 3;
const PROGRAM = 'zstd';

let found: Promise<boolean> | undefined;

/** Whether the program is on the PATH. Looks again the next time where it is not. */
async function hasProgram(): Promise<boolean> {
  const isThere = await (found ??= run(PROGRAM, ['--version']).then(({ code }) => code === 0, () => false));
  if (!isThere) found = undefined;
  return isThere;
}

/** Compresses what passes into one frame with a check sum. Closed, it has no child process any more. */
export async function compression(): Promise<Duplex> {
  // One thread: more of them take more memory, and the other processors read and digest meanwhile.
  if (await hasProgram()) return new ProgramStream([`-${COMPRESSION_LEVEL}`, '-T1', '--check']);
  return new NodeCompression(COMPRESSION_LEVEL);
}

/**
 * Decompresses what passes; it fails where that was altered. A cut at the end can pass unnoticed: that is for the digest
 * of the file and for whoever reads the content. Closed, it has no child process any more.
 */
export async function decompression(): Promise<Duplex> {
  return await hasProgram() ? new ProgramStream(['-d']) : new NodeDecompression();
}

/** Settles when a stream that has ended or failed has let go of everything. */
export async function closed(stream: Duplex): Promise<void> {
  stream.destroy();
  if (!stream.closed) await new Promise<void>((resolve) => stream.once('close', resolve));
}

/** Passes everything through the program. */
class ProgramStream extends Duplex {
  readonly #child: Child;

  constructor(options: readonly string[]) {
    super({ readableHighWaterMark: 512 * 1024, writableHighWaterMark: 256 * 1024 });
    this.#child = start(PROGRAM, ['-q', '-c', ...options], { stdin: true, stdout: true });
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

  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#child.stdin!.write(data, (error) => {
      if (error == null) {
        release(data);
        done();
      } else {
        // How the program ended says more than that it takes no more.
        void this.#end().then(() => done(error));
      }
    });
  }

  override _final(done: () => void): void {
    this.#child.stdin!.end();
    done();
  }

  override _destroy(reason: Error | null, done: (error?: Error | null) => void): void {
    const { stdin, stdout, exit, kill } = this.#child;
    kill();
    stdin!.destroy();
    stdout!.destroy();
    exit.then(() => done(reason), () => done(reason));
  }

  async #end(): Promise<void> {
    try {
      const { code, signal, stderr } = await this.#child.exit;
      if (this.destroyed) return;
      // Whoever ended it has said nothing about what passed.
      if (signal !== null) this.destroy(ioFault(new Error(`${PROGRAM} was ended by ${signal}`), 'The work was cut short'));
      else if (code !== 0) this.destroy(new Error(stderr.trim().split('\n').at(-1) || `${PROGRAM} ended with code ${code}`));
      else this.push(null);
    } catch {
      // It never started, which has been told already.
    }
  }
}
