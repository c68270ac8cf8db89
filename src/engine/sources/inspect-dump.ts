/**
 * Looks into the dump of a database without restoring it.
 */
import { EngineError } from '../../domain/errors.ts';
import type { ManifestArchive } from '../contract.ts';
import { throwIfCancelled } from '../faults.ts';
import { killedBy, start } from '../process.ts';
import { readWhole } from '../read.ts';
import type { BackupFiles } from '../stores/contract.ts';
import { summary } from '../tar.ts';
import { DumpScanner } from './dump.ts';
import { allTools, startTool } from './postgres-tools.ts';

/**
 * Reads an archive of a database to its end: its digest, what it is, its length, and whether pg_restore can read it where
 * there is a pg_restore that is recent enough.
 *
 * @param depth `list`: its table of contents; `everything`: what a restore would run, which goes nowhere
 * @param onPass called with the bytes read of the file
 * @param onContent called with the bytes of the dump that passed, and with the one file that it counts as
 * @throws EngineError DIGEST_MISMATCH, ARCHIVE_UNSAFE, FILE_MISSING, STORE_UNREACHABLE; CancelledError
 */
export async function inspectDump(
  { backup, archive, identity, depth }: { backup: BackupFiles; archive: ManifestArchive; identity: string | null; depth: 'list' | 'everything' },
  signal: AbortSignal, onPass?: (bytes: number) => void, onContent?: (bytes: number, files: number) => void,
): Promise<void> {
  const scanner = new DumpScanner(onContent);
  const tools = (await allTools()).at(-1);
  throwIfCancelled(signal);
  // cat stands in for a pg_restore that is not there: what it takes goes nowhere.
  const child = killedBy(signal, tools === undefined ? start('cat', [], { stdin: true }) : startTool(tools, 'pg_restore', ['--format=custom', ...(depth === 'list' ? ['--list'] : ['--file=-'])], null, { stdin: true }));
  try {
    await readWhole(backup, archive, { identity: archive.encrypted ? identity : null, scanner, stdin: child.stdin! }, signal, onPass);
  } catch (error) {
    child.kill();
    await child.exit;
    throw error;
  }
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (scanner.bytes !== archive.bytes) throw differs(archive, `it holds ${scanner.bytes} bytes, not ${archive.bytes}`);
  // A later pg_dump made it than there is here: that is no fault of the dump.
  if (exit.code === 0 || exit.stderr.includes('unsupported version')) return;
  throw differs(archive, `pg_restore cannot read it: ${summary(exit.stderr.split('\n').filter((line) => line !== ''))}`);
}

function differs(archive: ManifestArchive, reason: string): EngineError {
  return new EngineError('DIGEST_MISMATCH', `${archive.file} is not what was written: ${reason}.`, 'Use another backup.');
}
