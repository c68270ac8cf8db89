/**
 * What an archive is made from: finds the real directory or file behind a source, and says what to leave out.
 */
import { realpath, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import type { FilesSource } from '../domain/deployment.ts';
import { pathBelow } from './disk.ts';
import { selectionOf } from './sources/patterns.ts';
import { complaints, summary } from './tar.ts';
import type { TarInput } from './tar.ts';
import { endedFromOutside } from './process.ts';
import type { Exit } from './process.ts';

/**
 * Resolves a source. The store and the source's staging are left out where they lie inside it, so that a backup
 * never holds itself.
 *
 * @throws EngineError SOURCE_UNREADABLE where it is not there, or is not of the declared type
 */
export async function resolveSource(source: FilesSource, storePath: string | null): Promise<TarInput> {
  const kind = source.type === 'DIRECTORY' ? 'directory' : 'file';
  const path = await realpath(source.path).catch((cause: unknown) => {
    throw unreadable(source.path, `the ${kind} is not there or cannot be reached (${reasonOf(cause)})`, cause);
  });
  const found = await stat(path);
  const toleratesUnreadable = source.onUnreadable === 'WARN';
  if (source.type === 'FILE') {
    if (!found.isFile()) throw unreadable(source.path, 'it is declared as a file and is something else');
    return { directory: dirname(path), member: basename(path), exclude: [], selection: null, toleratesUnreadable };
  }
  if (!found.isDirectory()) throw unreadable(source.path, 'it is declared as a directory and is something else');
  const exclude: string[] = [];
  for (const other of [storePath, source.staging]) {
    if (other === null) continue;
    const below = pathBelow(path, await realpath(other).catch(() => other));
    if (below === '') throw unreadable(source.path, `${other} is the same directory`);
    if (below !== null) exclude.push(`./${below}`);
  }
  return { directory: path, member: '.', exclude, selection: selectionOf(source), toleratesUnreadable };
}

/** What tar's failure to read a source means: it names each file and the reason. */
export function tarReadFault(source: FilesSource, exit: Exit): EngineError {
  const lines = complaints(exit);
  if (exit.code === 1 || exit.code === 2) return unreadable(source.path, summary(lines));
  return endedFromOutside('tar', exit, `it read ${source.path}${lines.length === 0 ? '' : `: ${summary(lines)}`}`);
}

const reasonOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : String(error));

function unreadable(path: string, reason: string, cause?: unknown): EngineError {
  return new EngineError('SOURCE_UNREADABLE', `${path} could not be read whole: ${reason}.`,
    'See that it exists and is readable for the user that runs the worker, and that nothing writes to it while the backup runs; then try again.',
    { cause });
}
