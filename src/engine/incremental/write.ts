/**
 * Puts the layers of a source into a backup: those that it shares, and the names that go before its newest one.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Transform } from 'node:stream';
import type { TransformCallback } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createZstdCompress } from 'node:zlib';
import { EngineError } from '../../domain/errors.ts';
import { encryptTo } from '../age.ts';
import type { ManifestArchive, RemovedNames } from '../contract.ts';
import { throwIfCancelled } from '../faults.ts';
import type { BackupWriter } from '../stores/contract.ts';
import type { Layers, SharedLayers } from './layers.ts';
import { removedName, updateName } from './names.ts';

/** The store, or the layers' backup as it is now, does not let them be shared: the backup begins anew, whole. */
export class NotShareable extends Error {}

/** File of a source's next archive, by the name of its whole one. */
export const nextName = (whole: string, { next }: Layers): string => (next === null || next.layer === 0 ? whole : updateName(whole, next.layer));

/**
 * Shares the layers.
 *
 * @param whole name of the source's whole archive in this backup
 * @param own whom this backup is encrypted to; null: it is in clear
 * @returns what the manifest says of them
 * @throws NotShareable; EngineError STORE_UNREACHABLE
 */
export async function shareLayers(
  writer: BackupWriter, { backup, archives, recipient: base }: SharedLayers, whole: string, own: string | null,
): Promise<ManifestArchive[]> {
  const share = async (from: string, to: string): Promise<void> => {
    const isShared = await writer.share({ backup, file: from }, to).catch((error: unknown) => {
      if (error instanceof EngineError && error.code !== 'STORE_UNREACHABLE') throw new NotShareable(error.message);
      throw error;
    });
    if (!isShared) throw new NotShareable(`${from} cannot be shared there`);
  };
  const result: ManifestArchive[] = [];
  for (const archive of archives) {
    const { recipient: named, removed, ...rest } = archive;
    const file = archive.layer === undefined ? whole : updateName(whole, archive.layer);
    await share(archive.file, file);
    if (removed !== undefined) await share(removed.file, removedName(file));
    const recipient = named ?? base;
    result.push({
      ...rest, file,
      ...removed === undefined ? {} : { removed: { ...removed, file: removedName(file) } },
      ...recipient === null || recipient === own ? {} : { recipient },
    });
  }
  return result;
}

/** Digests what passes, and counts it. */
class Digest extends Transform {
  readonly hash = createHash('sha256');
  size = 0;

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.hash.update(data);
    this.size += data.length;
    done(null, data);
  }
}

/**
 * Writes the names that are removed before an update is unpacked, compressed, and encrypted where the backup is.
 *
 * @param path file of the names, NUL after each
 * @throws EngineError STORE_FULL, STORE_UNREACHABLE; CancelledError
 */
export async function writeRemoved(
  writer: BackupWriter, removed: { path: string; names: number }, file: string, recipient: string | null, signal: AbortSignal,
): Promise<RemovedNames> {
  const encryption = recipient === null ? [] : [await encryptTo(recipient)];
  const digest = new Digest();
  const zstd = createZstdCompress({ params: { [constants.ZSTD_c_checksumFlag]: 1 } });
  try {
    await pipeline([createReadStream(removed.path), zstd, ...encryption, digest, await writer.create(file)], { signal });
  } catch (error) {
    throwIfCancelled(signal);
    throw error;
  }
  return { file, names: removed.names, size: digest.size, sha256: digest.hash.digest('hex') };
}
