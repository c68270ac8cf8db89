/**
 * A directory's own mode, owner, times and attributes, without its content: kept and put back to the nanosecond by tar.
 */
import { EngineError } from '../domain/errors.ts';
import { complaints, startExtracting, startRootArchive, summary } from './tar.ts';
import type { Tar } from './tar.ts';

/** @returns a small tar archive, base64. @throws EngineError TARGET_UNWRITABLE */
export async function keepRoot(tar: Tar, directory: string): Promise<string> {
  const child = startRootArchive(tar, directory);
  const parts: Buffer[] = [];
  child.stdout?.on('data', (part: Buffer) => parts.push(part));
  const exit = await child.exit;
  if (exit.code !== 0) throw rootFault(directory, summary(complaints(exit)));
  return Buffer.concat(parts).toString('base64');
}

/** @throws EngineError TARGET_UNWRITABLE */
export async function putBackRoot(tar: Tar, directory: string, root: string): Promise<void> {
  const child = startExtracting(tar, directory);
  child.stdin?.end(Buffer.from(root, 'base64'));
  const exit = await child.exit;
  if (exit.code !== 0) throw rootFault(directory, summary(complaints(exit)));
}

function rootFault(directory: string, reason: string): EngineError {
  return new EngineError('TARGET_UNWRITABLE', `Mode, owner and times of ${directory} could not be kept or put back: ${reason}.`,
    'See that the directory belongs to the user that runs the worker, or run the worker as root.');
}
