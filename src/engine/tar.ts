/**
 * GNU tar: where it is, what it can do, and how it is called. It walks, reads and writes the trees, since it knows
 * links, holes, attributes and odd names, and does it many times faster than JavaScript.
 */
import { basename } from 'node:path/posix';
import { EngineError } from '../domain/errors.ts';
import { run, start } from './process.ts';
import type { Child, Exit } from './process.ts';
import { fedWithNames } from './sources/names.ts';
import type { Selection } from './sources/patterns.ts';

export interface Tar {
  path: string;
  version: string;
  /** Whether it was built with access control lists, extended attributes. */
  acls: boolean;
  xattrs: boolean;
}

/** Every staging directory of a restore carries this prefix; archives leave such directories out. */
export const WORK_PREFIX = '.backup-gateway-restore-';

let found: Promise<Tar | null> | undefined;

/** Looks for `tar`, then `gtar`, and what it was built with. Looks again the next time where there was none. */
async function lookForTar(): Promise<Tar | null> {
  for (const path of ['tar', 'gtar']) {
    try {
      const version = /^tar \(GNU tar\) (\S+)/.exec((await run(path, ['--version'])).stdout)?.[1];
      if (version === undefined) continue;
      const can = async (option: string): Promise<boolean> => {
        const probe = await run(path, ['-cf', '/dev/null', '--format=posix', option, '-T', '/dev/null']);
        return probe.code === 0 && probe.stderr === '';
      };
      return { path, version, acls: await can('--acls'), xattrs: await can('--xattrs') };
    } catch {
      // Not installed under this name.
    }
  }
  found = undefined;
  return null;
}

/** The GNU tar of this machine, called `tar` or `gtar` on the PATH; null where there is none. */
export async function findTar(): Promise<{ path: string; version: string } | null> {
  const tar = await (found ??= lookForTar());
  return tar === null ? null : { path: tar.path, version: tar.version };
}

/** @throws EngineError TAR_MISSING */
export async function requireTar(): Promise<Tar> {
  const tar = await (found ??= lookForTar());
  if (tar !== null) return tar;
  throw new EngineError('TAR_MISSING', 'There is no GNU tar on this machine.',
    'Install it (Debian, Ubuntu: apt-get install tar; macOS: brew install gnu-tar) and have it on the PATH as tar or gtar.');
}

/** Options that writing and reading share: what of a file, beside its content, is kept. */
const attributes = (tar: Tar): string[] =>
  ['--numeric-owner', ...(tar.acls ? ['--acls'] : []), ...(tar.xattrs ? ['--xattrs'] : [])];

/** Read and written 64 KiB at a time, which is what a pipe holds; tar's own 10 KiB make many times the system calls. */
const BLOCKING = '--blocking-factor=128';

/** What one archive is made from: `tar -C directory member`. */
export interface TarInput {
  directory: string;
  /** `.` for the directory itself, the base name for a file. */
  member: string;
  /** Members to leave out, as tar names them (`./backups`). */
  exclude: readonly string[];
  /** What is taken of the directory; null: everything. */
  selection: Selection | null;
  /** Whether the archive may lack files that cannot be read; each is complained of. */
  toleratesUnreadable: boolean;
  /** File of the members, NUL after each, which have been listed before; absent: tar lists them itself. */
  members?: string | undefined;
}

/** Complaints about so many files come to less than this; more of them, and the rest is not known. */
export const COMPLAINTS_KEPT = 16 * 1024 * 1024;

/** Whether no archive of this input holds a name, as `Selection` writes names. */
export const isLeftOut = (exclude: readonly string[]) => (name: string): boolean =>
  basename(name).startsWith(WORK_PREFIX) || exclude.includes(`./${Buffer.from(name, 'latin1').toString('utf8')}`);

