/**
 * Gives tar the names of a directory that has patterns: it knows patterns of its own, but not which directories the
 * names that they match lie in.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { getSystemErrorMessage } from 'node:util';
import type { Child, Exit } from '../process.ts';
import { nameBytes } from './patterns.ts';
import type { Selection } from './patterns.ts';
import { selectedNames } from './walk.ts';

/** So many characters of names go to tar at once. */
const PORTION = 32 * 1024;

/**
 * Writes the names to the input of a tar that reads `--null --files-from=-`. A directory that cannot be listed is added
 * to tar's own complaints, in tar's words, since tar does not list it itself.
 *
 * @param isLeftOut what no archive holds
 */
export function fedWithNames(child: Child, root: string, selection: Selection, isLeftOut: (name: string) => boolean): Child {
  const complaints: string[] = [];
  const names = selectedNames(root, selection, isLeftOut, (name, error) => complaints.push(`tar: ${quoted(name)}: Cannot open: ${reasonOf(error)}\n`));
  // A tar that ends early breaks the pipe; how it ended is the reason.
  const feeding = pipeline(Readable.from(portions(names)), child.stdin!).catch(() => undefined);
  const exit = Promise.all([child.exit, feeding]).then(([ended]): Exit => (complaints.length === 0 ? ended
    : { ...ended, code: ended.code === 0 ? 2 : ended.code, stderr: ended.stderr + complaints.join('') }));
  exit.catch(() => undefined);
  return { ...child, exit };
}

async function* portions(names: AsyncIterable<string>): AsyncGenerator<Buffer> {
  let portion = '';
  for await (const name of names) {
    portion += name === '' ? '.\0' : `./${name}\0`;
    if (portion.length < PORTION) continue;
    yield nameBytes(portion);
    portion = '';
  }
  yield nameBytes(portion);
}

/** As tar writes a name in a message with `--quoting-style=escape`. */
function quoted(name: string): string {
  const path = name === '' ? '.' : `./${name}`;
  return path.replaceAll(/[\\:]|[^ -~]/g, (character) => (character === '\\' || character === ':' ? `\\${character}`
    : `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`));
}

function reasonOf(error: unknown): string {
  const errno = error instanceof Error && 'errno' in error && typeof error.errno === 'number' ? error.errno : null;
  const reason = errno === null ? String(error) : getSystemErrorMessage(errno);
  return reason.slice(0, 1).toUpperCase() + reason.slice(1);
}
