/**
 * Makes a backup: writes it under a temporary name, reads it back, and only then gives it its final name.
 */
import { createHash } from 'node:crypto';
import { lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import { archiveNames } from './names.ts';
import { writeArchive } from './archive.ts';
import type { BackupPlan, BackupResult, BackupRun, Manifest, ManifestArchive } from './contract.ts';
import { exists, isPlainName, removeTree, renameWithoutReplacing, syncDirectory, writeDurably } from './disk.ts';
import { estimate } from './estimate.ts';
import { ioFault, storeFault, throwIfCancelled } from './faults.ts';
import { digestList, DIGESTS_FILE, IDENTITY_FILE, MANIFEST_FILE, manifestText } from './manifest.ts';
import { Meter } from './progress.ts';
import { resolveSource } from './source.ts';
import { requireTar } from './tar.ts';
import type { Tar } from './tar.ts';
import { verifyBackup } from './verify.ts';

/**
 * Makes one backup. It settles only when no child process runs any more; where it fails or is cancelled, nothing
 * of it is left in the store.
 *
 * @throws EngineError TAR_MISSING, SOURCE_UNREADABLE, STORE_FULL, STORE_UNREACHABLE, VERIFY_FAILED, IO;
 *   CancelledError; and whatever `beforePublish` rejects with
 */
export async function backup(plan: BackupPlan, run: BackupRun): Promise<BackupResult> {
  throwIfCancelled(run.signal);
  if (!isPlainName(plan.partialName) || !isPlainName(plan.directoryName) || !plan.partialName.startsWith('.') || plan.directoryName.startsWith('.')) {
    throw ioFault(new Error('its name is not one that a store can hold'), `The backup ${plan.facts.name} cannot be made`);
  }
  const tar = await requireTar();
  const partial = join(plan.storePath, plan.partialName);
  const meter = new Meter(run.onProgress);
  await expectTotals(tar, plan, run, meter);
  // Only what this call has made may be removed when it fails: the name might be taken.
  await mkdir(partial, { mode: 0o700 }).catch((error: unknown) => {
    throw storeFault(error, plan.storePath);
  });
  const own = await lstat(partial);
  try {
    await plan.onStep?.('partial made');
    const manifest = await write(tar, plan, run, meter, partial);
    const sizeOnDisk = await readBack(plan, run, partial);
    await plan.onStep?.('verified');
    await run.beforePublish();
    throwIfCancelled(run.signal);
    if (!(await isStill(partial, own.ino))) throw storeFault(new Error(`${partial} was replaced by somebody else`), plan.storePath);
    const path = await publish(plan, partial);
    meter.finish();
    return { manifest, sizeOnDisk, path };
  } catch (error) {
    // A store that has vanished cannot be cleaned; the sweep of partial backups finds what is left.
    const clean = async (): Promise<void> => {
      if (await isStill(partial, own.ino)) await removeTree(partial);
    };
    await clean().catch((reason: unknown) => run.onWarning?.(String(reason)));
    throw error;
  }
}

async function expectTotals(tar: Tar, plan: BackupPlan, run: BackupRun, meter: Meter): Promise<void> {
  let [bytes, files] = [0, 0];
  for (const { source } of plan.archives) {
    const part = await estimate(tar, source, await resolveSource(source, plan.storePath), run.signal);
    bytes += part.bytes;
    files += part.files;
  }
  meter.expect(bytes, files);
}

/** Whether what lies there is what this call has made, not what another made in its place. */
async function isStill(path: string, inode: number): Promise<boolean> {
  return (await exists(path)) && (await lstat(path)).ino === inode;
}

/** Writes every file of the backup, the manifest last, and all of it to disk. */
async function write(tar: Tar, plan: BackupPlan, run: BackupRun, meter: Meter, partial: string): Promise<Manifest> {
  const { encryption, storePath } = plan;
  const names = archiveNames(plan.archives.map(({ group }) => group), encryption !== null);
  const archives: ManifestArchive[] = [];
  for (const [index, { group, source }] of plan.archives.entries()) {
    const file = names[index] ?? '';
    const job = { tar, source, storePath, path: join(partial, file), recipient: encryption?.recipient ?? null };
    const written = await writeArchive(job, run.signal, (bytes, files) => meter.add(bytes, files), (text) => run.onWarning?.(text));
    await plan.onStep?.(`wrote ${file}`);
    const { files, directories, bytes, size, sha256 } = written;
    archives.push({
      file, group, source: { type: source.type, path: source.path }, files, directories, bytes, size, sha256,
      compression: 'zstd', encrypted: encryption !== null,
    });
  }
  const manifest: Manifest = {
    formatVersion: 1,
    ...plan.facts,
    groups: [...new Set(plan.archives.map(({ group }) => group))].filter((group) => group !== null),
    timeCompleted: new Date().toISOString(),
    encryption: encryption === null ? null : {
      format: 'age', recipient: encryption.recipient, identityFile: IDENTITY_FILE,
      identitySha256: createHash('sha256').update(encryption.wrappedIdentity).digest('hex'),
    },
    archives,
  };
  const text = manifestText(manifest);
  try {
    if (encryption !== null) await writeDurably(join(partial, IDENTITY_FILE), encryption.wrappedIdentity);
    await writeDurably(join(partial, DIGESTS_FILE), digestList(manifest, text));
    await plan.onStep?.('wrote digests');
    await writeDurably(join(partial, MANIFEST_FILE), text);
    await syncDirectory(partial);
  } catch (error) {
    throw storeFault(error, storePath);
  }
  await plan.onStep?.('wrote manifest');
  return manifest;
}

/** @returns the size of all files. @throws EngineError VERIFY_FAILED */
async function readBack(plan: BackupPlan, run: BackupRun, partial: string): Promise<number> {
  const { problems, details, sizeOnDisk } = await verifyBackup(partial, { signal: run.signal });
  if (problems.length === 0) return sizeOnDisk;
  throw new EngineError('VERIFY_FAILED', `What was read back from ${plan.storePath} is not what was written: ${details.join('; ')}.`,
    "Look at the health of the store's disk and at the system log before you trust the store again.");
}

/** Gives the backup its final name. Nothing is under that name where this throws. */
async function publish(plan: BackupPlan, partial: string): Promise<string> {
  const path = join(plan.storePath, plan.directoryName);
  await renameWithoutReplacing(partial, path).catch((error: unknown) => {
    throw storeFault(error, plan.storePath);
  });
  try {
    await plan.onStep?.('renamed');
    await syncDirectory(plan.storePath);
    return path;
  } catch (error) {
    await removeTree(path);
    throw storeFault(error, plan.storePath);
  }
}
