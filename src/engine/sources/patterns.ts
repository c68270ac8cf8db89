/**
 * Which part of a directory is backed up: its include and exclude patterns.
 *
 * A pattern is a path from the directory down. `*` stands for any characters but a slash, `?` for one of them, `**` for
 * any number of directories; everything else stands for itself, and names that begin with a dot are names like others.
 * What lies below a match belongs to it. Without include patterns everything is taken; an exclude pattern wins.
 *
 * Node's own matcher is not used: it works on text, where file names are bytes, it lets `*` pass over hidden names, and
 * it compiles a pattern anew for each name.
 */

/** As a source or a manifest declares them. */
export interface Patterns { include?: readonly string[] | undefined; exclude?: readonly string[] | undefined }

/** Names here are bytes, one character each, relative to the directory, without `./`; '' is the directory itself. */
export class Selection {
  readonly #include: RegExp | null;
  readonly #exclude: RegExp | null;
  readonly #onTheWay: RegExp | null;

  constructor({ include, exclude }: Patterns) {
    this.#include = include === undefined ? null : matching(include);
    this.#exclude = exclude === undefined ? null : matching(exclude);
    this.#onTheWay = include === undefined ? null : union(include.flatMap(ways));
  }

  /** Whether a file or directory is taken by itself, be it for a directory above it. */
  takes(name: string): boolean {
    if (this.#exclude?.test(name) === true) return false;
    return this.#include === null || this.#include.test(name);
  }

  /** Whether anything in a directory can be taken. */
  entersInto(name: string): boolean {
    if (this.#exclude?.test(name) === true) return false;
    return name === '' || this.#onTheWay === null || this.takes(name) || this.#onTheWay.test(name);
  }
}

/** The selection of a directory with patterns; null where everything is taken. */
export function selectionOf(patterns: Patterns): Selection | null {
  return patterns.include === undefined && patterns.exclude === undefined ? null : new Selection(patterns);
}

/** A name as the bytes that the file system knows. */
export const nameBytes = (name: string): Buffer => Buffer.from(name, 'latin1');

/** One character that is no slash: of UTF-8 as many bytes as it has, of anything else one byte. */
const CHARACTER = String.raw`(?:[^/\x80-\xff]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}|[\x80-\xff](?![\x80-\xbf]))`;

const union = (sources: readonly string[]): RegExp => new RegExp(`^(?:${sources.join('|')})$`, 's');

/** What one of the patterns matches, and what lies below it. */
const matching = (patterns: readonly string[]): RegExp => union(patterns.map((pattern) => `${whole(segmentsOf(pattern))}(?:/.*)?`));

const segmentsOf = (pattern: string): string[] => Buffer.from(pattern).toString('latin1').split('/');

function whole(segments: readonly string[]): string {
  return segments.map((segment, index) => {
    const isLast = index === segments.length - 1;
    if (segment === '**') return isLast ? '.+' : '(?:[^/]+/)*';
    return one(segment) + (isLast ? '' : '/');
  }).join('');
}

/** One segment, in which `**` is no more than `*`. */
const one = (segment: string): string => segment.replaceAll(/\*+|\?|[^*?]+/g, (part) => {
  if (part === '?') return CHARACTER;
  return part.startsWith('*') ? '[^/]*' : part.replaceAll(/[\\^$.|+()[\]{}/-]/g, String.raw`\$&`);
});

/** The directories above what a pattern can match. */
function ways(pattern: string): string[] {
  const segments = segmentsOf(pattern);
  const found: string[] = [];
  for (let length = 1; length < segments.length; length += 1) {
    const above = segments.slice(0, length);
    if (above.at(-1) === '**') {
      // Any directory from here on.
      return [...found, `${whole(above.slice(0, -1))}${length === 1 ? '' : '/'}.+`];
    }
    found.push(whole(above));
  }
  if (segments.at(-1) === '**' && segments.length > 1) found.push(whole(segments.slice(0, -1)));
  return found;
}
