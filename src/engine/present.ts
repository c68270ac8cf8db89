/**
 * What is in a target now, as tar would back it up.
 */
import { lstat } from 'node:fs/promises';
import type { FilesSource } from '../domain/deployment.ts';
import { plainName, unquoted } from './compare.ts';
import { throwIfCancelled } from './faults.ts';
import { killedBy } from './process.ts';
import type { Exit } from './process.ts';
import { resolveSource, tarReadFault } from './source.ts';
import { complaints, COMPLAINTS_KEPT, startCreating } from './tar.ts';
import type { Tar } from './tar.ts';

/** What is in a target. */
export interface Present {
  /** Its content, by names of one character for each byte; true for a directory. */
  names: Map<string, boolean>;
  /** What of it cannot be looked at, where its source lets that pass: nothing is known of what lies below. */
  unreadable: Set<string>;
}

/** Lists a target. @throws EngineError SOURCE_UNREADABLE, IO; CancelledError */
export async function namesIn(tar: Tar, source: FilesSource, path: string, storePath: string | null, signal: AbortSignal): Promise<Present> {
  const isDirectory = (await lstat(path)).isDirectory();
  const names = new Map<string, boolean>();
  if (source.type === 'FILE' || !isDirectory) return { names: names.set('', isDirectory), unreadable: new Set() };
  const input = await resolveSource(source, storePath);
  const child = killedBy(signal, startCreating(tar, input, 'estimate'));
  let rest = '';
  child.stdout?.on('data', (piece: Buffer) => {
    const lines = (rest + piece.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) names.set(plainName(unquoted(line)), line.endsWith('/'));
  });
  const exit = await child.exit;
  throwIfCancelled(signal);
  // Directories on the way to what the patterns take are listed with it, and stay.
  if (input.selection !== null) for (const name of names.keys()) if (name !== '' && !input.selection.takes(name)) names.delete(name);
  // 1: something changed meanwhile, which a plan may overlook.
  if (exit.code === 0 || exit.code === 1) return { names, unreadable: new Set() };
  return { names, unreadable: namesUnreadable(source, exit) };
}

/** A name in which tar has escaped every colon, of what it could not look at. */
const UNREADABLE = /^((?:[^\\:]|\\.)+): Cannot (?:open|stat|read|readlink|savedir): (?:Permission denied|Operation not permitted|Input\/output error|I\/o error|Stale file handle|Structure needs cleaning)$/;
/** What was there a moment before, what no archive holds anyway, and what is no complaint. */
const OF_NO_INTEREST = /^Total bytes written: |: (?:Warning: Cannot .+|Cannot \w+: No such file or directory|File removed before we read it|file changed as we read it|socket ignored|door ignored|Unknown file type; file ignored)$/;

/** @throws EngineError SOURCE_UNREADABLE, IO where the source does not let it pass, or more is wrong than that */
function namesUnreadable(source: FilesSource, exit: Exit): Set<string> {
  const names = new Set<string>();
  if (source.onUnreadable !== 'WARN' || exit.code !== 2 || exit.stderr.length >= COMPLAINTS_KEPT) throw tarReadFault(source, exit);
  for (const line of complaints(exit)) {
    if (OF_NO_INTEREST.test(line)) continue;
    const name = UNREADABLE.exec(line)?.[1];
    if (name === undefined) throw tarReadFault(source, exit);
    names.add(plainName(unquoted(name)));
  }
  return names;
}
