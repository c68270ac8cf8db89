/**
 * The requests that a store makes of its bucket: retried for a bounded time, and failing with the engine's errors.
 */
import { createHash, getFips } from 'node:crypto';
import { createRequire } from 'node:module';
import type { Readable } from 'node:stream';
import type * as Sdk from '@aws-sdk/client-s3';
import type { ListMultipartUploadsCommandInput, ListMultipartUploadsCommandOutput, S3Client } from '@aws-sdk/client-s3';
import type { S3Spec } from '../../domain/deployment.ts';
import { EngineError } from '../../domain/errors.ts';
import { isConditionFailed, isNoSuch, isNotImplemented, isPassing, s3Fault, symptomsOf } from './s3-faults.ts';

/** How long the store waits, in milliseconds. */
export interface Times {
  /** For a connection. */
  connect: number;
  /** While nothing moves on a connection, before the request counts as failed. */
  silence: number;
  /** The same for requests that make a server look at every part of a large object before it answers. */
  longSilence: number;
  /** With a failing request, trying it again. */
  patience: number;
  /** Tries at least, also of a request that takes longer than that by itself, such as a large part over a slow line. */
  tries: number;
  /** With tidying up after a failure, the rest of which is left to the sweep. */
  tidying: number;
}
/** A server that is gone makes a job fail after half a minute; one that is restarted meanwhile does not. */
export const TIMES: Times = { connect: 5_000, silence: 15_000, longSilence: 60_000, patience: 30_000, tries: 4, tidying: 10_000 };
/** Tries that a server leaves without an answer. */
const MOST_SILENT_TRIES = 2;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 3_000;

export interface Part { PartNumber: number; ETag: string | undefined }
export interface Upload { key: string; uploadId: string; initiated: Date | null }
export interface Listed { key: string; size: number }
export interface Opened { size: number; etag: string | undefined; body: Readable }

/** How a request is made: `signal` ends it, `patience` (milliseconds) bounds its tries. */
export interface Manner { signal?: AbortSignal; patience?: number }

let loaded: typeof Sdk | undefined;
/** Loaded with the first store in S3: most processes have none, and start sooner without. */
const sdk = (): typeof Sdk => loaded ??= createRequire(import.meta.url)('@aws-sdk/client-s3') as typeof Sdk;

type Send<Output> = (client: S3Client, options: { abortSignal?: AbortSignal }) => Promise<Output>;

/** A bucket, seen through a prefix: keys given and answered are those behind it. */
export class Bucket {
  /** `s3://bucket/prefix`, without a slash at its end. */
  readonly label: string;
  readonly spec: S3Spec;
  readonly times: Times;
  readonly #root: string;
  readonly #client: S3Client;
  readonly #slowClient: S3Client;
  #hasConditions = true;

  constructor(spec: S3Spec, times = TIMES) {
    this.spec = spec;
    this.times = times;
    this.#root = spec.prefix === '' ? '' : `${spec.prefix}/`;
    this.label = `s3://${[spec.bucket, spec.prefix].filter((part) => part !== '').join('/')}`;
    this.#client = connect(spec, times.connect, times.silence);
    this.#slowClient = connect(spec, times.connect, times.longSilence);
  }

  /** @throws EngineError as every request here: STORE_UNREACHABLE, STORE_FULL */
  async look(manner: Manner = {}): Promise<void> {
    try {
      await this.#send((client, options) => client.send(new (sdk().HeadBucketCommand)({ Bucket: this.spec.bucket }), options), manner);
    } catch (error) {
      // The answer to a HEAD has no text that says what is wrong; the one to a list has.
      if (!isMute(error)) throw this.fault(error);
      await this.#page({ Prefix: this.#root, MaxKeys: 1 }, manner);
    }
  }

