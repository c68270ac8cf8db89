/**
 * Restores groups of a backup: unpacks it beside its targets, proves it in passing, and replaces them all or none.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import { isFiles } from '../domain/deployment.ts';
import type { FilesSource, PostgresSource } from '../domain/deployment.ts';
import type { Manifest, ManifestArchive, RestorePlan, RestoreRun, RestoreTarget } from './contract.ts';
import { complete } from './complete.ts';
import type { Completion } from './complete.ts';
import { abandonAll, commitAll, loadAll } from './databases.ts';
import { syncFileSystem } from './disk.ts';
import { ioFault, targetFault, throwIfCancelled } from './faults.ts';
import { isRestoreKey, readJournal, writeJournal } from './journal.ts';
import type { Journal } from './journal.ts';
import { readManifest } from './manifest.ts';
import { Meter } from './progress.ts';
import { keepRoot } from './root.ts';
import { resolveSource } from './source.ts';
import { carryOver } from './sources/keep.ts';
import { selectionOf } from './sources/patterns.ts';
import { proveDump } from './sources/postgres-restore.ts';
import type { LoadedDatabase, ProvenDump } from './sources/postgres-restore.ts';
import type { BackupFiles } from './stores/contract.ts';
import { isLeftOut, requireTar } from './tar.ts';
import type { Tar } from './tar.ts';
import { planTarget, refuseOverlaps, workName } from './target.ts';
import { unpack } from './unpack.ts';

/**
 * Restores the groups: afterwards each target is exactly what the backup holds. Where it fails or is cancelled,
 * every target is as it was. Cancelling is heeded until `beforeSwap` has settled. What the patterns of a source leave out
 * stays in its target. Databases take effect right before the files; see `databases.ts`.
 *
 * Should the process die, `recoverRestore` with the same key brings the restore to one of both ends.
 *
 * @throws EngineError MANIFEST_INVALID, FILE_MISSING, DIGEST_MISMATCH, ARCHIVE_UNSAFE, KEY_REQUIRED,
 *   TARGET_UNWRITABLE, STORE_UNREACHABLE, DATABASE_UNREACHABLE, PG_TOOLS_MISSING, TAR_MISSING, IO; CancelledError; and whatever `beforeSwap` rejects with
 */
export async function restore(plan: RestorePlan, run: RestoreRun): Promise<void> {
  throwIfCancelled(run.signal);
  if (!isRestoreKey(plan.restoreKey)) throw ioFault(new Error(`${plan.restoreKey} is no restore key`), 'The restore cannot begin');
  if (await readJournal(plan.journalDir, plan.restoreKey) !== null) {
    throw ioFault(new Error('a restore with this key was interrupted'), 'The restore cannot begin before that one is recovered');
  }
  const tar = await requireTar();
  const manifest = await readManifest(plan.backup);
  const pairs = pairUp(manifest, plan);
  await requireKey(manifest, plan.identity);
  await requireFiles(plan.backup, pairs);

  const context: Completion = {
    tar, journalDir: plan.journalDir,
    onStep: async (step) => await plan.onStep?.(step),
    onWarning: (text) => run.onWarning?.(text),
  };
  const filePairs = pairs.filter(isFilePair);
  let journal = await begin(tar, plan, filePairs);
  const meter = meterOf(pairs, run);
  let loaded: LoadedDatabase[] = [];
  let isSettled = true;
  try {
    await context.onStep('journal says UNPACKING');
    const dumps = await proveDumps(plan, run, pairs.filter(isDatabasePair));
    await unpackAll(tar, plan, run, filePairs, journal, meter);
    await context.onStep('unpacked');
    loaded = await loadAll(dumps, run.signal, (bytes, files) => meter.add(bytes, files));
    meter.finish();
    if (loaded.length > 0) await context.onStep('databases loaded');
    // Last: what programs add to it from here on is lost.
    if (await carryAll(tar, run, filePairs, journal) > 0) await context.onStep('carried over');
    await run.beforeSwap();
    throwIfCancelled(run.signal);
    const entries = await withNewRoots(tar, journal);
    const databases = loaded.map(({ path, xid }) => ({ path, xid }));
    if (databases.length > 0) {
      await writeJournal(plan.journalDir, { ...journal, phase: 'COMMITTING', entries, databases });
      await context.onStep('journal says COMMITTING');
      // From here on there is no way back: should the journal not get further, recovery takes it on from COMMITTING.
      isSettled = false;
      const { failure, isKnown } = await commitAll(loaded, context.onStep);
      if (failure !== null) {
        isSettled = isKnown;
        throw failure;
      }
    }
    const swapping: Journal = { ...journal, phase: 'SWAPPING', entries, ...(databases.length === 0 ? {} : { databases }) };
    await writeJournal(plan.journalDir, swapping);
    journal = swapping;
  } catch (error) {
    await abandonAll(loaded);
    if (isSettled) await abandon(journal, context);
    throw error;
  }
  await context.onStep('journal says SWAPPING');
  const { failure } = await complete(journal, context);
  if (failure !== null) throw targetFault(failure, journal.entries.map(({ target }) => target).join(', '));
}

