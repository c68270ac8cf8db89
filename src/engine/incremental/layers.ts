/**
 * Decides, for each source of a backup, which layers of an earlier backup it shares and what its newest one holds.
 *
 * What is shared is read to its end first. What cannot be based on an earlier backup, for whatever reason, is backed up
 * whole: being incremental is never a reason to fail.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CancelledError } from '../../domain/errors.ts';
import { isFiles } from '../../domain/deployment.ts';
import type { FilesSource } from '../../domain/deployment.ts';
import type { BackupPlan, BackupRun, IncrementalPlan, ManifestArchive } from '../contract.ts';
import { throwIfCancelled } from '../faults.ts';
import { resolveSource } from '../source.ts';
import type { Tar, TarInput } from '../tar.ts';
import { keyOf, openBase, partOf, prove } from './base.ts';
import type { Base, BasePart } from './base.ts';
import { compare, writeAllNames } from './difference.ts';
import type { Amount, Difference } from './difference.ts';
import { Indexes, readIndex } from './index-files.ts';
import type { Index, SourceIndex } from './index-files.ts';
import { hasListingTools, NotListable, walk } from './walk.ts';

/** Below this a whole archive takes no time worth saving. Bytes of the tar stream. */
const MINIMUM_BYTES = 64 * 1024 * 1024;
/** Each update is one more archive to unpack in a restore. */
const MAXIMUM_UPDATES = 20;
/** More directories with attributes than this in one source are not remembered: it is backed up whole. */
const MAXIMUM_ATTRIBUTED = 10_000;

/** Layers of the base. */
export interface SharedLayers {
  backup: string;
  archives: ManifestArchive[];
  /** Whom those are encrypted to that do not say it; null: the base is in clear. */
  recipient: string | null;
}

/** What becomes of a source. */
export interface Layers {
  /** Layers of the base that are taken over; none: the next archive is a whole one. */
  shared: SharedLayers | null;
  /** The next archive; null: nothing has changed. */
  next: null | {
    /** 0: whole. */
    layer: number;
    /** File of the names that it holds, NUL after each. */
    members: string;
    /** File of the names to remove before it is unpacked, likewise; null: none. */
    removed: { path: string; names: number } | null;
  };
  /** What the next archive will hold, about. */
  expected: Amount;
}

interface Prepared {
  key: string;
  file: string;
  layers: Layers;
  replaced: ReadonlySet<string>;
  attributedBefore: readonly string[];
  /** Found in the archive that was written; null: more than can be remembered. */
  attributed: readonly string[] | null;
}

export class Incremental {
  readonly #plan: IncrementalPlan;
  readonly #indexes: Indexes;
  readonly #directory: string;
  readonly #base: Base | null;
  readonly #sources: (Prepared | null)[] = [];
  #settleMs = 0;

  private constructor(plan: IncrementalPlan, indexes: Indexes, directory: string, base: Base | null) {
    this.#plan = plan;
    this.#indexes = indexes;
    this.#directory = directory;
    this.#base = base;
  }