/** Writes an archive to the child's standard output, or to /dev/null, where tar reads no content and names go to the output. */
export function startCreating(tar: Tar, input: TarInput, purpose: 'archive' | 'estimate'): Child {
  const isListed = input.members !== undefined;
  const child = start(tar.path, [
    '--create', '--format=posix', '--sparse',
    // They cost more than all else of an estimate, and add little to it.
    ...(purpose === 'archive' ? attributes(tar) : []),
    // Without these, every header would hold the time of this very reading, and the number of the process.
    '--pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f',
    '--sort=name', '--quoting-style=escape',
    ...(purpose === 'archive' ? ['--file=-', BLOCKING] : ['--file=/dev/null', '--verbose', '--totals']),
    '--anchored', '--no-wildcards', ...input.exclude.map((member) => `--exclude=${member}`),
    '--no-anchored', '--wildcards', `--exclude=${WORK_PREFIX}*`,
    `--directory=${input.directory}`,
    ...(isListed ? ['--no-recursion', '--null', `--files-from=${input.members}`]
      : input.selection === null ? ['--no-unquote', '--', input.member] : ['--no-recursion', '--null', '--files-from=-']),
  ], { stdin: !isListed && input.selection !== null, stdout: true, ...(isListed || input.toleratesUnreadable ? { stderrKept: COMPLAINTS_KEPT } : {}) });
  return isListed || input.selection === null ? child : fedWithNames(child, input.directory, input.selection, isLeftOut(input.exclude));
}

/** Writes an archive of a directory alone, without what is in it. */
export function startRootArchive(tar: Tar, directory: string): Child {
  return start(tar.path, [
    '--create', '--format=posix', ...attributes(tar), '--pax-option=delete=atime,delete=ctime', '--no-recursion',
    '--blocking-factor=1', '--file=-', `--directory=${directory}`, '--', '.',
  ], { stdout: true });
}

/** Writes directories alone, whose names come from the child's standard input and end in NUL, into an archive. */
export function startArchivingDirectories(tar: Tar, directory: string, archive: string): Child {
  return start(tar.path, [
    '--create', '--format=posix', ...attributes(tar), '--pax-option=delete=atime,delete=ctime', '--force-local', `--file=${archive}`,
    `--directory=${directory}`, '--no-recursion', '--null', '--files-from=-',
  ], { stdin: true });
}

/** Unpacks an archive, or the child's standard input, into a directory. */
export function startExtracting(tar: Tar, directory: string, archive: string | null = null): Child {
  const isRoot = process.geteuid?.() === 0;
  return start(tar.path, [
    '--extract', '--force-local', `--file=${archive ?? '-'}`, BLOCKING, '--preserve-permissions', ...attributes(tar),
    // Unasked, tar puts back attributes of the user's own kind alone; the others need the superuser.
    ...(isRoot && tar.xattrs ? ['--xattrs-include=*'] : []),
    isRoot ? '--same-owner' : '--no-same-owner',
    '--delay-directory-restore', '--warning=no-timestamp', '--quoting-style=escape',
    `--directory=${directory}`,
  ], { stdin: archive === null });
}

/** Lists the child's standard input: a line for each member, beginning with its kind as `ls -l` shows it. */
export function startListing(tar: Tar): Child {
  return start(tar.path, ['--list', '--verbose', '--file=-', BLOCKING, '--numeric-owner', '--quoting-style=escape'], { stdin: true, stdout: true });
}

/** What tar complained of, without its own name in front and without the sentence that sums up. */
export function complaints(exit: Exit): string[] {
  return exit.stderr.split('\n')
    .filter((line) => line !== '' && !/: Exiting with failure status|: Error is not recoverable/.test(line))
    .map((line) => line.replace(/^[^:]*tar: /, ''));
}

/** The first few of many, as one text. */
export function summary(lines: readonly string[]): string {
  const shown = lines.slice(0, 5).join('; ');
  return lines.length > 5 ? `${shown}; and ${lines.length - 5} more` : shown;
}
