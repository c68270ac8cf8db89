/**
 * The backup that an incremental one is based on: whether its layers can be shared, and whether they are sound.
 */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { EngineError } from '../../domain/errors.ts';
import type { FilesSource } from '../../domain/deployment.ts';
import type { BackupKey, Manifest, ManifestArchive } from '../contract.ts';
import { DIGESTS_FILE, readManifest } from '../manifest.ts';
import { readWhole } from '../read.ts';
import type { BackupFiles, Store } from '../stores/contract.ts';
import type { Tar, TarInput } from '../tar.ts';
import type { Index, Indexes, SourceIndex } from './index-files.ts';

/** Raised whenever layers are made in another way, so that none is put on top of one of another making. */
const MAKING = 1;

export interface Base {
  name: string;
  files: BackupFiles;
  manifest: Manifest;
  index: Index;
  /** The layers of each source. */
  chains: ManifestArchive[][];
}

/** Everything that decides what an archive of a source holds; another text means another whole archive. */
export function keyOf(source: FilesSource, input: TarInput, tar: Tar): string {
  const { type, path, include, exclude } = source;
  return JSON.stringify([MAKING, tar.version, tar.acls, tar.xattrs, type, path, input.directory, input.member, input.exclude, include ?? null, exclude ?? null]);
}

/** The archives of a manifest by source: each whole one, and the updates that follow it. */
export function chainsOf(archives: readonly ManifestArchive[]): ManifestArchive[][] {
  const chains: ManifestArchive[][] = [];
  for (const archive of archives) {
    if (archive.layer === undefined) chains.push([archive]);
    else chains.at(-1)?.push(archive);
  }
  return chains;
}

/**
 * Opens the base, unless it cannot be one. The digest kept with the index on this machine proves its manifest, and the
 * manifest proves the layers: nobody who can write to the store alone can slip anything into a later backup.
 *
 * @returns why it is none, in words, where it is none
 * @throws EngineError STORE_UNREACHABLE
 */
export async function openBase(
  store: Store, indexes: Indexes, name: string, encryption: BackupKey | null, hasSharedKeys: boolean,
): Promise<Base | string> {
  const index = await indexes.find(name);
  if (index === null) return 'this worker has no index of it';
  const files = store.open(name);
  let manifest: Manifest;
  try {
    manifest = await readManifest(files);
    const digests = await buffer((await files.read(DIGESTS_FILE)).stream);
    if (createHash('sha256').update(digests).digest('hex') !== index.digests) return 'its manifest is another than when it was made';
  } catch (error) {
    if (error instanceof EngineError && error.code !== 'STORE_UNREACHABLE') return error.message.replace(/\.$/, '');
    throw error;
  }
  const recipient = encryption?.recipient ?? null;
  if ((manifest.encryption === null) !== (recipient === null)) return 'one of them is encrypted';
  if (!hasSharedKeys && manifest.archives.some((archive) => (archive.recipient ?? manifest.encryption?.recipient ?? null) !== recipient)) {
    return 'its passcode is another';
  }
  return { name, files, manifest, index, chains: chainsOf(manifest.archives) };
}

/** A source's part of the base. */
export interface BasePart { chain: ManifestArchive[]; index: SourceIndex }

/** Finds it by what the source is. */
export function partOf(base: Base, key: string): BasePart | null {
  const at = base.index.sources.findIndex((source) => source?.key === key);
  const [index, chain] = [base.index.sources[at], base.chains[at]];
  return index == null || chain === undefined ? null : { index, chain };
}

/**
 * Reads the layers to their ends, as they are about to be part of another backup too.
 *
 * @returns what is wrong with them; null where nothing is
 * @throws EngineError STORE_UNREACHABLE; CancelledError
 */
export async function prove(base: Base, chain: readonly ManifestArchive[], signal: AbortSignal): Promise<string | null> {
  try {
    for (const archive of chain) {
      await readWhole(base.files, archive, null, signal);
      if (archive.removed !== undefined) await readWhole(base.files, archive.removed, null, signal);
    }
    return null;
  } catch (error) {
    if (error instanceof EngineError && (error.code === 'FILE_MISSING' || error.code === 'DIGEST_MISMATCH')) return error.message.replace(/\.$/, '');
    throw error;
  }
}