  /**
   * Prepares every source of a plan.
   *
   * @param isBased false: no layer is shared, since one has proved impossible to share
   * @returns null where the backup cannot even be the base of a later one
   * @throws EngineError SOURCE_UNREADABLE, STORE_UNREACHABLE; CancelledError
   */
  static async prepare(tar: Tar, plan: BackupPlan, run: BackupRun, isBased: boolean): Promise<Incremental | null> {
    const wish = plan.incremental;
    // Only files of one file system can be shared.
    if (wish === undefined || plan.store.localPath === null || !await hasListingTools()) return null;
    const indexes = new Indexes(wish.directory);
    let base: Base | string = 'there is none';
    if (isBased && wish.base !== null) {
      base = await openBase(plan.store, indexes, wish.base, plan.encryption, wish.sharedKeys !== null);
      if (typeof base === 'string') run.onWarning?.(`The backup is whole and shares nothing with ${wish.base}: ${base}.`);
    }
    const directory = await indexes.begin(plan.attempt).catch((error: unknown) => {
      run.onWarning?.(`The next backup will be whole, since no index can be kept for it: ${String(error)}`);
      return null;
    });
    if (directory === null) return null;
    const incremental = new Incremental(wish, indexes, directory, typeof base === 'string' ? null : base);
    try {
      for (const [number, { source }] of plan.archives.entries()) {
        incremental.#sources.push(isFiles(source) ? await incremental.#prepareOne(tar, plan, run, source, number + 1) : null);
      }
      // See `Walk.settleMs`.
      await sleep(incremental.#settleMs, undefined, { signal: run.signal });
      return incremental;
    } catch (error) {
      await incremental.discard();
      throwIfCancelled(run.signal);
      throw error;
    }
  }

  /** What becomes of the source at this place of the plan; null: it is archived as any other. */
  layersOf(source: number): Layers | null {
    return this.#sources[source]?.layers ?? null;
  }

  /** Takes down what the archive of a source turned out to hold: its directories with attributes, and whether files are missing. */
  wrote(source: number, attributed: readonly string[], isComplete: boolean): void {
    const prepared = this.#sources[source];
    if (prepared == null) return;
    // What was not read must count as changed the next time: without an index everything does.
    if (isComplete) prepared.attributed = attributed;
    else this.#sources[source] = null;
  }

  /** Keeps the index, once the backup is published. Where it cannot be kept, the next backup is whole. */
  async commit(backup: string, digests: string, onWarning: (text: string) => void): Promise<void> {
    const sources = this.#sources.map((prepared): SourceIndex | null => {
      if (prepared === null || prepared.attributed === null) return null;
      const { key, file, attributedBefore, replaced, layers } = prepared;
      const older = layers.shared === null ? [] : attributedBefore.filter((name) => !replaced.has(name));
      const attributed = [...new Set([...older, ...prepared.attributed])];
      return attributed.length > MAXIMUM_ATTRIBUTED ? null : { key, file, attributed };
    });
    try {
      const index: Index = { version: 1, digests, sources };
      await this.#indexes.commit(this.#directory, backup, index);
    } catch (error) {
      onWarning(`The next backup will be whole, since the index of this one could not be kept: ${String(error)}`);
      await this.discard();
    }
  }

  async discard(): Promise<void> {
    await this.#indexes.discard(this.#directory).catch(() => undefined);
  }

  async #prepareOne(tar: Tar, plan: BackupPlan, run: BackupRun, source: FilesSource, number: number): Promise<Prepared | null> {
    const input = await resolveSource(source, plan.store.localPath);
    // Directories on the way to what is included come and go with it, which an index of names does not show.
    if (source.include !== undefined) return null;
    const files = { index: this.#path(`${number}.index.zst`), names: this.#path(`${number}.names`), removed: this.#path(`${number}.removed`) };
    const key = keyOf(source, input, tar);
    const part = this.#base === null ? null : this.#eligible(partOf(this.#base, key));
    try {
      const { difference, damage } = await this.#look(input, part, files, run);
      if (damage !== null) run.onWarning?.(`${source.path} is backed up whole and shares nothing with ${this.#base?.name}: ${damage}. Verify that backup.`);
      const layers = part === null || damage !== null ? null : this.#onTop(part, difference);
      const prepared = { key, file: `${number}.index.zst`, replaced: difference.replaced, attributedBefore: part?.index.attributed ?? [], attributed: [] };
      if (layers !== null) return { ...prepared, layers };
      const members = `${files.names}.whole`;
      await writeAllNames(files.index, members, input.member === '.' ? null : input.member);
      return { ...prepared, layers: { shared: null, next: { layer: 0, members, removed: null }, expected: difference.whole } };
    } catch (error) {
      throwIfCancelled(run.signal);
      if (error instanceof CancelledError) throw error;
      // What the source itself lacks, tar will find and name.
      if (!(error instanceof NotListable)) run.onWarning?.(`The next backup of ${source.path} will be whole, since no index can be kept: ${String(error)}`);
      return null;
    }
  }

  /** Walks and compares, and reads the layers at the same time: the one is work of other processes, the other of the disk. */
  async #look(input: TarInput, part: BasePart | null, files: { index: string; names: string; removed: string }, run: BackupRun): Promise<{ difference: Difference; damage: string | null }> {
    const stop = new AbortController();
    const signal = AbortSignal.any([run.signal, stop.signal]);
    const proof = this.#base === null || part === null ? null : prove(this.#base, part.chain, signal);
    proof?.catch(() => undefined);
    try {
      const found = walk(input, this.#directory, run.signal);
      const path = this.#base === null || part === null ? '' : this.#indexes.pathOf(this.#base.name, part.index);
      const before = this.#base === null || part === null ? null
        : { open: () => readIndex(path), attributed: new Set(part.index.attributed) };
      const difference = await compare(before, found.entries, files);
      this.#settleMs = Math.max(this.#settleMs, found.settleMs());
      // No need to read on what will not be shared.
      if (part !== null && this.#onTop(part, difference) === null) stop.abort();
      return { difference, damage: stop.signal.aborted ? null : await proof };
    } catch (error) {
      stop.abort();
      throw error;
    } finally {
      await proof?.catch(() => undefined);
    }
  }

  /** A part on which more can be put. */
  #eligible(part: BasePart | null): BasePart | null {
    const whole = part?.chain[0];
    if (part === null || whole === undefined || whole.bytes < (this.#plan.minimumBytes ?? MINIMUM_BYTES)) return null;
    return part;
  }

  /** What is put on the layers of the base; null where a whole archive is better. */
  #onTop(part: BasePart, { changed }: Difference): Layers | null {
    const [whole, ...updates] = part.chain;
    if (changed === null || whole === undefined || this.#base === null) return null;
    const shared = { backup: this.#base.name, archives: part.chain, recipient: this.#base.manifest.encryption?.recipient ?? null };
    if (changed.bytes === 0) return { shared, next: null, expected: { files: 0, bytes: 0 } };
    const bytes = updates.reduce((sum, update) => sum + update.bytes, changed.bytes);
    if (whole.source.type === 'FILE' || updates.length >= MAXIMUM_UPDATES || bytes > whole.bytes / 2) return null;
    const removed = changed.removals === 0 ? null : { path: changed.removed, names: changed.removals };
    return { shared, next: { layer: updates.length + 1, members: changed.names, removed }, expected: { files: changed.files, bytes: changed.bytes } };
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}
