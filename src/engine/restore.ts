/**
 * Restores groups of a backup: proves the backup, unpacks it beside its targets, and replaces them all or none.
 */
import { join } from 'node:path';
import { identityToRecipient } from 'age-encryption';
import { EngineError } from '../domain/errors.ts';
import type { Manifest, ManifestArchive, RestorePlan, RestoreRun, RestoreTarget } from './contract.ts';
import { complete } from './complete.ts';
import type { Completion } from './complete.ts';
import { syncFileSystem } from './disk.ts';
import { ioFault, targetFault, throwIfCancelled } from './faults.ts';
import { isRestoreKey, readJournal, writeJournal } from './journal.ts';
import type { Journal } from './journal.ts';
import { readManifest } from './manifest.ts';
import { Meter } from './progress.ts';
import { readWhole } from './read.ts';
import { keepRoot } from './root.ts';
import { requireTar } from './tar.ts';
import type { Tar } from './tar.ts';
import { planTarget, refuseOverlaps, workName } from './target.ts';
import { unpack } from './unpack.ts';

/**
 * Restores the groups: afterwards each target is exactly what the backup holds. Where it fails or is cancelled,
 * every target is as it was. Cancelling is heeded until `beforeSwap` has settled.
 *
 * Should the process die, `recoverRestore` with the same key brings the restore to one of both ends.
 *
 * @throws EngineError MANIFEST_INVALID, FILE_MISSING, DIGEST_MISMATCH, ARCHIVE_UNSAFE, KEY_REQUIRED,
 *   TARGET_UNWRITABLE, STORE_UNREACHABLE, TAR_MISSING, IO; CancelledError; and whatever `beforeSwap` rejects with
 */
export async function restore(plan: RestorePlan, run: RestoreRun): Promise<void> {
  throwIfCancelled(run.signal);
  if (!isRestoreKey(plan.restoreKey)) throw ioFault(new Error(`${plan.restoreKey} is no restore key`), 'The restore cannot begin');
  if (await readJournal(plan.journalDir, plan.restoreKey) !== null) {
    throw ioFault(new Error('a restore with this key was interrupted'), 'The restore cannot begin before that one is recovered');
  }
  const tar = await requireTar();
  const manifest = await readManifest(plan.backupPath);
  const pairs = pairUp(manifest, plan);
  await requireKey(manifest, plan.identity);
  for (const { archive } of pairs) await readWhole(plan.backupPath, archive, null, run.signal);

  const context: Completion = {
    tar, journalDir: plan.journalDir,
    onStep: async (step) => await plan.onStep?.(step),
    onWarning: (text) => run.onWarning?.(text),
  };
  let journal = await begin(tar, plan, pairs);
  try {
    await context.onStep('journal says UNPACKING');
    await unpackAll(tar, plan, run, pairs, journal);
    await context.onStep('unpacked');
    await run.beforeSwap();
    throwIfCancelled(run.signal);
    const swapping: Journal = { ...journal, phase: 'SWAPPING', entries: await withNewRoots(tar, journal) };
    await writeJournal(plan.journalDir, swapping);
    journal = swapping;
  } catch (error) {
    await abandon(journal, context);
    throw error;
  }
  await context.onStep('journal says SWAPPING');
  const { failure } = await complete(journal, context);
  if (failure !== null) throw targetFault(failure, journal.entries.map(({ target }) => target).join(', '));
}

interface Pair {
  archive: ManifestArchive;
  target: RestoreTarget;
}

/** Gives each archive of the groups its target. */
function pairUp(manifest: Manifest, plan: RestorePlan): Pair[] {
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

async function requireKey(manifest: Manifest, identity: string | null): Promise<void> {
  if (manifest.encryption === null) return;
  const recipient = identity === null ? null : await identityToRecipient(identity).catch(() => null);
  if (recipient !== manifest.encryption.recipient) {
    throw new EngineError('KEY_REQUIRED', recipient === null ? 'The backup is encrypted.' : 'The key belongs to another backup.',
      'Give the passcode that the backup was made with.');
  }
}

/** Plans all targets and notes them in the journal, before any of their work directories is made. */
async function begin(tar: Tar, plan: RestorePlan, pairs: readonly Pair[]): Promise<Journal> {
  const kept = [plan.backupPath, plan.journalDir, ...plan.protectedPaths ?? []];
  const journal: Journal = { version: 1, restoreKey: plan.restoreKey, phase: 'UNPACKING', entries: [] };
  for (const [index, { target }] of pairs.entries()) {
    journal.entries.push(await planTarget(tar, target.source, workName(plan.restoreKey, index), kept));
  }
  refuseOverlaps(journal.entries);
  await writeJournal(plan.journalDir, journal);
  return journal;
}

async function unpackAll(tar: Tar, plan: RestorePlan, run: RestoreRun, pairs: readonly Pair[], journal: Journal): Promise<void> {
  const meter = new Meter(run.onProgress);
  const total = (property: 'bytes' | 'files'): number => pairs.reduce((sum, { archive }) => sum + archive[property], 0);
  meter.expect(total('bytes'), total('files'));
  for (const [index, { archive }] of pairs.entries()) {
    const entry = journal.entries[index]!;
    await unpack({ tar, backupPath: plan.backupPath, archive, identity: plan.identity, entry }, run.signal,
      (bytes, files) => meter.add(bytes, files), (text) => run.onWarning?.(text));
  }
  for (const { work, target } of journal.entries) {
    await syncFileSystem(work).catch((error: unknown) => {
      throw targetFault(error, target);
    });
  }
  meter.finish();
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
