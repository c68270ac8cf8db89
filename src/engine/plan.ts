/**
 * What a restore would change: each archive is compared with its target, and the target is walked for what the archive
 * does not hold. Nothing is written.
 */
import { lstat, realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { PlannedEntries, PlannedGroup } from '../domain/reports.ts';
import type { ContentGroup } from '../domain/vocabulary.ts';
import { canBePutBack, compareArchive } from './compare.ts';
import type { ComparedMember } from './compare.ts';
import type { ManifestArchive, Progress, RestorePlan, RestoreTarget } from './contract.ts';
import { exists } from './disk.ts';
import { throwIfCancelled } from './faults.ts';
import { chainsOf } from './incremental/base.ts';
import { identitiesOf } from './incremental/shared-keys.ts';
import type { IdentityOf } from './incremental/shared-keys.ts';
import { readNames } from './incremental/unpack.ts';
import { readManifest } from './manifest.ts';
import { namesIn } from './present.ts';
import type { Present } from './present.ts';
import { Meter } from './progress.ts';
import { pairUp, requireKey } from './restore.ts';
import { resolveSource } from './source.ts';
import { firstKept } from './sources/keep.ts';
import { selectionOf } from './sources/patterns.ts';
import { isLeftOut, requireTar } from './tar.ts';
import type { Tar } from './tar.ts';

export interface PlanRun {
  signal: AbortSignal;
  onProgress(progress: Progress): void;
}

/** The parts of a restore that say what would go where. */
export type PlannedRestore = Pick<RestorePlan, 'backup' | 'groups' | 'targets' | 'identity'> & {
  /** Absolute path of the backup's store where it is a directory: what lies there is no part of a target. */
  storePath: string | null;
};

/** So many of each kind are named. */
const NAMED = 100;
/** So many owners are looked up at once. */
const AT_ONCE = 32;

/**
 * Finds out what `restore` with the same groups, targets and identity would change now.
 *
 * @throws EngineError MANIFEST_INVALID, FILE_MISSING, DIGEST_MISMATCH, ARCHIVE_UNSAFE, KEY_REQUIRED, TARGET_UNWRITABLE
 *   where the sources are others now, SOURCE_UNREADABLE, STORE_UNREACHABLE, TAR_MISSING; CancelledError
 */
export async function planRestore(plan: PlannedRestore, run: PlanRun): Promise<PlannedGroup[]> {
  throwIfCancelled(run.signal);
  const tar = await requireTar();
  const manifest = await readManifest(plan.backup);
  const chains = chainsOf(manifest.archives);
  const pairs = pairUp({ ...manifest, archives: chains.flatMap(([whole]) => whole ?? []) }, plan)
    .map(({ archive, target }) => ({ target, layers: chains.find(([whole]) => whole === archive) ?? [archive] }));
  await requireKey(manifest, plan.identity);
  const identityOf = await identitiesOf(plan.backup, manifest, plan.identity);
  const meter = new Meter((progress) => run.onProgress(progress));
  const total = (property: 'bytes' | 'files'): number => pairs.reduce((sum, { layers }) => layers.reduce((inner, archive) => inner + archive[property], sum), 0);
  meter.expect(total('bytes'), total('files'));
  const groups = new Map<ContentGroup, PlannedGroup>();
  for (const pair of pairs) {
    const group = groups.get(pair.target.group) ?? emptyGroup(pair.target.group);
    groups.set(group.group, group);
    await addSource({ tar, plan, run, meter, identityOf, ...pair }, group);
  }
  meter.finish();
  return [...groups.values()];
}

function emptyGroup(group: ContentGroup): PlannedGroup {
  const none = (): PlannedEntries => ({ count: 0, paths: [] });
  return { group, targets: [], databases: [], added: none(), changed: none(), removed: none(), unreadable: none(), unchanged: 0, bytesToWrite: 0, bytesToUnpack: 0 };
}

interface SourcePlan {
  tar: Tar;
  plan: PlannedRestore;
  run: PlanRun;
  meter: Meter;
  identityOf: IdentityOf;
  target: RestoreTarget;
  /** The whole archive and its updates. */
  layers: ManifestArchive[];
}

/** Adds what the restore of one source would change. */
async function addSource({ tar, plan, run, meter, identityOf, target, layers }: SourcePlan, group: PlannedGroup): Promise<void> {
  const { source } = target;
  const [whole] = layers;
  if (whole === undefined) return;
  if (source.type === 'POSTGRES') {
    // Replaced whole, in one transaction: what would differ, only a restore of it elsewhere could tell.
    group.databases.push(source.path);
    group.bytesToWrite += whole.bytes;
    meter.add(whole.bytes, whole.files);
    return;
  }
  group.targets.push(source.path);
  const isThere = await exists(source.path);
  const path = isThere ? await realpath(source.path) : source.path;
  const isFile = source.type === 'FILE';
  // A file where a directory is to be, or the other way round, is replaced as a whole.
  const isOfAnotherKind = isThere && (await lstat(path)).isDirectory() === isFile;
  // What is there and was not met in the archive yet, and whether it is a directory.
  const nothing: Present = { names: new Map(), unreadable: new Set() };
  const { names: left, unreadable: unseen } = isThere ? await namesIn(tar, source, path, plan.storePath, run.signal) : nothing;
  const pathOf = (name: string, isDirectory: boolean): string => {
    const shown = name === '' ? path : join(path, Buffer.from(name, 'latin1').toString('utf8'));
    return isDirectory && !shown.endsWith('/') ? `${shown}/` : shown;
  };
  const add = (to: PlannedEntries, name: string, isDirectory: boolean): void => {
    to.count += 1;
    if (to.paths.length < NAMED) to.paths.push(pathOf(name, isDirectory));
  };
  const changed = new Set<string>();
  const change = (member: Pick<ComparedMember, 'name' | 'kind' | 'size'>): void => {
    changed.add(member.name);
    group.bytesToWrite += member.size;
    add(group.changed, member.name, member.kind === 'd');
  };
  // What cannot be read of the target, and is told once.
  const told = new Set<string>();
  const tellUnreadable = (name: string, isDirectory: boolean): void => {
    if (told.has(name)) return;
    told.add(name);
    add(group.unreadable, name, isDirectory);
  };
  const isUnseen = (name: string): boolean => unseen.size > 0 && (unseen.has('') || andAbove(name).some((above) => unseen.has(above)));
  // tar compares the owners of regular files alone.
  const owned: ComparedMember[] = [];

  const onMember = (found: ComparedMember): void => {
    const member = isFile ? { ...found, name: '' } : found;
    group.bytesToUnpack += member.size;
    const isPresent = left.delete(member.name);
    if (isUnseen(member.name)) return tellUnreadable(member.name, member.kind === 'd');
    if (!isPresent) {
      changed.add(member.name);
      group.bytesToWrite += member.size;
      add(group.added, member.name, member.kind === 'd');
    } else if (isOfAnotherKind || member.differences.some(matters) || (member.linkedWith !== null && changed.has(member.linkedWith))) change(member);
    else if (isSuperuser && member.kind !== '-' && member.kind !== 'h') owned.push(member);
    else group.unchanged += 1;
  };
  const comparable = isThere && !isOfAnotherKind;
  const directory = comparable ? (isFile ? dirname(path) : path) : null;
  const later = new LaterLayers();
  for (const archive of layers.toReversed()) {
    const unreadable: string[] = [];
    await compareArchive({
      tar, backup: plan.backup, archive, identity: identityOf(archive), directory, fileName: isFile && comparable ? basename(path) : null,
      onUnreadable: source.onUnreadable === 'WARN' ? (name) => void unreadable.push(isFile ? '' : name) : undefined,
    }, run.signal, (bytes, files) => meter.add(bytes, files), (member) => { if (later.leaves(member.name)) onMember(member); });
    const undecided = new Set(unreadable.length > 0 ? owned.map(({ name }) => name) : []);
    for (const name of unreadable) {
      // It was taken for unchanged, since nothing was found to differ; what differs otherwise is known to change.
      if (told.has(name) || changed.has(name) || later.isSettled(name) || undecided.has(name)) continue;
      group.unchanged -= 1;
      tellUnreadable(name, false);
    }
    if (layers.length > 1) later.add(archive.removed === undefined ? [] : await readNames(plan.backup, archive.removed, identityOf(archive), run.signal));
  }

  for (let at = 0; at < owned.length; at += AT_ONCE) {
    throwIfCancelled(run.signal);
    const some = owned.slice(at, at + AT_ONCE);
    const owners = await Promise.all(some.map(({ name }) => lstat(bytesPath(path, name)).catch(() => null)));
    for (const [index, member] of some.entries()) {
      const owner = owners[index];
      if (owner?.uid === member.owner.uid && owner.gid === member.owner.gid) group.unchanged += 1;
      else change(member);
    }
  }
  // What the patterns of then or of now leave out stays, and so do the directories that it lies in.
  const selections = [selectionOf(whole.source), selectionOf(source)].filter((selection) => selection !== null);
  const hasPatterns = selections.length > 0 && source.type === 'DIRECTORY' && left.size > 0 && !isOfAnotherKind;
  const present = { from: path, selections, isLeftOut: isLeftOut(hasPatterns ? (await resolveSource(source, plan.storePath)).exclude : []) };
  const keepsAny = async (name: string): Promise<boolean | 'unreadable'> => {
    try {
      return await firstKept(present, name, run.signal) !== null;
    } catch (error) {
      throwIfCancelled(run.signal);
      if (source.onUnreadable !== 'WARN') throw error;
      return 'unreadable';
    }
  };
  for (const [name, isDirectory] of left) {
    if (isUnseen(name)) {
      tellUnreadable(name, isDirectory);
      continue;
    }
    const stays = hasPatterns && (!selections.every((selection) => selection.takes(name)) || (isDirectory && await keepsAny(name)));
    if (stays === 'unreadable') tellUnreadable(name, isDirectory);
    else if (!stays) add(group.removed, name, isDirectory);
  }
  for (const name of unseen) tellUnreadable(name, false);
}

/** A name and the directories that it lies in, the root left out. */
function andAbove(name: string): string[] {
  const names: string[] = [];
  for (let above = name; above !== ''; above = above.slice(0, Math.max(0, above.lastIndexOf('/')))) names.push(above);
  return names;
}

/** What layers that are unpacked later make of the members of an earlier one. They are looked at in the opposite order. */
class LaterLayers {
  readonly #members = new Set<string>();
  readonly #removed = new Set<string>();
  #current: string[] = [];

  /** Whether a member of the present layer is there when all are unpacked. */
  leaves(name: string): boolean {
    this.#current.push(name);
    return !this.isSettled(name);
  }

  /** Whether a layer that is unpacked later holds it or removes it, so that the present one says nothing about it. */
  isSettled(name: string): boolean {
    return this.#members.has(name) || (this.#removed.size > 0 && andAbove(name).some((above) => this.#removed.has(above)));
  }

  /** The present layer is done; before it is unpacked, these names go. */
  add(removed: readonly string[]): void {
    for (const name of this.#current) this.#members.add(name);
    for (const name of removed) this.#removed.add(name);
    this.#current = [];
  }
}

const isSuperuser = process.geteuid?.() === 0;

/** Times alone are no change. */
const matters = (difference: string): boolean => difference !== 'Mod time differs' && canBePutBack(difference);

const bytesPath = (root: string, name: string): Buffer => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name, 'latin1')]);
