/**
 * Makes a backup: writes it where nobody sees it, reads it back, and only then publishes it.
 */
import { createHash } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { isDeepStrictEqual } from 'node:util';
import type { SourceSpec } from '../domain/deployment.ts';
import { EngineError } from '../domain/errors.ts';
import { archiveNames } from './names.ts';
import { writeArchive } from './archive.ts';
import type { ArchiveSpec, BackupPlan, BackupResult, BackupRun, Manifest, ManifestArchive } from './contract.ts';
import { throwIfCancelled } from './faults.ts';
import { removedName } from './incremental/names.ts';
import { Incremental } from './incremental/layers.ts';
import { nextName, NotShareable, shareLayers, writeRemoved } from './incremental/write.ts';
import { digestList, DIGESTS_FILE, IDENTITY_FILE, KEYS_FILE, manifestText, readManifest } from './manifest.ts';
import { atPriority } from './priority.ts';
import { Meter } from './progress.ts';
import { readWhole } from './read.ts';
import { openSource } from './sources/reading.ts';
import type { BackupWriter } from './stores/contract.ts';
import { requireTar } from './tar.ts';
import type { Tar } from './tar.ts';
import { inspectFiles } from './verify.ts';

/**
 * Makes one backup. It settles only when no child process runs any more; where it fails or is cancelled, nothing
 * of it is left in the store.
 *
 * @throws EngineError TAR_MISSING, SOURCE_UNREADABLE, STORE_FULL, STORE_UNREACHABLE, VERIFY_FAILED, IO;
 *   CancelledError; and whatever `beforePublish` rejects with
 */
export function backup(plan: BackupPlan, run: BackupRun): Promise<BackupResult> {
  return atPriority(plan.priority, () => makeOnce(plan, run));
}

async function makeOnce(plan: BackupPlan, run: BackupRun): Promise<BackupResult> {
  throwIfCancelled(run.signal);
  const tar = await requireTar();
  try {
    return await attempt(tar, plan, run, true);
  } catch (error) {
    if (!(error instanceof NotShareable)) throw error;
    run.onWarning?.(`The backup is whole, since it cannot share files with ${plan.incremental?.base}: ${error.message}`);
    return await attempt(tar, plan, run, false);
  }
}

/** @throws NotShareable where what it is based on is not there to be shared, beside what `backup` throws */
async function attempt(tar: Tar, plan: BackupPlan, run: BackupRun, isBased: boolean): Promise<BackupResult> {
  const meter = new Meter(run.onProgress);
  const incremental = await Incremental.prepare(tar, plan, run, isBased);
  // Walking the sources without reading them, where that is needed, is done while they are read.
  const counting = new AbortController();
  // What hinders the counting hinders the reading, which says so.
  const counted = expectTotals(tar, plan, AbortSignal.any([run.signal, counting.signal]), meter, incremental).catch(() => undefined);
  try {
    return await make(tar, plan, run, meter, incremental);
  } catch (error) {
    await incremental?.discard();
    throw error;
  } finally {
    counting.abort();
    await counted;
  }
}

async function make(tar: Tar, plan: BackupPlan, run: BackupRun, meter: Meter, incremental: Incremental | null): Promise<BackupResult> {
  const writer = await plan.store.begin(plan.name, plan.attempt);
  try {
    await plan.onStep?.('begun');
    const written = await write(tar, plan, run, meter, writer, incremental);
    const { manifest, text, sizeOnDisk, sizeAdded, read } = written;
    await readBack(plan, run, writer, written);
    await plan.onStep?.('verified');
    await run.beforePublish();
    throwIfCancelled(run.signal);
    await writer.publish(text);
    await proveManifest(plan);
    await incremental?.commit(plan.name, sha256Of(digestList(manifest, text)), (warning) => run.onWarning?.(warning));
    meter.finish();
    return { manifest, sizeOnDisk, sizeAdded, read, location: plan.store.locationOf(plan.name) };
  } catch (error) {
    // A store that has vanished cannot be cleaned; a sweep finds what is left.
    const left = await writer.discard();
    if (left !== null) run.onWarning?.(left);
    throw error;
  }
}

