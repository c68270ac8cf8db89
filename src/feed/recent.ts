/**
 * The last rows of the feed, in memory: whoever comes back after a short while is told what it missed without asking the
 * database, however many come back at once.
 */
import type { TransitionRow } from '../records/rows.ts';

export class RecentRows {
  readonly #limit: number;
  #rows: TransitionRow[] = [];
  /** Everything after this position is here. */
  #since: number;

  /** @param limit how many rows are kept at least, once there were as many; at most twice as many are */
  constructor(since: number, limit: number) {
    this.#since = since;
    this.#limit = limit;
  }

  /** Whether nothing after the position is missing here. */
  covers(position: number): boolean {
    return position >= this.#since;
  }

  add(row: TransitionRow): void {
    this.#rows.push(row);
    if (this.#rows.length <= 2 * this.#limit) return;
    this.#since = this.#rows[this.#limit - 1]!.position;
    this.#rows = this.#rows.slice(this.#limit);
  }

  /** Rows were committed that nobody will see here: what is here begins anew after them. */
  skipTo(position: number): void {
    this.#rows = [];
    this.#since = position;
  }

  /** The rows after a position that is covered, in their order, as many as there are when they are asked for. */
  * after(position: number): Generator<TransitionRow, void> {
    const rows = this.#rows;
    let [low, high] = [0, rows.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (rows[middle]!.position <= position) low = middle + 1;
      else high = middle;
    }
    for (; low < rows.length; low += 1) yield rows[low]!;
  }
}
