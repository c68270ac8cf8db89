/**
 * Compares an archive with what is in the file system: tar reads the archive and looks at each member's counterpart,
 * links, holes and odd names included, and nothing is written.
 */
import { EngineError } from '../domain/errors.ts';
import type { ManifestArchive } from './contract.ts';
import { throwIfCancelled } from './faults.ts';
import { MemberScanner } from './members.ts';
import { InputRefused, killedBy, start } from './process.ts';
import type { Exit } from './process.ts';
import { readWhole } from './read.ts';
import type { BackupFiles } from './stores/contract.ts';
import { summary } from './tar.ts';
import type { Tar } from './tar.ts';

/** One member of an archive, and in what its counterpart differs. */
export interface ComparedMember {
  /** As `ls -l` shows it: `-`, `d`, `l`, `h` for a hard link, and so on. */
  kind: string;
  /** Bytes, one character each, without `./` in front and the final slash of a directory; '' is the root. */
  name: string;
  owner: { uid: number; gid: number };
  /** Bytes of a regular file, 0 of anything else. */
  size: number;
  /** What a hard link is linked with, written like `name`; null for anything else. */
  linkedWith: string | null;
  /** In tar's words, such as `Contents differ`; nothing of a counterpart that is not there. */
  differences: string[];
}

export interface Comparison {
  tar: Tar;
  backup: BackupFiles;
  archive: ManifestArchive;
  identity: string | null;
  /** The directory that corresponds to the archive's root, or that holds the one file; null: there is nothing to compare with. */
  directory: string | null;
  /** Of an archive of one file: what the file is called now. */
  fileName: string | null;
  /** Told of each member, by its name, whose counterpart cannot be read. Absent: that ends the comparison. */
  onUnreadable?: ((name: string) => void) | undefined;
}

/** A member's line, as `tar -vv` lists it with every name in quotes. */
const MEMBER = /^(.)\S{9,10} (\d+)\/(\d+) +(\S+) \S+ \S+ +("(?:[^"\\]|\\.)*")(?: link to ("(?:[^"\\]|\\.)*"))?/s;
const DIFFERENCE = /^"(?:[^"\\]|\\.)*": (.+)$/s;

/**
 * Compares, and reads the archive to its end: its digest and its members are checked in passing.
 *
 * @param onPass called with the bytes of the tar stream that passed and the files that began in them
 * @returns how many members have no counterpart
 * @throws EngineError SOURCE_UNREADABLE where a counterpart cannot be read and nobody is told of that; DIGEST_MISMATCH, ARCHIVE_UNSAFE, FILE_MISSING,
 *   STORE_UNREACHABLE; CancelledError
 */
export async function compareArchive(
  { tar, backup, archive, identity, directory, fileName, onUnreadable }: Comparison, signal: AbortSignal,
  onPass: (bytes: number, files: number) => void, onMember: (member: ComparedMember) => void,
): Promise<number> {
  throwIfCancelled(signal);
  const complaints = new Complaints(onUnreadable);
  const child = killedBy(signal, start(tar.path, [
    directory === null ? '--list' : '--compare', '--verbose', '--verbose', '--file=-', '--blocking-factor=128', '--numeric-owner', '--full-time', '--quoting-style=c',
    ...(fileName === null ? [] : [`--transform=flags=r;s|^.*$|${fileName.replaceAll(/[\\|&]/g, String.raw`\$&`)}|`]),
    ...(directory === null ? [] : [`--directory=${directory}`]),
  ], { stdin: true, stdout: true, onStderr: (text) => complaints.push(text) }));
  const lines = new MemberLines(onMember);
  child.stdout?.on('data', (piece: Buffer) => lines.push(piece));
  const scanner = new MemberScanner(archive.source.type === 'FILE' ? 'FILE' : 'DIRECTORY', onPass);
  try {
    await readWhole(backup, archive, { identity: archive.encrypted ? identity : null, scanner, stdin: child.stdin! }, signal);
  } catch (error) {
    const isTarsFault = error instanceof InputRefused;
    if (!isTarsFault) child.kill();
    const exit = await child.exit;
    throwIfCancelled(signal);
    throw isTarsFault ? unreadable(directory ?? archive.file, complaints, exit) : error;
  }
  const exit = await child.exit;
  throwIfCancelled(signal);
  // 1: something differs; 2: what a member lies in is no directory, or there is something that cannot be read.
  if (![0, 1, 2].includes(exit.code ?? -1) || complaints.others.length > 0) throw unreadable(directory ?? archive.file, complaints, exit);
  lines.end();
  if (lines.members !== archive.files + archive.directories || scanner.files !== archive.files) {
    throw new EngineError('DIGEST_MISMATCH', `${archive.file} does not hold what the manifest says.`, 'Use another backup.');
  }
  return complaints.missing;
}