async function expectTotals(tar: Tar, plan: BackupPlan, signal: AbortSignal, meter: Meter, incremental: Incremental | null): Promise<void> {
  let [bytes, files] = [0, 0];
  const earlier = plan.earlier === undefined ? null : await readManifest(plan.store.open(plan.earlier)).catch(() => null);
  for (const [index, archive] of plan.archives.entries()) {
    const part = incremental?.layersOf(index)?.expected ?? tookBefore(earlier, archive)
      ?? await (await openSource(tar, archive.source, plan.store.localPath, signal)).estimate(signal);
    bytes += part.bytes;
    files += part.files;
  }
  meter.expect(bytes, files);
}

/** What an earlier backup took from the same source, whole; null: none, or a database, whose server tells sooner. */
function tookBefore(earlier: Manifest | null, { group, source }: ArchiveSpec): { bytes: number; files: number } | null {
  if (source.type === 'POSTGRES') return null;
  const same = earlier?.archives.filter((archive) => archive.group === group && isDeepStrictEqual(archive.source, describe(source))) ?? [];
  return same.length === 1 ? same[0]! : null;
}

/** A manifest that is not in the store yet. */
interface Written {
  manifest: Manifest;
  text: string;
  /** Names of archives that have been read to their ends already: when an earlier backup was made, or when they were written. */
  proven: ReadonlySet<string>;
  /** Of all files, the manifest included. */
  sizeOnDisk: number;
  sizeAdded: number;
  read: BackupResult['read'];
}

/** Writes every file of the backup but the manifest. */
async function write(tar: Tar, plan: BackupPlan, run: BackupRun, meter: Meter, writer: BackupWriter, incremental: Incremental | null): Promise<Written> {
  const { encryption, store } = plan;
  const names = archiveNames(plan.archives, encryption !== null);
  const archives: ManifestArchive[] = [];
  const shared = new Set<string>();
  const proven = new Set<string>();
  const recipient = encryption?.recipient ?? null;
  for (const [index, { group, source }] of plan.archives.entries()) {
    const whole = names[index] ?? '';
    const layers = incremental?.layersOf(index) ?? null;
    if (layers?.shared != null) {
      const older = await shareLayers(writer, layers.shared, whole, recipient);
      archives.push(...older);
      for (const { file, removed } of older) for (const name of [file, ...removed === undefined ? [] : [removed.file]]) shared.add(name);
      await plan.onStep?.(`shared ${whole}`);
      if (layers.next === null) continue;
    }
    const file = layers === null ? whole : nextName(whole, layers);
    const removed = layers?.next?.removed == null ? null : await writeRemoved(writer, layers.next.removed, removedName(file), recipient, run.signal);
    const job = { tar, source, store, writer, file, recipient, ...(layers?.next == null ? {} : { members: layers.next.members }) };
    const written = await writeArchive(job, run.signal, (bytes, files) => meter.add(bytes, files), (text) => run.onWarning?.(text)).catch((error: unknown) => {
      throw isDamage(error) ? notWhatWasWritten(plan, error.message) : error;
    });
    await plan.onStep?.(`wrote ${file}`);
    const { files, directories, bytes, stored: { size, sha256 }, unreadable, attributed } = written;
    // Below an update lies what these files once held, which a restore would bring back: neither their content nor none.
    if (unreadable.length > 0 && (layers?.next?.layer ?? 0) > 0) throw new NotShareable(`${source.path} has changed files that cannot be read.`);
    if (written.isProven) proven.add(file);
    incremental?.wrote(index, attributed, unreadable.length === 0);
    archives.push({
      file, group, source: describe(source), files, directories, bytes, size, sha256,
      compression: 'zstd', encrypted: encryption !== null, ...(unreadable.length === 0 ? {} : { unreadable }),
      ...(layers?.next == null || layers.next.layer === 0 ? {} : { layer: layers.next.layer }), ...(removed === null ? {} : { removed }),
    });
  }
  // Layers that this backup's own identity opens need no other.
  const keys = archives.some(({ recipient: other }) => other !== undefined) ? plan.incremental?.sharedKeys ?? null : null;
  const manifest: Manifest = {
    formatVersion: archives.some(({ layer, recipient: other }) => layer !== undefined || other !== undefined) ? 2 : 1,
    ...plan.facts,
    groups: [...new Set(plan.archives.map(({ group }) => group))].filter((group) => group !== null),
    timeCompleted: new Date().toISOString(),
    encryption: encryption === null ? null : {
      format: 'age', recipient: encryption.recipient, identityFile: IDENTITY_FILE, identitySha256: sha256Of(encryption.wrappedIdentity),
      ...(keys === null ? {} : { keysFile: KEYS_FILE, keysSha256: sha256Of(keys) }),
    },
    archives,
  };
  const text = manifestText(manifest);
  const digests = digestList(manifest, text);
  if (encryption !== null) await writeSmall(writer, IDENTITY_FILE, encryption.wrappedIdentity);
  if (keys !== null) await writeSmall(writer, KEYS_FILE, keys);
  await writeSmall(writer, DIGESTS_FILE, digests);
  await plan.onStep?.('wrote digests');
  const own = archives.filter(({ file }) => !shared.has(file));
  const small = [encryption?.wrappedIdentity.length ?? 0, keys?.length ?? 0, Buffer.byteLength(digests), Buffer.byteLength(text)].reduce((sum, size) => sum + size);
  const total = (of: ManifestArchive[]): number => of.reduce((sum, { size, removed }) => sum + size + (removed?.size ?? 0), small);
  return {
    manifest, text, proven: shared.union(proven), sizeOnDisk: total(archives), sizeAdded: total(own),
    read: { bytes: own.reduce((sum, { bytes }) => sum + bytes, 0), files: own.reduce((sum, { files }) => sum + files, 0) },
  };
}

