/**
 * What tar complains of while it reads a source: which files it could not read whole, and what is worse than that.
 *
 * tar's exit status does not tell the two apart, so its lines are looked at one by one. Only a line that surely speaks
 * of one file is taken for one.
 */
import { join } from 'node:path';
import type { FilesSource } from '../../domain/deployment.ts';
import { plainName, unquoted } from '../compare.ts';
import type { Exit } from '../process.ts';
import { tarReadFault } from '../source.ts';
import { complaints, COMPLAINTS_KEPT } from '../tar.ts';

/** So many names are kept. */
const NAMED = 1000;

/** Reasons that lie in the file, and not in this process or the machine, such as too many open files. */
const REASONS = ['Permission denied', 'Operation not permitted', 'No such file or directory', 'Not a directory', 'Is a directory',
  'Too many levels of symbolic links', 'Input/output error', 'I/o error', 'Stale file handle', 'Bad message', 'Structure needs cleaning',
  'No such device or address', 'No such device'].join('|');

/** A name in which tar has escaped every colon, and what is wrong with it. */
const FAULT = new RegExp(String.raw`^((?:[^\\:]|\\.)+): (${[
  String.raw`Cannot (?:open|stat|read|readlink|savedir|seek): (?:${REASONS})`,
  String.raw`Read error at byte \d+, while reading \d+ bytes?: (?:${REASONS})`,
  String.raw`File shrank by \d+ bytes?; padding with zeros`,
  'File removed before we read it',
  'file changed as we read it',
].join('|')})$`);

/** Left out by nature, or no more than a remark. */
const HARMLESS = /: (?:socket ignored|door ignored|Unknown file type; file ignored|file is the archive; not dumped|Warning: Cannot .+)$/;

const SUMMARY = /: Exiting with failure status due to previous errors$/;

/** What is known after a tar that read a source has ended. */
export interface Reading {
  /** Files that the archive lacks or does not hold whole, with tar's reason; the first of them, and how many more. */
  unreadable: string[];
  /** What a person may want to know besides. */
  warnings: string[];
}

/** @throws EngineError SOURCE_UNREADABLE, IO where the source was not read, or not whole and its declaration does not allow that */
export function judgeReading(source: FilesSource, exit: Exit): Reading {
  if (exit.code === 0) return { unreadable: [], warnings: complaints(exit) };
  const isTolerated = source.onUnreadable === 'WARN' && (exit.code === 1 || exit.code === 2) && exit.stderr.length < COMPLAINTS_KEPT;
  if (!isTolerated) throw tarReadFault(source, exit);
  // By name: a file can be complained of twice.
  const faults = new Map<string, string>();
  const warnings: string[] = [];
  for (const line of exit.stderr.split('\n')) {
    if (line === '' || SUMMARY.test(line)) continue;
    const complaint = line.replace(/^[^:]*tar: /, '');
    const [, name, reason] = FAULT.exec(complaint) ?? [];
    if (name !== undefined && reason !== undefined) faults.set(name, faults.get(name) ?? reason);
    else if (HARMLESS.test(complaint)) warnings.push(complaint);
    else throw tarReadFault(source, exit);
  }
  if (faults.size === 0) throw tarReadFault(source, exit);
  const unreadable = [...faults].slice(0, NAMED).map(([name, reason]) => `${shown(source, name)}: ${reason}`);
  if (faults.size > NAMED) unreadable.push(`and ${faults.size - NAMED} more`);
  return { unreadable, warnings };
}

/** Where the file is. A name that is no readable text stays as tar escapes it. */
function shown(source: FilesSource, name: string): string {
  if (source.type === 'FILE') return source.path;
  const bytes = Buffer.from(plainName(unquoted(name)), 'latin1');
  const text = bytes.toString('utf8');
  const isText = !/\p{Cc}/u.test(text) && Buffer.from(text).equals(bytes);
  return join(source.path, isText ? text : plainName(name));
}
