/**
 * The faults of a deployment file, each with its line and column.
 */
import { isAbsolute, relative } from 'node:path';
import { ConfigError } from '../domain/errors.ts';

/** Where a value is in the file: `['hosts', 1, 'hostname']`. */
export type Pointer = readonly (string | number)[];

export interface Position {
  line: number;
  column: number;
}

/** Finds values of the file again in its text. */
export interface Locator {
  /** Where the value begins, or its key with `'key'`; where neither is there, the nearest thing around it. */
  positionOf(pointer: Pointer, part?: 'key' | 'value'): Position;
  /** A scalar as the file spells it, such as `7.10`. */
  spellingOf(pointer: Pointer): string | undefined;
}

/** More than anyone reads; a broken file of a mebibyte could have hundreds of thousands. */
const MOST_SHOWN = 100;

const HINT = 'Correct the file and start again.';

/** Collects faults, so that all are told at once. */
export class FaultList {
  readonly #file: string;
  readonly #locator: Locator;
  readonly #faults: (Position & { pointer: Pointer; message: string })[] = [];

  constructor(file: string, locator: Locator) {
    this.#file = file;
    this.#locator = locator;
  }

  add(pointer: Pointer, message: string, part: 'key' | 'value' = 'value'): void {
    this.#faults.push({ ...this.#locator.positionOf(pointer, part), pointer, message });
  }

  spellingOf(pointer: Pointer): string | undefined {
    return this.#locator.spellingOf(pointer);
  }

  /** The pointer of each fault so far. */
  pointers(): Pointer[] {
    return this.#faults.map((fault) => fault.pointer);
  }

  /** Whether there is a fault at the place or within it. */
  has(pointer: Pointer): boolean {
    return this.#faults.some((fault) => startsWith(fault.pointer, pointer));
  }

  /** @throws ConfigError with all faults, in the order of the file, if there are any. */
  throwIfAny(): void {
    if (this.#faults.length > 0) throw unusable(this.#file, this.#faults);
  }
}

export function startsWith(pointer: Pointer, prefix: Pointer): boolean {
  return prefix.every((part, index) => pointer[index] === part);
}

/** The error for a file with these faults. */
export function unusable(file: string, faults: readonly (Position & { message: string })[]): ConfigError {
  const name = displayPath(file);
  const lines = faults
    .toSorted((a, b) => a.line - b.line || a.column - b.column)
    .map((fault) => `${name}:${fault.line}:${fault.column}  ${fault.message}`);
  const shown = lines.slice(0, MOST_SHOWN);
  if (lines.length > MOST_SHOWN) shown.push(`… and ${lines.length - MOST_SHOWN} more`);
  const count = lines.length === 1 ? '1 fault' : `${lines.length} faults`;
  return new ConfigError(`${name} cannot be used: ${count}`, shown, HINT);
}

/** Relative where that is shorter to read, so that terminals and editors can open it. */
function displayPath(file: string): string {
  const short = relative(process.cwd(), file);
  return short === '' || short.startsWith('..') || isAbsolute(short) ? file : short;
}

/** A pointer as people write it: `hosts[1].data[0].directory`. */
export function spelled(pointer: Pointer): string {
  if (pointer.length === 0) return 'the file';
  return pointer.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? part : `.${part}`)).join('');
}

/**
 * A text without what stands between `://` and the last `@` after it, and without the value of a `password=`
 * parameter: an address may hold a password, whichever key it was written under.
 */
export function withoutSecrets(text: string): string {
  return text.replaceAll(/(:\/\/)[^\n]*@/g, '$1***@').replaceAll(/(password=)[^&\s"']+/gi, '$1***');
}

/** A value in a message, cut short and without secrets. */
export function quoted(value: unknown): string {
  const text = withoutSecrets(JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** The word among `known` that was most likely meant, if one is near enough. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .toSorted((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.candidate.length / 3)) ? best.candidate : undefined;
}

/** Letters to add, drop, change or swap with their neighbour to make `a` into `b`. */
function editDistance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 20) return Number.POSITIVE_INFINITY;
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, (before[j - 2] as number) + 1);
      next.push(least);
    }
    before = row;
    row = next;
  }
  return row[b.length] as number;
}
