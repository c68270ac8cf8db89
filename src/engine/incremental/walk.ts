/**
 * Lists a source: every name with its state, sorted as `compareNames` does, in little memory however many there are.
 *
 * GNU find reads the states and GNU sort sorts them, with temporary files where they are many: processes of their own,
 * which a dead network file system can hold up without holding up this one, and which run at the work's priority.
 */
import type { Readable, Writable } from 'node:stream';
import { throwIfCancelled } from '../faults.ts';
import { killedBy, run, start } from '../process.ts';
import type { Child, StartOptions } from '../process.ts';
import { WORK_PREFIX } from '../tar.ts';
import type { TarInput } from '../tar.ts';
import { forSorting, fromSorting, Records, SORTED_SPACE } from './state.ts';
import type { FoundEntry } from './state.ts';

/** The source cannot be listed in a way that shows every change: the backup is made whole, and no index is kept. */
export class NotListable extends Error {}

/** In which the kernel keeps change times of its own that no program can set. */
const LOCAL = new Set(['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'tmpfs', 'overlay', 'zfs', 'f2fs', 'jfs', 'bcachefs']);
/** The same, kept by a server with a clock of its own. */
const REMOTE = new Set(['nfs', 'nfs4']);
/** The longest tick of a kernel's coarse clock is 10 ms. */
const FINE_TICK_MS = 25;
/** Of file systems that keep whole seconds, and of servers. */
const COARSE_TICK_MS = 2_000;
/** Memory of the sort before it uses files. */
const SORT_MEMORY = '--buffer-size=32M';

// File system and blocks are no part of the state: blocks are given out later than the file is written.
const FORMAT = '%F %b %y %m %U %G %s %T@ %C@ %i %n %P\\0';
const FIELDS = 11;

/** A file that goes away while find looks is not listed, and no failure. */
const IGNORE_RACES = '-ignore_readdir_race';

let tools: Promise<boolean> | undefined;

/** Whether GNU find and GNU sort are installed. */
export async function hasListingTools(): Promise<boolean> {
  const is = (program: string, sign: RegExp): Promise<boolean> => run(program, ['--version']).then(({ stdout }) => sign.test(stdout), () => false);
  return await (tools ??= Promise.all([is('find', /GNU findutils/), is('sort', /GNU coreutils/)]).then((all) => all.every(Boolean)));
}

export interface Walk {
  /** In batches, sorted. Throws NotListable at the latest at its end; CancelledError. */
  entries: AsyncIterable<FoundEntry[]>;
  /**
   * How long after the walk the reading may begin, in milliseconds. A file that changes after it was read then has
   * another change time than the walk found, since the clock that stamps it has moved on; whatever it shows.
   */
  settleMs(): number;
}

/**
 * Lists a source as tar would archive it: without the store, stagings and excluded names in it, and without sockets.
 *
 * @param temporary directory for the sort's temporary files, of which nobody else may read the names
 */
export function walk(input: TarInput, temporary: string, signal: AbortSignal): Walk {
  const { selection } = input;
  let tick = FINE_TICK_MS;
  let [sawFraction, sawAny] = [false, false];
  let knownSystem = '';

  const parse = (record: string): FoundEntry | null => {
    const ends: number[] = [];
    for (let at = -1; ends.length < FIELDS;) {
      at = record.indexOf(' ', at + 1);
      if (at < 0) throw new NotListable('find printed something unknown');
      ends.push(at);
    }
    const [system = 0, blocks = 0, , , , , , mtime = 0, ctime = 0] = ends;
    const end = ends.at(-1) ?? 0;
    const name = record.slice(end + 1);
    if (name !== '' && selection !== null && !selection.takes(name)) return null;
    const type = record.slice(0, system);
    if (type !== knownSystem) {
      if (REMOTE.has(type)) tick = COARSE_TICK_MS;
      else if (!LOCAL.has(type)) throw new NotListable(`its file system (${type}) may not show every change`);
      knownSystem = type;
    }
    sawAny = true;
    if (!sawFraction && /\.\d*[1-9]/.test(record.slice(mtime + 1, ctime))) sawFraction = true;
    return { name, state: record.slice(blocks + 1, end), allocated: Number(record.slice(system + 1, blocks)) * 512 };
  };

  async function* entries(): AsyncGenerator<FoundEntry[]> {
    throwIfCancelled(signal);
    let feedFault: unknown = null;
    const children: Child[] = [];
    const begin = (program: string, args: readonly string[], options: StartOptions): Child => {
      const child = killedBy(signal, start(program, args, options));
      children.push(child);
      return child;
    };
    try {
      const find = begin('find', findArguments(input), { stdout: true });
      const sort = begin('sort', ['-z', '-s', '-t', SORTED_SPACE, `--key=${FIELDS + 1}`, SORT_MEMORY, `--temporary-directory=${temporary}`], { stdin: true, stdout: true });
      // A sort whose input never ends would wait for ever.
      feed(find.stdout!, sort.stdin!).catch((error: unknown) => {
        feedFault = error;
        sort.kill();
      });
      const records = new Records();
      for await (const piece of sort.stdout!) {
        yield records.push(fromSorting(piece as Buffer)).map(parse).filter((entry) => entry !== null);
      }
      const [found, sorted] = await Promise.all([find.exit, sort.exit]);
      throwIfCancelled(signal);
      if (found.code !== 0) throw new NotListable(found.stderr.trim().split('\n')[0]);
      if (feedFault !== null) throw new NotListable(String(feedFault));
      if (sorted.code !== 0 || !records.isWhole) throw new NotListable(sorted.stderr.trim() || 'sort ended early');
    } catch (error) {
      throwIfCancelled(signal);
      throw error;
    } finally {
      for (const child of children) child.kill();
      await Promise.allSettled(children.map(({ exit }) => exit));
    }
  }

  return { entries: entries(), settleMs: () => (sawAny && !sawFraction ? COARSE_TICK_MS : tick) };
}

/** Hands the records on, each piece once the one before it has been taken. */
async function feed(from: Readable, to: Writable): Promise<void> {
  for await (const piece of from as AsyncIterable<Buffer>) {
    await new Promise<void>((resolve, reject) => {
      to.write(forSorting(piece), (error) => (error == null ? resolve() : reject(error)));
    });
  }
  to.end();
}

function findArguments({ directory, member, exclude }: TarInput): string[] {
  const print = ['-printf', FORMAT];
  if (member !== '.') return [`${directory}/${member}`, '-maxdepth', '0', IGNORE_RACES, ...print];
  const below = directory === '/' ? '' : directory;
  const leftOut = exclude.flatMap((name) => ['-path', `${below}/${name.replace(/^\.\//, '')}`.replaceAll(/[\\*?[]/g, String.raw`\$&`), '-o']);
  return [directory, IGNORE_RACES, '(', ...leftOut, '-name', `${WORK_PREFIX}*`, ')', '-prune', '-o', '!', '-type', 's', ...print];
}
