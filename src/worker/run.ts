/**
 * One claimed job at work: its hold on the row, the sign of life that keeps it, and how it can end.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledError, GatewayError } from '../domain/errors.ts';
import { LEASE_SECONDS, noteMessage, noteProgress, renewLease, type Hold, type JobProgress } from '../records/jobs.ts';
import type { JobRow } from '../records/rows.ts';
import type { WorkerContext } from './context.ts';

/** Several signs of life fit into one lease, so that a slow database loses no job. */
const RENEWAL_INTERVAL = (LEASE_SECONDS * 1_000) / 4;
/** How often progress is written at most, in milliseconds. */
const PROGRESS_INTERVAL = 250;

/** Another worker has the job, or may have it: whatever this one still does must not be published. */
export class JobLostError extends GatewayError {
  override readonly name = 'JobLostError';

  constructor() {
    super('JOB_LOST', 'The job was taken over by another worker.', '');
  }
}

/** The worker is stopping; the job goes back to the queue. */
export class WorkerStoppedError extends GatewayError {
  override readonly name = 'WorkerStoppedError';

  constructor() {
    super('WORKER_STOPPED', 'The worker is being stopped.', '');
  }
}

/** A job while this worker holds it. */
export class Run {
  readonly job: JobRow;
  readonly hold: Hold;
  readonly #context: WorkerContext;
  readonly #abort = new AbortController();
  readonly #ended = new AbortController();
  #lastRenewal = performance.now();
  #pendingProgress: JobProgress | null = null;
  #writing: Promise<void> | null = null;
  #noting: Promise<void> = Promise.resolve();

  constructor(context: WorkerContext, job: JobRow) {
    this.#context = context;
    this.job = job;
    this.hold = { id: job.id, epoch: job.epoch };
  }

  /** Aborted with the reason why the work must end: cancelled, lost, or the worker stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Keeps the lease until `end`. */
  async keepAlive(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await sleep(RENEWAL_INTERVAL, undefined, { signal: this.#ended.signal }).catch(() => undefined);
      if (!this.#ended.signal.aborted) await this.check();
    }
  }

  /** Renews the lease now, and aborts the work where it is cancelled or lost. */
  async check(): Promise<void> {
    try {
      const status = await renewLease(this.#context.db, this.hold);
      if (status === undefined) this.#abort.abort(new JobLostError());
      else if (status === 'CANCELLING') this.#abort.abort(new CancelledError());
      else this.#lastRenewal = performance.now();
    } catch {
      // The database is away. Once the lease may have ended, another worker may have the job.
      if (performance.now() - this.#lastRenewal > LEASE_SECONDS * 1_000) this.#abort.abort(new JobLostError());
    }
  }

  /** Proves, right before something is made visible, that the job is still this worker's and not cancelled. */
  async mustStillHold(): Promise<void> {
    const status = await renewLease(this.#context.db, this.hold);
    if (status === undefined) throw new JobLostError();
    if (status === 'CANCELLING') throw new CancelledError();
    this.signal.throwIfAborted();
  }

  /** Gives the work up because the worker stops. */
  stop(): void {
    this.#abort.abort(new WorkerStoppedError());
  }

  /** Notes progress, the latest value at intervals. */
  progress(progress: JobProgress): void {
    this.#pendingProgress = progress;
    this.#writing ??= this.#write().catch(() => undefined).finally(() => { this.#writing = null; });
  }

  async #write(): Promise<void> {
    // After the end the last value is still written: it says 100 percent.
    while (this.#pendingProgress !== null) {
      const progress = this.#pendingProgress;
      this.#pendingProgress = null;
      await noteProgress(this.#context.db, this.hold, progress);
      await sleep(PROGRESS_INTERVAL, undefined, { signal: this.#ended.signal }).catch(() => undefined);
    }
  }

  /** Notes what a person may want to know and that is no failure: in the log, and among the job's messages. */
  note(text: string): void {
    this.#context.log.warn({ jobId: this.job.jobId }, text);
    this.#noting = this.#noting.then(() => noteMessage(this.#context.db, this.hold, text)).catch(() => undefined);
  }

  /** Ends the sign of life and waits for progress and notes under way, so that nothing is written after the end. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#writing;
    await this.#noting;
  }
}
