/**
 * File-system work that has to last: what these functions report as done is on disk.
 */
import { constants } from 'node:fs';
import { chmod, lstat, mkdir, open, rename, stat } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, relative, sep } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import { errnoOf, isMissing, storeFault } from './faults.ts';
import { run } from './process.ts';

/** Writes a directory's entries to disk, without which a rename or a new file can be lost with the power. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes everything of the file system that holds `path` to disk. */
export async function syncFileSystem(path: string): Promise<void> {
  const result = await run('sync', process.platform === 'linux' ? ['-f', '--', path] : []);
  if (result.code !== 0) throw new Error(`sync of ${path} failed: ${result.stderr.trim()}`);
}

/** Creates a file that must not exist, for its owner alone, and writes it to disk. */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a directory and those above it, each one lasting. Existing ones are left as they are. */
export async function makeDirectories(path: string, mode: number): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) await syncDirectory(dirname(made));
}

/**
 * Opens a regular file to read. A link is refused, so that nothing outside is read in its stead.
 *
 * @throws EngineError DIGEST_MISMATCH where it is anything else; the file system's error where it cannot be opened
 */
export async function openPlainFile(path: string): Promise<FileHandle> {
  // O_NONBLOCK: a FIFO in the file's place must not make the opening wait for a writer.
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch((error: unknown) => {
    throw ['ELOOP', 'EMLINK', 'ENXIO'].includes(errnoOf(error) ?? '') ? notPlain(path, error) : error;
  });
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw notPlain(path);
}

/** The error for something that lies where a file should be. */
export function notPlain(path: string, cause?: unknown): EngineError {
  return new EngineError('DIGEST_MISMATCH', `${path} is no regular file.`, 'Put the file back from a copy of the backup, or use another backup.', { cause });
}

/** @throws EngineError STORE_UNREACHABLE where a store's directory is not there */
export async function requireDirectory(path: string): Promise<void> {
  const isDirectory = await stat(path).then((found) => found.isDirectory(), (error: unknown) => {
    throw storeFault(error, path);
  });
  if (!isDirectory) throw storeFault(new Error('it is not a directory'), path);
}

/** Whether anything has this name, be it a link to nowhere. */
export async function exists(path: string | Buffer): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/**
 * Renames where nothing may be in the way. The check and the rename are two steps, but rename(2) itself refuses
 * to replace a directory that holds anything, or a file by a directory.
 */
export async function renameWithoutReplacing(from: string, to: string): Promise<void> {
  if (await exists(to)) throw Object.assign(new Error(`${to} is already there`), { code: 'EEXIST' });
  await rename(from, to);
}

/**
 * Removes a file or a whole tree, whatever the names in it, without following links or crossing into other file
 * systems. Nothing there is no error. `rm` does it because names need not be text to it.
 */
export async function removeTree(path: string): Promise<void> {
  const args = ['-rf', ...(process.platform === 'linux' ? ['--one-file-system'] : []), '--', path];
  let reason = '';
  for (let attempt = 0; attempt < 4; attempt += 1) {
    const result = await run('rm', args);
    if (!(await exists(path))) return;
    reason = result.stderr.trim().split('\n')[0] ?? '';
    // An owner may lack the write permission on directories of his own. A child that dies with its parent may
    // still add its last file while the tree goes away, hence more than one further attempt.
    if (attempt === 0) await chmod(path, 0o700).catch(() => undefined);
    // Directories alone: a file may have another name elsewhere, where its mode is not ours to change.
    await run('find', [path, '-xdev', '-type', 'd', '!', '-perm', '-700', '-exec', 'chmod', 'u+rwx', '{}', ';']);
  }
  throw new Error(`${path} could not be removed: ${reason}`);
}

/** The path of `inner` below `outer`: '' where they are the same, null where it lies elsewhere. */
export function pathBelow(outer: string, inner: string): string | null {
  const path = relative(outer, inner);
  return path === '..' || path.startsWith(`..${sep}`) || path.startsWith(sep) ? null : path;
}
