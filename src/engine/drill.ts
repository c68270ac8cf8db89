/**
 * A restore drill: archives are unpacked into a scratch directory and compared there, so that nobody has to find out in
 * an emergency whether a backup can be restored.
 */
import { mkdir, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../domain/errors.ts';
import type { ContentGroup } from '../domain/vocabulary.ts';
import { canBePutBack, compareArchive } from './compare.ts';
import type { ManifestArchive, Progress } from './contract.ts';
import { removeTree } from './disk.ts';
import { targetFault, throwIfCancelled } from './faults.ts';
import { chainsOf } from './incremental/base.ts';
import { identitiesOf } from './incremental/shared-keys.ts';
import type { IdentityOf } from './incremental/shared-keys.ts';
import { unpackLayers } from './incremental/unpack.ts';
import { readManifest } from './manifest.ts';
import { Meter } from './progress.ts';
import { requireKey } from './restore.ts';
import { inspectDump } from './sources/inspect-dump.ts';
import { allTools } from './sources/postgres-tools.ts';
import type { BackupFiles } from './stores/contract.ts';
import { requireTar } from './tar.ts';
import type { Tar } from './tar.ts';

export interface DrillPlan {
  backup: BackupFiles;
  /** Null: everything in the backup. */
  groups: ContentGroup[] | null;
  /** `AGE-SECRET-KEY-1…` of an encrypted backup, null otherwise. */
  identity: string | null;
  /** Absolute path of a directory that is this attempt's own; it is made, and gone when the drill ends. */
  scratch: string;
}

export interface DrillRun {
  signal: AbortSignal;
  onProgress(progress: Progress): void;
  onWarning?(text: string): void;
}

/** What was unpacked and found to be what the archives hold. */
export interface DrillResult { files: number; bytes: number }

/** Room for what file systems need beside the content, for each member. */
const OVERHEAD_BYTES = 4096;

/**
 * Unpacks and compares one source after the other; each is removed before the next one is unpacked.
 *
 * @throws EngineError MANIFEST_INVALID, FILE_MISSING, DIGEST_MISMATCH, ARCHIVE_UNSAFE, KEY_REQUIRED, TARGET_UNWRITABLE,
 *   STORE_UNREACHABLE, TAR_MISSING; CancelledError. The scratch directory is removed all the same
 */
export async function drill(plan: DrillPlan, run: DrillRun): Promise<DrillResult> {
  throwIfCancelled(run.signal);
  const tar = await requireTar();
  const manifest = await readManifest(plan.backup);
  await requireKey(manifest, plan.identity);
  const identityOf = await identitiesOf(plan.backup, manifest, plan.identity);
  const archives = manifest.archives.filter(({ group }) => plan.groups === null || (group !== null && plan.groups.includes(group)));
  const sources = chainsOf(archives);
  const absent = plan.groups?.find((group) => !archives.some((archive) => archive.group === group));
  if (absent !== undefined) throw new EngineError('MANIFEST_INVALID', `The backup holds no ${absent}.`, 'Drill groups that the backup holds.');

  await mkdir(plan.scratch, { recursive: true, mode: 0o700 }).catch((error: unknown) => {
    throw targetFault(error, plan.scratch);
  });
  try {
    await requireSpace(plan.scratch, sources.filter(([archive]) => !isDump(archive)));
    const total = (property: 'bytes' | 'files'): number => archives.reduce((sum, archive) => sum + archive[property], 0);
    const meter = new Meter((progress) => run.onProgress(progress));
    // Each archive of files is read twice: to unpack it, and to compare.
    const readings = archives.flatMap((archive) => (isDump(archive) ? [archive] : [archive, archive]));
    meter.expect(readings.reduce((sum, { bytes }) => sum + bytes, 0), readings.reduce((sum, { files }) => sum + files, 0));
    for (const [index, layers] of sources.entries()) await drillSource({ tar, plan, run, meter, identityOf, layers, into: join(plan.scratch, String(index)) });
    meter.finish();
    return { files: total('files'), bytes: total('bytes') };
  } finally {
    await removeTree(plan.scratch).catch((error: unknown) => run.onWarning?.(String(error)));
  }
}

const isDump = (archive: ManifestArchive | undefined): boolean => archive?.source.type === 'POSTGRES';

/** Sources are drilled one at a time, so that the largest is what must fit. @throws EngineError TARGET_UNWRITABLE */
async function requireSpace(scratch: string, sources: readonly ManifestArchive[][]): Promise<void> {
  const { bavail, bsize, files, ffree } = await statfs(scratch);
  const largest = (size: (archive: ManifestArchive) => number): number =>
    Math.max(0, ...sources.map((layers) => layers.reduce((sum, archive) => sum + size(archive), 0)));
  const members = largest((archive) => archive.files + archive.directories);
  const [free, needed] = [bavail * bsize, largest((archive) => archive.bytes + OVERHEAD_BYTES * (archive.files + archive.directories))];
  const hint = 'Make room there, or set DATA_DIR to a directory on a larger file system; or drill fewer groups.';
  if (free < needed) throw new EngineError('TARGET_UNWRITABLE', `The drill needs ${needed} bytes of free space in ${scratch}, and ${free} are free.`, hint);
  // Some file systems count no files at all and answer 0 of 0.
  if (files > 0 && ffree < members) throw new EngineError('TARGET_UNWRITABLE', `The drill needs room for ${members} files in ${scratch}, and there is room for ${ffree}.`, hint);
}

interface SourceDrill {
  tar: Tar;
  plan: DrillPlan;
  run: DrillRun;
  meter: Meter;
  identityOf: IdentityOf;
  layers: ManifestArchive[];
  /** Absolute path of a directory that is not there. */
  into: string;
}

/** Unpacks one source layer by layer, and compares each with what is there before the next one changes that. */
async function drillSource({ tar, plan: { backup }, run, meter, identityOf, layers, into }: SourceDrill): Promise<void> {
  const [whole] = layers;
  const onPass = (bytes: number, files: number) => meter.add(bytes, files);
  const onWarning = (text: string) => run.onWarning?.(text);
  if (whole !== undefined && isDump(whole)) {
    // There is no database to restore it into: it is turned into all that a restore would run.
    if ((await allTools()).length === 0) onWarning(`There is no pg_restore here: of ${whole.file} the digest and the length were checked, and no more.`);
    return inspectDump({ backup, archive: whole, identity: identityOf(whole), depth: 'everything' }, run.signal, undefined, onPass);
  }
  await mkdir(into, { mode: 0o700 }).catch((error: unknown) => {
    throw targetFault(error, into);
  });
  await unpackLayers({ tar, backup, layers, identityOf, into }, run.signal, onPass, onWarning, async (archive) => {
    const differences: string[] = [];
    const missing = await compareArchive({ tar, backup, archive, identity: identityOf(archive), directory: into, fileName: null }, run.signal, onPass, (member) => {
      const name = Buffer.from(member.name, 'latin1').toString('utf8') || '.';
      for (const difference of member.differences) if (canBePutBack(difference)) differences.push(`${name}: ${difference}`);
    });
    const [first] = differences;
    if (first !== undefined) throw differs(archive, `${first}${differences.length > 1 ? `; and ${differences.length - 1} more` : ''}`);
    if (missing > 0) throw differs(archive, `${missing} files or directories are not there`);
  });
  await removeTree(into);
}

function differs(archive: ManifestArchive, reason: string): EngineError {
  return new EngineError('DIGEST_MISMATCH', `What was unpacked from ${archive.file} is not what it holds: ${reason}.`,
    'Look at the health of the disk that the drill used, and at the system log; then drill again.');
}