  /** Everything below a prefix. @param pageSize how many at once; the server's own measure, 1,000 as a rule */
  async *list(prefix: string, manner: Manner = {}, pageSize?: number): AsyncGenerator<Listed> {
    let token: string | undefined;
    do {
      const page = await this.#page({ Prefix: this.#root + prefix, ContinuationToken: token, MaxKeys: pageSize }, manner);
      const decode = decoder(page.EncodingType);
      for (const { Key, Size } of page.Contents ?? []) {
        if (Key !== undefined) yield { key: decode(Key).slice(this.#root.length), size: Size ?? 0 };
      }
      const next = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      // What looks like the end and is none would make backups look missing.
      if (page.IsTruncated === true && (next === undefined || next === token)) throw this.fault(new Error('the server does not say how its list goes on'));
      token = next;
    } while (token !== undefined);
  }

  /** Length of an object; null where there is none. @param isAgain whether it has been asked for before in vain */
  async size(key: string, manner: Manner = {}, isAgain = false): Promise<number | null> {
    try {
      const { ContentLength, ETag } = await this.#send((client, options) => client.send(new (sdk().HeadObjectCommand)(this.#at(key)), options), manner);
      // A web page that something on the way answers instead would look like an object.
      if (ETag === undefined || ContentLength === undefined) throw new Error(`the answer for ${key} could not be parsed`);
      return ContentLength;
    } catch (error) {
      if (!isMute(error)) throw this.fault(error);
      // Whether the object or the whole bucket is missing, a HEAD does not say.
      const { Contents = [], EncodingType } = await this.#page({ Prefix: this.#root + key, MaxKeys: 1 }, manner);
      const isListed = Contents.some(({ Key = '' }) => decoder(EncodingType)(Key) === this.#root + key);
      // A bucket that was away for the first of the two requests only has not lost its objects.
      if (isNoSuch(error) && isListed && !isAgain) return await this.size(key, manner, true);
      if (isNoSuch(error)) return null;
      // Nor whether it was a right or the clock: the SDK has learnt the server's time from the answer, and signs by it now.
      if (symptomsOf(error).status === 403 && !isAgain) return await this.size(key, manner, true);
      throw this.fault(error);
    }
  }

  /** Opens an object, or what follows its first bytes where it still is the one with this tag; null: there is none. */
  async get(key: string, range: { start: number; etag?: string } = { start: 0 }, manner: Manner = {}): Promise<Opened | null> {
    const input = { ...this.#at(key), ...(range.start > 0 ? { Range: `bytes=${range.start}-` } : {}), IfMatch: range.etag };
    try {
      const { Body, ContentLength, ContentRange, ETag } = await this.#send((client, options) => client.send(new (sdk().GetObjectCommand)(input), options), manner);
      const size = ContentRange === undefined ? ContentLength : Number(ContentRange.split('/')[1]);
      if (Body === undefined || size === undefined || (range.start > 0 && ContentRange === undefined)) throw new Error(`the answer for ${key} lacks its length or its range`);
      return { size, etag: ETag, body: Body as Readable };
    } catch (error) {
      if (isNoSuch(error)) return null;
      throw isConditionFailed(error) ? changed(key, error) : this.fault(error);
    }
  }

  /** The content of a small object; null where there is none. */
  async text(key: string): Promise<string | null> {
    const opened = await this.get(key);
    if (opened === null) return null;
    try {
      return Buffer.concat(await opened.body.toArray()).toString('utf8');
    } catch (error) {
      throw this.fault(error);
    }
  }

  /** Writes an object; with `isNew`, one that must not exist. */
  async put(key: string, body: Buffer, isNew: boolean, manner: Manner = {}): Promise<void> {
    const input = { ...this.#at(key), Body: body, ContentMD5: md5(body) };
    const isConditional = isNew && this.#hasConditions;
    try {
      if (isNew && !isConditional && await this.size(key, manner) !== null) throw this.taken(key);
      await this.#send((client, options) => client.send(new (sdk().PutObjectCommand)({ ...input, IfNoneMatch: isConditional ? '*' : undefined }), options), manner);
    } catch (error) {
      if (isConditional && isNotImplemented(error)) {
        this.#hasConditions = false;
        return await this.put(key, body, isNew, manner);
      }
      if (!isConditional || !isConditionFailed(error)) throw this.fault(error);
      // A first try may have gone well although its answer was lost.
      if (!await this.#holds(key, body, manner)) throw this.taken(key);
    }
  }

  async #holds(key: string, body: Buffer, manner: Manner): Promise<boolean> {
    const found = await this.get(key, { start: 0 }, manner);
    if (found === null) return false;
    if (found.size !== body.length) {
      found.body.destroy();
      return false;
    }
    return await found.body.toArray().then((pieces) => Buffer.concat(pieces).equals(body), (error: unknown) => {
      throw this.fault(error);
    });
  }

  async delete(key: string, manner: Manner = {}): Promise<void> {
    await this.#send((client, options) => client.send(new (sdk().DeleteObjectCommand)(this.#at(key)), options), manner, this.#slowClient).catch((error: unknown) => {
      if (!isNoSuch(error)) throw this.fault(error);
    });
  }

  /** Begins an upload in parts. @returns its id */
  async beginUpload(key: string, manner: Manner = {}): Promise<string> {
    const input = { ...this.#at(key), ContentType: 'application/octet-stream' };
    const { UploadId } = await this.#faulty((client, options) => client.send(new (sdk().CreateMultipartUploadCommand)(input), options), manner);
    if (UploadId === undefined) throw this.fault(new Error('the server gave no id for an upload'));
    return UploadId;
  }

  /** @param checksum MD5 of the body, base64, which makes the server compare what it got */
  async uploadPart(key: string, uploadId: string, nth: number, body: Buffer, checksum: string | undefined, manner: Manner): Promise<Part> {
    const input = { ...this.#at(key), UploadId: uploadId, PartNumber: nth, Body: body, ContentMD5: checksum };
    const { ETag } = await this.#faulty((client, options) => client.send(new (sdk().UploadPartCommand)(input), options), manner);
    return { PartNumber: nth, ETag };
  }

  /** Makes an object of its parts, which must not exist. */
  async completeUpload(key: string, uploadId: string, parts: Part[], size: number, manner: Manner): Promise<void> {
    const input = { ...this.#at(key), UploadId: uploadId, MultipartUpload: { Parts: parts }, IfNoneMatch: this.#hasConditions ? '*' : undefined };
    try {
      await this.#send((client, options) => client.send(new (sdk().CompleteMultipartUploadCommand)(input), options), manner, this.#slowClient);
    } catch (error) {
      if (input.IfNoneMatch !== undefined && isNotImplemented(error)) {
        this.#hasConditions = false;
        return await this.completeUpload(key, uploadId, parts, size, manner);
      }
      // Again, the first try may have gone well: the upload is gone then, and the object is there.
      if (!(isConditionFailed(error) || isNoSuch(error)) || await this.size(key, manner) !== size) throw this.fault(error);
    }
  }

  async abortUpload(key: string, uploadId: string, manner: Manner = {}): Promise<void> {
    const input = { ...this.#at(key), UploadId: uploadId };
    await this.#send((client, options) => client.send(new (sdk().AbortMultipartUploadCommand)(input), options), manner, this.#slowClient).catch((error: unknown) => {
      if (!isNoSuch(error)) throw this.fault(error);
    });
  }

  /** The unfinished uploads below a prefix; none where the server cannot list them. */
  async uploads(prefix: string, manner: Manner = {}): Promise<Upload[]> {
    const found: Upload[] = [];
    let keyMarker: string | undefined;
    let idMarker: string | undefined;
    try {
      for (;;) {
        const input: ListMultipartUploadsCommandInput = {
          Bucket: this.spec.bucket, Prefix: this.#root + prefix, EncodingType: 'url', KeyMarker: keyMarker, UploadIdMarker: idMarker,
        };
        const page: ListMultipartUploadsCommandOutput = await this.#send((client, options) => client.send(new (sdk().ListMultipartUploadsCommand)(input), options), manner);
        const decode = decoder(page.EncodingType);
        for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
          if (Key !== undefined && UploadId !== undefined) found.push({ key: decode(Key).slice(this.#root.length), uploadId: UploadId, initiated: Initiated ?? null });
        }
        const next = decode(page.NextKeyMarker ?? '');
        if (page.IsTruncated !== true || (next === keyMarker && page.NextUploadIdMarker === idMarker)) return found;
        keyMarker = next;
        idMarker = page.NextUploadIdMarker;
      }
    } catch (error) {
      if (isNotImplemented(error)) return found;
      throw this.fault(error);
    }
  }

  /** How to tidy up after a failure. */
  tidily(): Manner {
    return { signal: AbortSignal.timeout(this.times.tidying) };
  }

  /** The engine's error for what a request failed with. */
  fault(error: unknown): Error {
    return s3Fault(error, this.spec, this.label);
  }

  /** The error for a key that somebody else has written. */
  taken(key: string): EngineError {
    return new EngineError('STORE_UNREACHABLE', `The backup store ${this.label} already holds ${key}.`, 'Give each installation a prefix of its own, and start the job again.');
  }

  #at(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.spec.bucket, Key: this.#root + key };
  }

  async #page(query: { Prefix: string; MaxKeys?: number; ContinuationToken?: string }, manner: Manner) {
    const input = { Bucket: this.spec.bucket, EncodingType: 'url' as const, ...query };
    const page = await this.#faulty((client, options) => client.send(new (sdk().ListObjectsV2Command)(input), options), manner);
    // Again, a web page would look like an empty bucket.
    if (page.Name === undefined && page.KeyCount === undefined) throw this.fault(new Error('the list of objects could not be parsed'));
    return page;
  }

  async #faulty<Output>(send: Send<Output>, manner: Manner): Promise<Output> {
    return await this.#send(send, manner).catch((error: unknown) => {
      throw this.fault(error);
    });
  }

  /**
   * Makes a request, again and again while that may help. The SDK's own retries are off: they count tries, and so last
   * seconds or minutes, and they stop altogether for a client that has met a long outage.
   */
  async #send<Output>(send: Send<Output>, { signal, patience = this.times.patience }: Manner, client = this.#client): Promise<Output> {
    const start = performance.now();
    let silent = 0;
    for (let tries = 1; ; tries += 1) {
      try {
        return await send(client, { abortSignal: signal });
      } catch (error) {
        const symptoms = symptomsOf(error);
        if (symptoms.name === 'TimeoutError') silent += 1;
        const isOver = performance.now() - start >= patience;
        const isLast = isOver && (patience < this.times.patience || tries >= this.times.tries || silent >= MOST_SILENT_TRIES);
        if (signal?.aborted === true || !isPassing(symptoms) || isLast) throw error;
        await pause(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tries) * (0.5 + Math.random() / 2), signal);
      }
    }
  }
}

