/**
 * Walks a directory that has patterns. Names are bytes, one character each, since they need not be text.
 */
import { lstat, readdir } from 'node:fs/promises';
import { nameBytes } from './patterns.ts';
import type { Selection } from './patterns.ts';

export interface Entry {
  name: string;
  isDirectory: boolean;
}

/** An absolute path, of bytes. */
export const pathIn = (root: string, name: string): Buffer => Buffer.concat([Buffer.from(`${root}/`), nameBytes(name)]);

/** The name of what lies in a directory; '' is the root. */
export const nameIn = (directory: string, name: string): string => (directory === '' ? name : `${directory}/${name}`);

/** What lies directly in a directory, in the order of its bytes, as tar sorts it. @throws the file system's error */
export async function entriesOf(root: string, directory: string): Promise<Entry[]> {
  const path = pathIn(root, directory);
  const found = await readdir(path, { encoding: 'buffer', withFileTypes: true });
  const entries = await Promise.all(found.map(async (entry) => {
    const isKnown = entry.isFile() || entry.isDirectory() || entry.isSymbolicLink() || entry.isFIFO() || entry.isSocket() || entry.isBlockDevice() || entry.isCharacterDevice();
    // Some file systems do not tell what an entry is.
    const isDirectory = isKnown ? entry.isDirectory() : await lstat(Buffer.concat([path, Buffer.from('/'), entry.name])).then((stat) => stat.isDirectory(), () => false);
    return { bytes: entry.name, isDirectory };
  }));
  return entries.sort((one, other) => Buffer.compare(one.bytes, other.bytes)).map(({ bytes, isDirectory }) => ({ name: bytes.toString('latin1'), isDirectory }));
}

/**
 * The names that a selection takes, each after the directories that it lies in; those are taken with it. The root comes
 * first, always.
 *
 * @param isLeftOut what no archive holds
 * @param onUnreadable told of a directory that cannot be listed; the walk goes on
 */
export async function* selectedNames(
  root: string, selection: Selection, isLeftOut: (name: string) => boolean, onUnreadable: (name: string, error: unknown) => void,
): AsyncGenerator<string> {
  yield '';
  yield* below(root, '', [], { selection, isLeftOut, onUnreadable });
}

interface Rules {
  selection: Selection;
  isLeftOut(name: string): boolean;
  onUnreadable(name: string, error: unknown): void;
}

/** @param pending directories on the way here that nothing has been taken from yet; emptied when something is */
async function* below(root: string, directory: string, pending: string[], rules: Rules): AsyncGenerator<string> {
  const entries = await entriesOf(root, directory).catch((error: unknown) => {
    rules.onUnreadable(directory, error);
    return [];
  });
  for (const entry of entries) {
    const name = nameIn(directory, entry.name);
    if (rules.isLeftOut(name)) continue;
    const isTaken = rules.selection.takes(name);
    if (isTaken) {
      yield* pending.splice(0);
      yield name;
    }
    if (!entry.isDirectory || !rules.selection.entersInto(name)) continue;
    if (!isTaken) pending.push(name);
    yield* below(root, name, pending, rules);
    if (!isTaken && pending.at(-1) === name) pending.pop();
  }
}
