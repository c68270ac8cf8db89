/**
 * Objects as streams: one that is read on where its connection broke, and one that is written in parts with little memory.
 */
import { createHash, getFips, type Hash } from 'node:crypto';
import { Readable, Writable } from 'node:stream';
import { EngineError } from '../../domain/errors.ts';
import type { Bucket, Opened, Part } from './s3-bucket.ts';

type Done = (error?: Error | null) => void;

const MEBIBYTE = 1024 * 1024;
const LEAST_PART = 8 * MEBIBYTE;
/**
 * The part of what is written already that the next one may be. A server takes 10,000 parts; they reach beyond 5 TiB, the
 * longest object of the protocol, at this rate of growth, and a higher one would only take more memory.
 */
const GROWTH = 1 / 1_300;
/** Parts under way at once, besides the one that is filled; large ones one at a time. */
const AT_ONCE = 2;
const LARGE_PART = 64 * MEBIBYTE;
/** Reopenings in a row of an object that brings no byte. */
const MOST_FRUITLESS = 3;

/** Length of the part that follows so many bytes: with these 10,000 suffice for any object. */
export function partSize(written: number): number {
  return Math.max(LEAST_PART, Math.ceil((written * GROWTH) / MEBIBYTE) * MEBIBYTE);
}

/** Reads an object from its beginning. Where the connection breaks, or was let go for its slowness, it goes on from there. */
export class ObjectReader extends Readable {
  readonly #bucket: Bucket;
  readonly #key: string;
  readonly #opened: Opened;
  readonly #ending = new AbortController();
  #body: Readable | null;
  #read = 0;
  #fruitless = 0;
  #isWanted = false;
  #isReopening = false;

  constructor(bucket: Bucket, key: string, opened: Opened) {
    super({ highWaterMark: MEBIBYTE });
    this.#bucket = bucket;
    this.#key = key;
    this.#opened = opened;
    this.#body = this.#follow(opened.body);
  }

  override _read(): void {
    this.#isWanted = true;
    if (this.#body !== null) this.#body.resume();
    else if (!this.#isReopening) this.#reopen();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#ending.abort();
    this.#body?.destroy();
    done(error);
  }

  #follow(body: Readable): Readable {
    let isOver = false;
    const over = (): void => {
      if (isOver || this.destroyed) return;
      isOver = true;
      this.#body = null;
      if (this.#read === this.#opened.size) this.push(null);
      // One that is not wanted now was most likely given up for standing still.
      else if (this.#isWanted) this.#reopen();
    };
    body.pause();
    return body.on('data', (piece: Buffer) => {
      this.#read += piece.length;
      this.#fruitless = 0;
      if (!this.push(piece)) {
        this.#isWanted = false;
        body.pause();
      }
    }).on('error', over).on('end', over).on('close', over);
  }

  #reopen(): void {
    this.#fruitless += 1;
    if (this.#fruitless > MOST_FRUITLESS) return void this.destroy(this.#bucket.fault(new Error(`${this.#key} stops after ${this.#read} bytes of ${this.#opened.size}`)));
    this.#isReopening = true;
    this.#bucket.get(this.#key, { start: this.#read, etag: this.#opened.etag }, { signal: this.#ending.signal }).then((opened) => {
      if (opened === null) throw new EngineError('FILE_MISSING', `${this.#key} was removed while it was read.`, 'Use another backup.');
      if (this.destroyed) return void opened.body.destroy();
      this.#isReopening = false;
      this.#body = this.#follow(opened.body);
      this._read();
    }).catch((error: Error) => this.destroy(error));
  }
}

/**
 * Writes an object that must not exist. Short ones are one request; others go in parts, of which few are held in memory. It
 * finishes when the server has the whole; destroyed before, it takes back what there is.
 */
export class ObjectWriter extends Writable {
  readonly #bucket: Bucket;
  readonly #key: string;
  readonly #onWhole: (size: number) => void;
  readonly #ending = new AbortController();
  readonly #underWay = new Set<Promise<void>>();
  readonly #parts: Part[] = [];
  readonly #spare: Buffer[] = [];
  #part: Buffer = Buffer.allocUnsafeSlow(0);
  #filled = 0;
  #hash: Hash | null = null;
  #size = 0;
  #uploadId: string | null = null;
  #isWhole = false;

  /** @param onWhole told the length, right before the stream finishes */
  constructor(bucket: Bucket, key: string, onWhole: (size: number) => void) {
    super({ highWaterMark: MEBIBYTE });
    this.#bucket = bucket;
    this.#key = key;
    this.#onWhole = onWhole;
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#take(data).then(() => done(), done);
  }

  override _final(done: Done): void {
    this.#end().then(() => done(), done);
  }

  override _destroy(reason: Error | null, done: Done): void {
    this.#ending.abort();
    const end = (): void => done(reason);
    this.#tidy().then(end, end);
  }

  async #take(data: Buffer): Promise<void> {
    for (let at = 0; at < data.length && !this.destroyed;) {
      if (this.#filled === this.#part.length) await this.#nextPart();
      const copied = data.copy(this.#part, this.#filled, at);
      this.#hash?.update(data.subarray(at, at + copied));
      at += copied;
      this.#filled += copied;
    }
    this.#size += data.length;
  }

  /** Sends the part that is full, if there is one, and makes room for another. */
  async #nextPart(): Promise<void> {
    if (this.#filled > 0) await this.#send();
    const length = partSize(this.#size);
    const spare = this.#spare.pop();
    this.#part = spare?.length === length ? spare : Buffer.allocUnsafeSlow(length);
    this.#filled = 0;
    this.#hash = getFips() === 1 ? null : createHash('md5');
  }

  async #send(): Promise<void> {
    const [manner, part, body] = [{ signal: this.#ending.signal }, this.#part, this.#part.subarray(0, this.#filled)];
    const checksum = this.#hash?.digest('base64');
    this.#uploadId ??= await this.#bucket.beginUpload(this.#key, manner);
    const nth = this.#parts.length + 1;
    // Its place is taken before it arrives.
    this.#parts.push({ PartNumber: nth, ETag: undefined });
    const sending = this.#bucket.uploadPart(this.#key, this.#uploadId, nth, body, checksum, manner).then((sent) => {
      this.#parts[nth - 1] = sent;
      this.#spare.push(part);
    }).catch((error: Error) => void this.destroy(error)).finally(() => this.#underWay.delete(sending));
    this.#underWay.add(sending);
    const limit = part.length > LARGE_PART ? 1 : AT_ONCE;
    while (this.#underWay.size >= limit && !this.destroyed) await Promise.race(this.#underWay);
  }

  async #end(): Promise<void> {
    const manner = { signal: this.#ending.signal };
    if (this.#uploadId === null && this.#size <= this.#part.length) {
      await this.#bucket.put(this.#key, this.#part.subarray(0, this.#filled), true, manner);
    } else {
      if (this.#filled > 0) await this.#send();
      await Promise.all(this.#underWay);
      if (this.destroyed || this.#uploadId === null) return;
      await this.#bucket.completeUpload(this.#key, this.#uploadId, this.#parts, this.#size, manner);
    }
    this.#isWhole = true;
    this.#onWhole(this.#size);
  }

  async #tidy(): Promise<void> {
    this.#part = Buffer.allocUnsafeSlow(0);
    this.#spare.length = 0;
    await Promise.all(this.#underWay);
    // An object that was about to be whole goes with its backup.
    if (this.#isWhole || this.#uploadId === null) return;
    await this.#bucket.abortUpload(this.#key, this.#uploadId, this.#bucket.tidily());
  }
}
