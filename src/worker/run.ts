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
/** How often it is looked whether the lease has ended, in milliseconds. */
const WATCH_INTERVAL = 500;
/** So that a network that swallows renewals does not take up every connection of the pool. */
const CHECKS_AT_ONCE = 2;
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
  readonly #away = new AbortController();
  readonly #ended = new AbortController();
  #lastRenewal: number;
  #checks = 0;
  #pendingProgress: JobProgress | null = null;
  #writing: Promise<void> | null = null;
  #noting: Promise<void> = Promise.resolve();

  /** `heldSince`: when the claim, or its renewal, was sent, by `performance.now()`; the lease began no earlier. */
  constructor(context: WorkerContext, job: JobRow, heldSince: number) {
    this.#context = context;
    this.#lastRenewal = heldSince;
    this.job = job;
    this.hold = { id: job.id, epoch: job.epoch };
  }

  /** Aborted with the reason why the work must end: cancelled, lost, or the worker stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Aborted where the job is no longer this worker's to bring to an end: lost, or the worker stops. Not by a cancellation. */
  get away(): AbortSignal {
    return this.#away.signal;
  }

  /** Ends the work with this reason, which is that of its failure. */
  giveUp(reason: GatewayError): void {
    this.#abort.abort(reason);
  }

  #leave(reason: JobLostError | WorkerStoppedError): void {
    this.#abort.abort(reason);
    this.#away.abort(reason);
  }

  /** Keeps the lease until `end`. */
  async keepAlive(): Promise<void> {
    // By this process's own clock, whatever becomes of a renewal that is under way: a dead network answers nothing.
    const watch = setInterval(() => {
      if (this.#isOverdue) this.#leave(new JobLostError());
    }, WATCH_INTERVAL);
    while (!this.#ended.signal.aborted) {
      await sleep(RENEWAL_INTERVAL, undefined, { signal: this.#ended.signal }).catch(() => undefined);
      // Not waited for: where one hangs, the next goes out on another connection.
      if (!this.#ended.signal.aborted && this.#checks < CHECKS_AT_ONCE) void this.check();
    }
    clearInterval(watch);
  }

  /** Renews the lease now, and aborts the work where it is cancelled or lost. Never throws. */
  async check(): Promise<void> {
    this.#checks += 1;
    try {
      await this.#renew();
    } catch (error) {
      if (error instanceof JobLostError) this.#leave(error);
      if (error instanceof CancelledError) this.#abort.abort(error);
      // Otherwise the database is away, and the watch decides.
    } finally {
      this.#checks -= 1;
    }
  }

  /** Proves, right before something is made visible, that the job is still this worker's and not cancelled. */
  async mustStillHold(): Promise<void> {
    await Promise.race([this.#renew(), this.#aborted]);
    this.signal.throwIfAborted();
    // Stopped or cut off for so long since the lease was renewed that another worker may have the job.
    if (this.#isOverdue) throw new JobLostError();
  }

  async #renew(): Promise<void> {
    // The lease is counted from when it was asked for: the answer may have been long on its way.
    const asked = performance.now();
    const status = await renewLease(this.#context.db, this.hold);
    if (status === undefined) throw new JobLostError();
    // Of a cancelled job too: bringing it to an end may take longer than a lease.
    this.#lastRenewal = Math.max(this.#lastRenewal, asked);
    if (status === 'CANCELLING') throw new CancelledError();
  }

  get #isOverdue(): boolean {
    return performance.now() - this.#lastRenewal > LEASE_SECONDS * 1_000;
  }

  /** Rejects once the work is aborted. */
  get #aborted(): Promise<never> {
    return new Promise((_resolve, reject) => {
      const abort = () => reject(this.signal.reason as Error);
      if (this.signal.aborted) abort();
      else this.signal.addEventListener('abort', abort, { once: true });
    });
  }

  /** Gives the work up because the worker stops. */
  stop(): void {
    this.#leave(new WorkerStoppedError());
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
  note(text: string, level: 'info' | 'warn' = 'warn'): void {
    this.#context.log[level]({ jobId: this.job.jobId }, text);
    this.#noting = this.#noting.then(() => noteMessage(this.#context.db, this.hold, text)).catch(() => undefined);
  }

  /** Waits until what was noted is written: a message comes too late once the job has its last status. */
  noted(): Promise<void> {
    return this.#noting;
  }

  /** Ends the sign of life and waits for progress and notes under way, so that nothing is written after the end. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#writing;
    await this.#noting;
  }
}
