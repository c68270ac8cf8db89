/**
 * Reads a backup from end to end and says whether it is what was written.
 */
import { EngineError } from '../domain/errors.ts';
import type { ManifestArchive, Manifest, VerifyResult, VerifyRun } from './contract.ts';
import { ioFault, throwIfCancelled } from './faults.ts';
import { inspectManifest, keyFiles } from './manifest.ts';
import type { Finding } from './manifest.ts';
import { MemberScanner } from './members.ts';
import { InputRefused, killedBy } from './process.ts';
import type { Exit } from './process.ts';
import { Meter } from './progress.ts';
import { readWhole } from './read.ts';
import { inspectDump } from './sources/inspect-dump.ts';
import type { BackupFiles } from './stores/contract.ts';
import { complaints, requireTar, startListing, summary } from './tar.ts';

const NEWLINE = 0x0a;
const LETTER_D = 0x64;

/**
 * Compares every file of a backup with its digest; archives in clear are also decompressed and listed by tar.
 *
 * @returns what was found; a backup that is not there at all has the problem FILE_MISSING
 * @throws EngineError STORE_UNREACHABLE where the store cannot be read, which says nothing about the backup;
 *   TAR_MISSING; CancelledError
 */
export async function verifyBackup(files: BackupFiles, run: VerifyRun): Promise<VerifyResult> {
  throwIfCancelled(run.signal);
  const sizes = await files.sizes();
  if (sizes === null) return { manifest: null, problems: ['FILE_MISSING'], details: [`${files.label} is missing`], sizeOnDisk: 0 };
  const { manifest, findings } = await inspectManifest(files);
  if (manifest !== null) findings.push(...await inspectFiles(files, manifest, run));
  return {
    manifest,
    problems: [...new Set(findings.map(({ problem }) => problem))],
    details: findings.map(({ detail }) => detail),
    sizeOnDisk: [...sizes.values()].reduce((sum, size) => sum + size, 0),
  };
}

/**
 * The same for every file that a manifest names, beside the manifest itself.
 *
 * @param known files that have been read already, when they were written or in a backup that they are shared with: only their lengths are looked at
 * @param isListed false: the digests alone are of interest, for instance of content that was looked at while it was written
 * @throws EngineError STORE_UNREACHABLE, TAR_MISSING; CancelledError
 */
export async function inspectFiles(files: BackupFiles, manifest: Manifest, run: VerifyRun, known: ReadonlySet<string> = new Set(), isListed = true): Promise<Finding[]> {
  const findings: Finding[] = [];
  const meter = new Meter((progress) => run.onProgress?.(progress));
  meter.expect(total(manifest, 'bytes'), total(manifest, 'files'));
  for (const keys of keyFiles(manifest)) await note(findings, readWhole(files, keys, null, run.signal));
  const sizes = known.size === 0 ? null : await files.sizes();
  for (const archive of manifest.archives) {
    const { removed } = archive;
    findings.push(...[archive, ...removed === undefined ? [] : [removed]]
      .filter(({ file, size }) => known.has(file) && sizes?.get(file) !== size)
      .map(({ file }): Finding => ({ problem: 'DIGEST_MISMATCH', detail: `${file} is not what was read before: its length differs` })));
    if (removed !== undefined && !known.has(removed.file)) await note(findings, readWhole(files, removed, null, run.signal));
    if (known.has(archive.file)) {
      meter.add(archive.bytes, archive.files);
      continue;
    }
    // The file's bytes stand for those of its tar stream in proportion: an encrypted one is not opened.
    let reported = 0;
    const onPass = (bytes: number): void => {
      const share = Math.min(archive.bytes - reported, Math.floor((bytes / archive.size) * archive.bytes));
      reported += share;
      meter.add(share, 0);
    };
    await note(findings, isListed ? inspectArchive(files, archive, run.signal, onPass) : readWhole(files, archive, null, run.signal, onPass));
    meter.add(archive.bytes - reported, archive.files);
  }
  meter.finish();
  return findings;
}

/** Takes down what a check of a file found; anything that is no finding goes on as an error. */
async function note(findings: Finding[], check: Promise<void>): Promise<void> {
  try {
    await check;
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    if (error.code === 'FILE_MISSING') findings.push({ problem: 'FILE_MISSING', detail: error.message });
    else if (error.code === 'DIGEST_MISMATCH' || error.code === 'ARCHIVE_UNSAFE') findings.push({ problem: 'DIGEST_MISMATCH', detail: error.message });
    else throw error;
  }
}

async function inspectArchive(backup: BackupFiles, archive: ManifestArchive, signal: AbortSignal, onPass: (bytes: number) => void): Promise<void> {
  if (archive.encrypted) return await readWhole(backup, archive, null, signal, onPass);
  if (archive.source.type === 'POSTGRES') return await inspectDump({ backup, archive, identity: null, depth: 'list' }, signal, onPass);
  const scanner = new MemberScanner(archive.source.type);
  const child = killedBy(signal, startListing(await requireTar()));
  const listed = { members: 0, directories: 0 };
  let isLineStart = true;
  child.stdout?.on('data', (lines: Buffer) => {
    for (let at = 0; at < lines.length;) {
      if (isLineStart && lines[at] === LETTER_D) listed.directories += 1;
      const end = lines.indexOf(NEWLINE, at);
      isLineStart = end >= 0;
      if (end < 0) break;
      listed.members += 1;
      at = end + 1;
    }
  });
  try {
    await readWhole(backup, archive, { identity: null, scanner, stdin: child.stdin! }, signal, onPass);
  } catch (error) {
    const isTarsFault = error instanceof InputRefused;
    if (!isTarsFault) child.kill();
    const exit = await child.exit;
    throwIfCancelled(signal);
    if (isTarsFault) refuseInterrupted(exit);
    throw isTarsFault ? differs(archive, 'tar cannot list it') : error;
  }
  const exit = await child.exit;
  throwIfCancelled(signal);
  refuseInterrupted(exit);
  if (exit.code !== 0) throw differs(archive, `tar cannot list it: ${summary(complaints(exit))}`);
  const { files, directories, bytes } = archive;
  if (scanner.bytes !== bytes || scanner.files !== files || scanner.directories !== directories
    || listed.members !== files + directories || listed.directories !== directories) {
    throw differs(archive, `it lists ${listed.members} members in ${scanner.bytes} bytes, not ${files + directories} in ${bytes}`);
  }
}

/** A tar that somebody ended says nothing about the archive: it must not be taken for damaged. */
function refuseInterrupted({ signal }: Exit): void {
  if (signal !== null) throw ioFault(new Error(`tar was ended by ${signal}`), 'The verification was cut short');
}

function differs(archive: ManifestArchive, reason: string): EngineError {
  return new EngineError('DIGEST_MISMATCH', `${archive.file} is not what was written: ${reason}.`, 'Use another backup.');
}

function total(manifest: Manifest, property: 'bytes' | 'files'): number {
  return manifest.archives.reduce((sum, archive) => sum + archive[property], 0);
}
