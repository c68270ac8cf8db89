/**
 * A store that is a prefix of a bucket: of AWS, or of any server of the S3 protocol.
 *
 * Each backup has a prefix of its own. Marks beside its objects say what a dead process had begun (`s3-backup.ts`).
 */
import type { S3Spec } from '../../domain/deployment.ts';
import { EngineError, GatewayError } from '../../domain/errors.ts';
import type { StoreState } from '../contract.ts';
import { MANIFEST_FILE } from '../manifest.ts';
import { requireAttempt, requireBackupName } from '../names.ts';
import type { BackupFiles, BackupWriter, Store } from './contract.ts';
import { attemptOf, erase, PARTIAL_MARK, REMOVING_MARK, S3Files, S3Writer } from './s3-backup.ts';
import { Bucket, md5 } from './s3-bucket.ts';

/** A store that does not answer by then is away. */
const ANSWER_LIMIT_MS = 5_000;
/** For how long a failing look is tried again. */
const LOOK_PATIENCE_MS = 2_000;
/** How long a store that took a byte is thought to take more: each trial is billed. */
const TRUSTED_MS = 60_000;
/** The key under which writing is tried, as an upload that is never completed. */
const TRIAL_KEY = '.trial';
/** A trial takes seconds. */
const OLD_TRIAL_MS = 60 * 60_000;

/**
 * The store in a bucket. Touches nothing yet. It keeps connections, so that callers keep it as long as its declaration
 * stands.
 *
 * Credentials are found by the SDK: in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, in the profile, or from the
 * machine's role.
 */
export const openS3Store = (spec: S3Spec): Store => new S3Store(new Bucket(spec));

export class S3Store implements Store {
  readonly label: string;
  readonly localPath = null;
  readonly #bucket: Bucket;
  #trustedUntil = 0;
  /** Under way, also after somebody no longer waits for it. */
  #trial: Promise<void> | null = null;
  /** Removals that publications still need: a store that went away or turned read-only in that moment refused them. */
  #untidied: (() => Promise<void>)[] = [];

  constructor(bucket: Bucket) {
    this.#bucket = bucket;
    this.label = bucket.label;
  }