/** Tells counterparts that are not there from those that cannot be read. */
class Complaints {
  missing = 0;
  readonly others: string[] = [];
  readonly #onUnreadable: ((name: string) => void) | undefined;
  #rest = '';

  constructor(onUnreadable?: (name: string) => void) {
    this.#onUnreadable = onUnreadable;
  }

  push(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) {
      const unreadable = this.#onUnreadable === undefined ? undefined : UNREADABLE.exec(line)?.[1];
      if (/: Cannot \w+: (No such file or directory|Not a directory)$/.test(line)) this.missing += 1;
      else if (unreadable !== undefined) this.#onUnreadable?.(plainName(unquoted(unreadable.slice(1, -1))));
      else if (this.others.length < COMPLAINTS_KEPT && !/: Exiting with failure status/.test(line)) this.others.push(line.replace(/^[^:]*tar: /, ''));
    }
  }
}

const COMPLAINTS_KEPT = 20;

/** A member whose counterpart cannot be read, for a reason that lies in the file. */
const UNREADABLE = /: ("(?:[^"\\]|\\.)*"): (?:Warning: )?(?:Cannot (?:open|stat|read|readlink|seek)|Read error at byte \d+, while reading \d+ bytes?): (?:Permission denied|Operation not permitted|Input\/output error|I\/o error|Stale file handle|Structure needs cleaning)$/;

/** Whether what tar says matters to a restore: owners are put back by the superuser alone. */
export const canBePutBack = (difference: string): boolean => process.geteuid?.() === 0 || !/^(Uid|Gid) differs$/.test(difference);

/** Puts tar's lines together: a member's own, then one for each difference. */
class MemberLines {
  members = 0;
  readonly #onMember: (member: ComparedMember) => void;
  #rest = '';
  #member: ComparedMember | null = null;

  constructor(onMember: (member: ComparedMember) => void) {
    this.#onMember = onMember;
  }

  push(piece: Buffer): void {
    const lines = (this.#rest + piece.toString('latin1')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#read(line);
  }

  end(): void {
    if (this.#rest !== '') this.#read(this.#rest);
    this.#rest = '';
    if (this.#member !== null) this.#onMember(this.#member);
    this.#member = null;
  }

  #read(line: string): void {
    const difference = DIFFERENCE.exec(line)?.[1];
    if (difference !== undefined) return void this.#member?.differences.push(difference);
    const [, kind, uid, gid, size, name, linkedWith] = MEMBER.exec(line) ?? [];
    if (kind === undefined || name === undefined) return;
    if (this.#member !== null) this.#onMember(this.#member);
    this.members += 1;
    this.#member = {
      kind, name: plainName(unquoted(name.slice(1, -1))), owner: { uid: Number(uid), gid: Number(gid) },
      size: kind === '-' ? Number(size) : 0,
      linkedWith: kind === 'h' && linkedWith !== undefined ? plainName(unquoted(linkedWith.slice(1, -1))) : null, differences: [],
    };
  }
}

const ESCAPES: Record<string, string> = { a: '\x07', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t', v: '\v' };

/** Takes back what tar's quoting styles `c` and `escape` did to a name; the answer has one character for each byte. */
export function unquoted(text: string): string {
  return text.replaceAll(/\\([0-7]{3}|.)/gs, (_, escape: string) =>
    (escape.length === 3 ? String.fromCharCode(Number.parseInt(escape, 8)) : ESCAPES[escape] ?? escape));
}

/** A member's name without `./` in front and without a directory's final slash. */
export const plainName = (name: string): string => name.replace(/^\.(\/|$)/, '').replace(/\/$/, '');

function unreadable(what: string, { others }: Complaints, exit: Exit): EngineError {
  return new EngineError('SOURCE_UNREADABLE', `${what} could not be compared: ${summary(others) || `tar ended with ${exit.signal ?? `code ${exit.code}`}`}.`,
    'See that it is readable for the user that runs the worker, and that nothing writes to it meanwhile; then try again.');
}
