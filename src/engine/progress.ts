/**
 * Reports progress at most every 100 ms, however often the work moves.
 */
import type { Progress } from './contract.ts';

const INTERVAL_MS = 100;

export class Meter {
  readonly #report: (progress: Progress) => void;
  readonly #progress: Progress = { bytesDone: 0, bytesTotal: null, filesDone: 0, filesTotal: null };
  #lastReport = Number.NEGATIVE_INFINITY;

  constructor(report: (progress: Progress) => void) {
    this.#report = report;
  }

  /** Sets what there is to do, the part that is done already included, and reports. */
  expect(bytes: number, files: number): void {
    this.#progress.bytesTotal = Math.max(bytes, this.#progress.bytesDone);
    this.#progress.filesTotal = Math.max(files, this.#progress.filesDone);
    // Not counted as one of the intervals' reports: the first work done is told at once.
    this.#report({ ...this.#progress });
  }

  /** Counts work done, and reports when it is time to. Totals that prove too small grow with it. */
  add(bytes: number, files: number): void {
    const progress = this.#progress;
    progress.bytesDone += bytes;
    progress.filesDone += files;
    if (progress.bytesTotal !== null) progress.bytesTotal = Math.max(progress.bytesTotal, progress.bytesDone);
    if (progress.filesTotal !== null) progress.filesTotal = Math.max(progress.filesTotal, progress.filesDone);
    if (performance.now() - this.#lastReport >= INTERVAL_MS) this.#send();
  }

  /** Reports the end: done is total. */
  finish(): void {
    this.#progress.bytesTotal = this.#progress.bytesDone;
    this.#progress.filesTotal = this.#progress.filesDone;
    this.#send();
  }

  #send(): void {
    this.#lastReport = performance.now();
    this.#report({ ...this.#progress });
  }
}