/** A source as the manifest names it. */
function describe(source: SourceSpec): ManifestArchive['source'] {
  const { type, path } = source;
  if (source.type === 'POSTGRES') return { type, path };
  return { type, path, ...(source.include === undefined ? {} : { include: source.include }), ...(source.exclude === undefined ? {} : { exclude: source.exclude }) };
}

async function writeSmall(writer: BackupWriter, file: string, content: string | Uint8Array): Promise<void> {
  await pipeline([Buffer.from(content)], await writer.create(file));
}

const sha256Of = (content: string | Uint8Array): string => createHash('sha256').update(content).digest('hex');

/**
 * Compares the digests of all that has been written with those of what was meant to be. The content itself was looked at
 * as it passed; decoding it once more is for verifications.
 *
 * @throws EngineError VERIFY_FAILED
 */
async function readBack(plan: BackupPlan, run: BackupRun, writer: BackupWriter, { manifest, text, proven }: Written): Promise<void> {
  const details = (await inspectFiles(writer.files, manifest, { signal: run.signal }, proven, false)).map(({ detail }) => detail);
  const digests = { file: DIGESTS_FILE, sha256: sha256Of(digestList(manifest, text)) };
  await readWhole(writer.files, digests, null, run.signal).catch((error: unknown) => {
    if (!isDamage(error)) throw error;
    details.push(error.message);
  });
  if (details.length > 0) throw notWhatWasWritten(plan, details.join('; '));
}

/** The manifest is there only once it is published. Nothing is left where this throws. */
async function proveManifest(plan: BackupPlan): Promise<void> {
  try {
    await readManifest(plan.store.open(plan.name));
    await plan.onStep?.('published');
  } catch (error) {
    await plan.store.remove(plan.name);
    throw isDamage(error) ? notWhatWasWritten(plan, error.message) : error;
  }
}

const isDamage = (error: unknown): error is EngineError =>
  error instanceof EngineError && ['FILE_MISSING', 'DIGEST_MISMATCH', 'MANIFEST_INVALID'].includes(error.code);

function notWhatWasWritten(plan: BackupPlan, details: string): EngineError {
  return new EngineError('VERIFY_FAILED', `What was read back from ${plan.store.label} is not what was written: ${details}.`,
    "Look at the health of the store's disk and at the system log before you trust the store again.");
}
