/**
 * Reads a backup from end to end and says whether it is what was written.
 */
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import type { ManifestArchive, Manifest, VerifyResult, VerifyRun } from './contract.ts';
import { sizeOfFiles } from './disk.ts';
import { isMissing, storeFault, throwIfCancelled } from './faults.ts';
import { IDENTITY_FILE, inspectManifest } from './manifest.ts';
import type { Finding } from './manifest.ts';
import { MemberScanner } from './members.ts';
import { InputRefused, killedBy } from './process.ts';
import { Meter } from './progress.ts';
import { readWhole } from './read.ts';
import { complaints, requireTar, startListing, summary } from './tar.ts';

const NEWLINE = 0x0a;
const LETTER_D = 0x64;

/**
 * Compares every file of a backup with its digest; archives in clear are also decompressed and listed by tar.
 *
 * @param path the backup's directory
 * @returns what was found; a backup that is not there at all has the problem FILE_MISSING
 * @throws EngineError STORE_UNREACHABLE where the store cannot be read, which says nothing about the backup;
 *   TAR_MISSING; CancelledError
 */
export async function verifyBackup(path: string, run: VerifyRun): Promise<VerifyResult> {
  throwIfCancelled(run.signal);
  if (!(await isDirectory(path))) {
    if (!(await isDirectory(dirname(path)))) throw storeFault(new Error('there is no such directory'), dirname(path));
    return { manifest: null, problems: ['FILE_MISSING'], details: [`${path} is missing`], sizeOnDisk: 0 };
  }
  const { manifest, findings } = await inspectManifest(path).catch((error: unknown) => {
    throw storeFault(error, path);
  });
  if (manifest !== null) findings.push(...await inspectFiles(path, manifest, run));
  return {
    manifest,
    problems: [...new Set(findings.map(({ problem }) => problem))],
    details: findings.map(({ detail }) => detail),
    sizeOnDisk: await sizeOfFiles(path).catch((error: unknown) => {
      throw storeFault(error, path);
    }),
  };
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isMissing(error)) return false;
    throw storeFault(error, path);
  }
}

async function inspectFiles(path: string, manifest: Manifest, run: VerifyRun): Promise<Finding[]> {
  const findings: Finding[] = [];
  const meter = new Meter((progress) => run.onProgress?.(progress));
  meter.expect(total(manifest, 'bytes'), total(manifest, 'files'));
  if (manifest.encryption !== null) {
    const identity = { file: IDENTITY_FILE, sha256: manifest.encryption.identitySha256 };
    await note(findings, readWhole(path, identity, null, run.signal));
  }
  for (const archive of manifest.archives) {
    // The file's bytes stand for those of its tar stream in proportion: an encrypted one is not opened.
    let reported = 0;
    const onPass = (bytes: number): void => {
      const share = Math.min(archive.bytes - reported, Math.floor((bytes / archive.size) * archive.bytes));
      reported += share;
      meter.add(share, 0);
    };
    await note(findings, inspectArchive(path, archive, run.signal, onPass));
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

async function inspectArchive(path: string, archive: ManifestArchive, signal: AbortSignal, onPass: (bytes: number) => void): Promise<void> {
  if (archive.encrypted) return await readWhole(path, archive, null, signal, onPass);
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
    await readWhole(path, archive, { identity: null, scanner, stdin: child.stdin! }, signal, onPass);
  } catch (error) {
    child.kill();
    await child.exit;
    throw error instanceof InputRefused ? differs(archive, 'tar cannot list it') : error;
  }
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (exit.code !== 0) throw differs(archive, `tar cannot list it: ${summary(complaints(exit))}`);
  const { files, directories, bytes } = archive;
  if (scanner.bytes !== bytes || scanner.files !== files || scanner.directories !== directories
    || listed.members !== files + directories || listed.directories !== directories) {
    throw differs(archive, `it lists ${listed.members} members in ${scanner.bytes} bytes, not ${files + directories} in ${bytes}`);
  }
}

function differs(archive: ManifestArchive, reason: string): EngineError {
  return new EngineError('DIGEST_MISMATCH', `${archive.file} is not what was written: ${reason}.`, 'Use another backup.');
}

function total(manifest: Manifest, property: 'bytes' | 'files'): number {
  return manifest.archives.reduce((sum, archive) => sum + archive[property], 0);
}