/** An archive and where it goes. */
export interface Pair {
  archive: ManifestArchive;
  target: RestoreTarget;
}

type FilePair = Pair & { target: { source: FilesSource } };
type DatabasePair = Pair & { target: { source: PostgresSource } };
const isFilePair = (pair: Pair): pair is FilePair => isFiles(pair.target.source);
const isDatabasePair = (pair: Pair): pair is DatabasePair => !isFilePair(pair);

/** Gives each archive of the groups its target. @throws EngineError MANIFEST_INVALID, TARGET_UNWRITABLE */
export function pairUp(manifest: Manifest, plan: Pick<RestorePlan, 'groups' | 'targets'>): Pair[] {
  return [...new Set(plan.groups)].flatMap((group) => {
    const archives = manifest.archives.filter((archive) => archive.group === group);
    const targets = plan.targets.filter((target) => target.group === group);
    if (archives.length === 0) {
      throw new EngineError('MANIFEST_INVALID', `The backup holds no ${group}.`, 'Restore groups that the backup holds.');
    }
    return archives.map((archive, index) => {
      const target = targets[index];
      if (target === undefined || targets.length !== archives.length || target.source.type !== archive.source.type) {
        throw new EngineError('TARGET_UNWRITABLE', `The sources of ${group} are others now than when the backup was made.`,
          'Deploy a configuration whose sources of the group are as many, and of the same types, as those of the backup.');
      }
      return { archive, target };
    });
  });
}

/** @throws EngineError KEY_REQUIRED where the backup is encrypted and the identity does not open it */
export async function requireKey(manifest: Manifest, identity: string | null): Promise<void> {
  if (manifest.encryption === null) return;
  const { identityToRecipient } = await import('age-encryption');
  const recipient = identity === null ? null : await identityToRecipient(identity).catch(() => null);
  if (recipient !== manifest.encryption.recipient) {
    throw new EngineError('KEY_REQUIRED', recipient === null ? 'The backup is encrypted.' : 'The key belongs to another backup.',
      'Give the passcode that the backup was made with.');
  }
}

/**
 * Finds at once, before any directory is made, what the backup's table of contents shows: an archive that is missing or
 * cut. Other damage is found while the archive is unpacked.
 */
async function requireFiles(backup: BackupFiles, pairs: readonly Pair[]): Promise<void> {
  const sizes = await backup.sizes();
  const hint = 'Put the file back from a copy of the backup, or use another backup.';
  for (const { archive } of pairs) {
    const size = sizes?.get(archive.file);
    if (size === undefined) throw new EngineError('FILE_MISSING', `${archive.file} is missing.`, hint);
    if (size !== archive.size) throw new EngineError('DIGEST_MISMATCH', `${archive.file} is not what was written: its length differs.`, hint);
  }
}