/** Whether a failure is the server's answer to a HEAD, of which only the status is known, and that does not say enough. */
const isMute = (error: unknown): boolean => symptomsOf(error).status >= 300 && !isPassing(symptomsOf(error));

/** MD5 of a body, base64, which every server of the protocol compares; nothing on a machine whose policy forbids MD5. */
export const md5 = (body: Buffer): string | undefined => (getFips() === 1 ? undefined : createHash('md5').update(body).digest('base64'));

function connect(spec: S3Spec, connectionTimeout: number, socketTimeout: number): S3Client {
  return new (sdk().S3Client)({
    region: spec.region,
    endpoint: spec.endpoint,
    forcePathStyle: spec.forcePathStyle ?? false,
    maxAttempts: 1,
    // Newer kinds of checksums are refused by older servers; MD5 and the signature's SHA-256 are compared by all.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // It would cost a connection of its own for each part.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout, socketTimeout,
      httpAgent: { keepAlive: true, maxSockets: 16 }, httpsAgent: { keepAlive: true, maxSockets: 16 },
    },
  });
}

/** Keys may hold what XML cannot, so that they are asked for in the form of an address. */
const decoder = (encoding: string | undefined) => (key: string): string => (encoding === 'url' ? decodeURIComponent(key.replaceAll('+', ' ')) : key);

const changed = (key: string, cause: unknown): EngineError =>
  new EngineError('DIGEST_MISMATCH', `${key} was replaced while it was read.`, 'Restore the object, or use another backup.', { cause });

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, ms);
    signal?.addEventListener('abort', end, { once: true });
    function end(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    }
  });
}