  async check(): Promise<StoreState> {
    const manner = { signal: AbortSignal.timeout(ANSWER_LIMIT_MS), patience: LOOK_PATIENCE_MS };
    try {
      await this.#bucket.look(manner);
      if (performance.now() >= this.#trustedUntil) {
        this.#trial ??= this.#tryWriting().finally(() => { this.#trial = null; });
        await Promise.race([this.#trial, rejectedBy(manner.signal)]);
      }
      this.#tidyUp();
      return { status: 'READY', freeBytes: null, totalBytes: null, detail: null, isReadable: true, isSilent: false };
    } catch (error) {
      this.#trustedUntil = 0;
      const isFull = error instanceof EngineError && error.code === 'STORE_FULL';
      return { status: isFull ? 'FULL' : 'UNREACHABLE', freeBytes: null, totalBytes: null, detail: this.#explain(error, manner.signal.aborted), isReadable: isFull, isSilent: false };
    }
  }

  /** A bucket that is not there does not look like one that is empty. */
  async isMarked(): Promise<boolean> {
    return true;
  }

  async mark(): Promise<void> {}

  /** Beside the look, which has to be quick. */
  #tidyUp(): void {
    for (const tidy of this.#untidied.splice(0)) void tidy().catch(() => void this.#untidied.push(tidy));
  }

  /** Writes a byte and takes it back, however long that takes. */
  async #tryWriting(): Promise<void> {
    const byte = Buffer.from('.');
    const manner = { patience: LOOK_PATIENCE_MS };
    const uploadId = await this.#bucket.beginUpload(TRIAL_KEY, manner);
    await this.#bucket.uploadPart(TRIAL_KEY, uploadId, 1, byte, md5(byte), manner).finally(() => this.#bucket.abortUpload(TRIAL_KEY, uploadId));
    this.#trustedUntil = performance.now() + TRUSTED_MS;
  }

  async list(): Promise<string[]> {
    const names: string[] = [];
    for await (const { key } of this.#bucket.list('')) {
      const [name, file, deeper] = key.split('/');
      if (name !== undefined && name !== '' && !name.startsWith('.') && file === MANIFEST_FILE && deeper === undefined) names.push(name);
    }
    return names.sort();
  }

  async has(name: string): Promise<boolean> {
    requireBackupName(name);
    return await this.#bucket.size(`${name}/${MANIFEST_FILE}`) !== null;
  }

  open(name: string): BackupFiles {
    requireBackupName(name);
    return new S3Files(this.#bucket, name);
  }

  async begin(name: string, attempt: string): Promise<BackupWriter> {
    requireBackupName(name);
    requireAttempt(attempt);
    return await S3Writer.begin(this.#bucket, name, attempt, (tidy) => void this.#untidied.push(tidy));
  }

  async remove(name: string): Promise<void> {
    requireBackupName(name);
    await erase(this.#bucket, name);
  }

  async sweep(isLeftover: (attempt: string) => boolean): Promise<string[]> {
    // Uploads first: each has begun after the mark of its backup was there, and ends before the mark goes.
    const uploads = await this.#bucket.uploads('');
    const partial = new Set<string>();
    const removing = new Set<string>();
    for await (const { key } of this.#bucket.list('')) {
      const [name = '', file, deeper] = key.split('/');
      if (name === '' || name.startsWith('.') || deeper !== undefined) continue;
      if (file === PARTIAL_MARK) partial.add(name);
      if (file === REMOVING_MARK) removing.add(name);
    }
    const swept: string[] = [];
    for (const name of new Set([...removing, ...partial])) {
      if (removing.has(name)) {
        await erase(this.#bucket, name);
        swept.push(name);
        continue;
      }
      const mark = await this.#bucket.text(`${name}/${PARTIAL_MARK}`);
      if (mark === null || !isLeftover(attemptOf(mark))) continue;
      if (!await this.has(name) && await erase(this.#bucket, name, { isUnfinished: true })) swept.push(name);
      // Published, and killed before the mark could go.
      else await this.#bucket.delete(`${name}/${PARTIAL_MARK}`);
    }
    for (const { key, uploadId, initiated } of uploads) {
      if (this.#isOrphan(key, initiated, partial)) await this.#bucket.abortUpload(key, uploadId);
    }
    return swept;
  }

  async strays(): Promise<string[]> {
    const [seen, known] = [new Set<string>(), new Set<string>()];
    for await (const { key } of this.#bucket.list('')) {
      const [name = '', file, deeper] = key.split('/');
      if (name === '' || name.startsWith('.') || file === undefined) continue;
      seen.add(name);
      if (deeper === undefined && [MANIFEST_FILE, PARTIAL_MARK, REMOVING_MARK].includes(file)) known.add(name);
    }
    return [...seen.difference(known)];
  }

  locationOf(name: string): string {
    return `${this.label}/${name}`;
  }

  /** Whether nobody can be at work on an upload. Without a prefix, the bucket may hold uploads of others. */
  #isOrphan(key: string, initiated: Date | null, partial: ReadonlySet<string>): boolean {
    if (key === TRIAL_KEY) return initiated !== null && Date.now() - initiated.getTime() > OLD_TRIAL_MS;
    const [name = '', , deeper] = key.split('/');
    return this.#bucket.spec.prefix !== '' && deeper === undefined && !partial.has(name);
  }

  #explain(error: unknown, isLate: boolean): string {
    if (isLate) return `${this.label} did not answer within ${ANSWER_LIMIT_MS / 1000} s. See that its server runs and can be reached from the worker.`;
    return error instanceof GatewayError ? error.advice : String(error);
  }
}

const rejectedBy = (signal: AbortSignal): Promise<never> => new Promise((_, reject) => {
  signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
});
