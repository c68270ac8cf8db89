/**
 * Node's own zstd, for a machine without the program: with its input in pieces that are worth the way to another thread,
 * and with memory that is given back at once. It takes three times the processor time to compress, ten times to decompress.
 */
import { Transform } from 'node:stream';
import type { TransformCallback } from 'node:stream';
import { constants, createZstdCompress, createZstdDecompress } from 'node:zlib';
import { handOver, release } from './memory.ts';

/** A pipe gives 64 KiB at most; each piece is a way to another thread and back. */
const PIECE = 256 * 1024;
/** One is filled while the others wait for the other thread. */
const PIECES = 3;

/** Passes the output of one of Node's streams on. */
abstract class Coder extends Transform {
  protected readonly zstd: Transform;

  constructor(zstd: Transform) {
    super({ readableHighWaterMark: 2 * PIECE, writableHighWaterMark: PIECE });
    this.zstd = zstd;
    zstd.on('data', (piece: Buffer) => {
      if (!this.push(handOver(piece))) zstd.pause();
    });
    zstd.on('error', (error) => this.destroy(error));
  }

  override _read(size: number): void {
    this.zstd.resume();
    super._read(size);
  }

  override _flush(done: TransformCallback): void {
    // Node ends a decompression with its last frame, which may be before it is told that no more comes.
    if (this.zstd.readableEnded) return done();
    this.zstd.once('end', () => done());
    this.zstd.end();
  }

  override _destroy(reason: Error | null, done: (error?: Error | null) => void): void {
    this.zstd.destroy();
    done(reason);
  }
}

/** Compresses what passes into one frame with a check sum. */
export class NodeCompression extends Coder {
  readonly #free: Buffer[] = Array.from({ length: PIECES - 1 }, () => Buffer.allocUnsafeSlow(PIECE));
  #piece: Buffer | null = Buffer.allocUnsafeSlow(PIECE);
  #filled = 0;
  #onFree: () => void = () => undefined;

  constructor(level: number) {
    super(createZstdCompress({
      chunkSize: PIECE, params: { [constants.ZSTD_c_compressionLevel]: level, [constants.ZSTD_c_checksumFlag]: 1 },
    }));
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#take(data, 0, done);
  }

  override _flush(done: TransformCallback): void {
    if (this.#piece !== null && this.#filled > 0) this.zstd.write(this.#piece.subarray(0, this.#filled));
    super._flush(done);
  }

  #take(data: Buffer, from: number, done: TransformCallback): void {
    for (let at = from; at < data.length;) {
      const piece = this.#piece ??= this.#free.pop() ?? null;
      if (piece === null) {
        this.#onFree = () => this.#take(data, at, done);
        return;
      }
      const copied = data.copy(piece, this.#filled, at);
      at += copied;
      this.#filled += copied;
      if (this.#filled === PIECE) this.#send(piece);
    }
    release(data);
    done();
  }

  #send(piece: Buffer): void {
    this.#piece = null;
    this.#filled = 0;
    // An error comes as an event.
    this.zstd.write(piece, (error) => {
      if (error != null) return;
      this.#free.push(piece);
      const onFree = this.#onFree;
      this.#onFree = () => undefined;
      onFree();
    });
  }
}

/** Decompresses what passes. A cut at the end can pass unnoticed. */
export class NodeDecompression extends Coder {
  constructor() {
    super(createZstdDecompress({ chunkSize: PIECE }));
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    // An error comes as an event.
    this.zstd.write(data, (error) => {
      if (error != null) return;
      release(data);
      done();
    });
  }
}