/** Plans all targets and notes them in the journal, before any of their work directories is made. */
async function begin(tar: Tar, plan: RestorePlan, pairs: readonly FilePair[]): Promise<Journal> {
  const kept = [...plan.protectedPaths ?? [], plan.journalDir];
  const journal: Journal = { version: 1, restoreKey: plan.restoreKey, phase: 'UNPACKING', entries: [] };
  for (const [index, { target }] of pairs.entries()) {
    journal.entries.push(await planTarget(tar, target.source, workName(plan.restoreKey, index), kept));
  }
  refuseOverlaps(journal.entries);
  await writeJournal(plan.journalDir, journal);
  return journal;
}

function meterOf(pairs: readonly Pair[], run: RestoreRun): Meter {
  const meter = new Meter(run.onProgress);
  const total = (property: 'bytes' | 'files'): number => pairs.reduce((sum, { archive }) => sum + archive[property], 0);
  meter.expect(total('bytes'), total('files'));
  return meter;
}

/** Reads the dumps to their ends, and asks their servers whether they can be restored. */
async function proveDumps(plan: RestorePlan, run: RestoreRun, pairs: readonly DatabasePair[]): Promise<ProvenDump[]> {
  const dumps: ProvenDump[] = [];
  for (const { archive, target: { source } } of pairs) {
    dumps.push(await proveDump({ backup: plan.backup, archive, identity: plan.identity, source }, run.signal, (text) => run.onWarning?.(text)));
  }
  return dumps;
}

/** Unpacks every archive of files. */
async function unpackAll(tar: Tar, plan: RestorePlan, run: RestoreRun, pairs: readonly FilePair[], journal: Journal, meter: Meter): Promise<void> {
  for (const [index, { archive }] of pairs.entries()) {
    const entry = journal.entries[index]!;
    await unpack({ tar, backup: plan.backup, archive, identity: plan.identity, entry }, run.signal,
      (bytes, files) => meter.add(bytes, files), (text) => run.onWarning?.(text));
  }
  await syncAll(journal);
}

/** Links what the patterns of a source leave out into the new tree, so that it outlives the swap. */
async function carryAll(tar: Tar, run: RestoreRun, pairs: readonly FilePair[], journal: Journal): Promise<number> {
  let carried = 0;
  for (const [index, { archive, target: { source } }] of pairs.entries()) {
    const entry = journal.entries[index]!;
    const selections = [selectionOf(archive.source), selectionOf(source)].filter((selection) => selection !== null);
    const isTree = selections.length > 0 && source.type === 'DIRECTORY' && entry.existed && (await stat(entry.target)).isDirectory();
    if (!isTree) continue;
    const { exclude } = await resolveSource(source, null);
    carried += await carryOver({ tar, from: entry.target, to: join(entry.work, 'new'), work: entry.work, selections, isLeftOut: isLeftOut(exclude) }, run.signal);
  }
  if (carried > 0) await syncAll(journal);
  return carried;
}

async function syncAll(journal: Journal): Promise<void> {
  for (const { work, target } of journal.entries) {
    await syncFileSystem(work).catch((error: unknown) => {
      throw targetFault(error, target);
    });
  }
}

async function withNewRoots(tar: Tar, journal: Journal): Promise<Journal['entries']> {
  return await Promise.all(journal.entries.map(async (entry) =>
    entry.kind === 'INSIDE' ? { ...entry, rootAfter: await keepRoot(tar, join(entry.work, 'new')) } : entry));
}

/** Removes what was unpacked. Should that fail, the journal stays for the recovery. */
async function abandon(journal: Journal, context: Completion): Promise<void> {
  try {
    // A failed attempt to write SWAPPING may have reached the disk all the same.
    await writeJournal(context.journalDir, journal);
    await complete(journal, context);
  } catch (error) {
    context.onWarning(String(error));
  }
}
