/**
 * Unpacks one archive into a work directory, and proves in passing that it is what was written.
 */
import { mkdir, readdir, rename, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import type { GatewayError } from '../domain/errors.ts';
import type { ManifestArchive } from './contract.ts';
import { targetFault, throwIfCancelled } from './faults.ts';
import type { JournalEntry } from './journal.ts';
import { MemberScanner } from './members.ts';
import { InputRefused, killedBy } from './process.ts';
import type { Exit } from './process.ts';
import { readWhole } from './read.ts';
import type { BackupFiles } from './stores/contract.ts';
import { complaints, startExtracting, summary } from './tar.ts';
import type { Tar } from './tar.ts';

export interface UnpackJob {
  tar: Tar;
  /** The files of the backup. */
  backup: BackupFiles;
  archive: ManifestArchive;
  identity: string | null;
  entry: JournalEntry;
}

/**
 * Makes the entry's work directory and puts what the archive holds into it as `new`: a directory, or a file. Settles
 * only when tar is gone. What to do with a work directory left by a failure is the caller's to decide.
 *
 * @throws EngineError TARGET_UNWRITABLE, ARCHIVE_UNSAFE, DIGEST_MISMATCH, FILE_MISSING, STORE_UNREACHABLE;
 *   CancelledError
 */
export async function unpack(
  job: UnpackJob, signal: AbortSignal, onPass: (bytes: number, files: number) => void, onWarning: (text: string) => void,
): Promise<void> {
  const { work, target } = job.entry;
  const isFile = job.archive.source.type === 'FILE';
  const into = join(work, isFile ? 'unpacked' : 'new');
  try {
    await mkdir(work, { mode: 0o700 });
    await mkdir(into, { mode: 0o700 });
    await proveRenames(job.entry);
  } catch (error) {
    throw targetFault(error, target);
  }
  await extract({ ...job, target }, into, signal, onPass, onWarning);
  if (!isFile) return;
  const [name] = await readdir(into, { encoding: 'buffer' });
  if (name === undefined) throw targetFault(new Error('tar unpacked no file'), target);
  await rename(Buffer.concat([Buffer.from(`${into}/`), name]), join(work, 'new'));
  await rmdir(into);
}

/** Where a rename is tried out; the cleaning of the entry removes it. */
export function probePath({ kind, work, target }: JournalEntry): string {
  return join(kind === 'INSIDE' ? target : dirname(target), `${basename(work)}.probe`);
}

/** A bind mount can separate two directories of one file system; only a rename shows that. */
async function proveRenames(entry: JournalEntry): Promise<void> {
  const [probe, beside] = [join(entry.work, 'probe'), probePath(entry)];
  if (dirname(beside) === dirname(entry.work)) return;
  await mkdir(probe, { mode: 0o700 });
  await rename(probe, beside);
  await rmdir(beside);
}

/** Unpacks one archive over what is in a directory. @param job.target how messages name the place */
export async function extract(
  job: Omit<UnpackJob, 'entry'> & { target: string }, into: string, signal: AbortSignal, onPass: (bytes: number, files: number) => void, onWarning: (text: string) => void,
): Promise<void> {
  throwIfCancelled(signal);
  const { archive, identity, target } = job;
  const scanner = new MemberScanner(archive.source.type === 'FILE' ? 'FILE' : 'DIRECTORY', onPass);
  const child = killedBy(signal, startExtracting(job.tar, into));
  const content = { identity: archive.encrypted ? identity : null, scanner, stdin: child.stdin! };
  try {
    await readWhole(job.backup, archive, content, signal);
  } catch (error) {
    // A tar that gave up by itself closes its input; its words say why.
    const isTarsFault = error instanceof InputRefused;
    if (!isTarsFault) child.kill();
    const exit = await child.exit;
    throwIfCancelled(signal);
    throw isTarsFault ? tarWriteFault(exit, target) : error;
  }
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (exit.code !== 0) throw tarWriteFault(exit, target);
  if (scanner.files !== archive.files || scanner.directories !== archive.directories) {
    throw new EngineError('DIGEST_MISMATCH', `${archive.file} does not hold what the manifest says.`, 'Use another backup.');
  }
  for (const line of complaints(exit)) onWarning(`${target}: ${line}`);
}

/** What tar's failure to unpack means. */
function tarWriteFault(exit: Exit, target: string): GatewayError {
  const lines = complaints(exit);
  const cause = new Error(lines.length > 0 ? summary(lines) : `tar ended with ${exit.signal ?? `code ${exit.code}`}`);
  // tar tells of a short write by its length alone.
  const isFull = lines.some((line) => /No space left on device|Disk quota exceeded|Wrote only \d+ of/.test(line));
  return targetFault(isFull ? Object.assign(new Error(`No space left on its file system (${cause.message})`), { code: 'ENOSPC' }) : cause, target);
}
