/**
 * Tells beforehand how much an archive will take, by letting tar walk the source without reading any content.
 */
import type { FilesSource } from '../domain/deployment.ts';
import { throwIfCancelled } from './faults.ts';
import { killedBy } from './process.ts';
import { tarReadFault } from './source.ts';
import { startCreating } from './tar.ts';
import type { Tar, TarInput } from './tar.ts';

const NEWLINE = 0x0a;
const SLASH = 0x2f;

/**
 * @returns bytes of the tar stream, and members that are no directories
 * @throws EngineError SOURCE_UNREADABLE where a directory cannot be listed; CancelledError
 */
export async function estimate(tar: Tar, source: FilesSource, input: TarInput, signal: AbortSignal): Promise<{ bytes: number; files: number }> {
  throwIfCancelled(signal);
  const child = killedBy(signal, startCreating(tar, input, 'estimate'));
  let files = 0;
  let last = 0;
  // One line a name; line breaks in names are escaped, and a directory's name ends in a slash.
  child.stdout?.on('data', (names: Buffer) => {
    for (let at = names.indexOf(NEWLINE); at >= 0; at = names.indexOf(NEWLINE, at + 1)) {
      if ((at === 0 ? last : names[at - 1]) !== SLASH) files += 1;
    }
    last = names[names.length - 1] ?? 0;
  });
  const exit = await child.exit;
  throwIfCancelled(signal);
  // 1: something changed meanwhile. Only the real reading decides whether that matters, or whether what cannot be read does.
  const isFault = exit.code !== 0 && exit.code !== 1 && !(exit.code === 2 && input.toleratesUnreadable);
  if (isFault) throw tarReadFault(source, exit);
  return { bytes: Number(/^Total bytes written: (\d+)/m.exec(exit.stderr)?.[1] ?? 0), files };
}
