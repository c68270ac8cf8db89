/**
 * Unpacks a source that is kept in layers: the whole archive, then for each update the names that have gone are removed
 * and its archive is unpacked over the rest. Every file is compared with its digest before or while it is used.
 */
import { lstat } from 'node:fs/promises';
import { Transform, Writable } from 'node:stream';
import { EngineError } from '../../domain/errors.ts';
import type { ManifestArchive, RemovedNames } from '../contract.ts';
import { isMissing, targetFault, throwIfCancelled } from '../faults.ts';
import { killedBy, start } from '../process.ts';
import { readWhole } from '../read.ts';
import type { BackupFiles } from '../stores/contract.ts';
import type { Tar } from '../tar.ts';
import { extract } from '../unpack.ts';
import type { IdentityOf } from './shared-keys.ts';
import { parentOf, Records } from './state.ts';

export interface UnpackLayersJob {
  tar: Tar;
  backup: BackupFiles;
  /** The layers of one source, as `chainsOf` gives them. */
  layers: readonly ManifestArchive[];
  /** From `identitiesOf`. */
  identityOf: IdentityOf;
  /** Absolute path of an empty directory, in which nobody else writes. */
  into: string;
}

/** More than this engine ever writes. */
const NAMES_LIMIT = 512 * 1024 * 1024;

/**
 * Unpacks all layers of one source into a directory: afterwards it is what the source was. As superuser alone, owners
 * come back, and directories that their owner may not write in can be updated.
 *
 * Nothing is written outside, whatever the files say. A failure leaves the directory as far as it came.
 *
 * @param onLayer awaited after each layer, while everything in that layer's archive is as the archive has it: the place
 *   to compare
 * @throws EngineError TARGET_UNWRITABLE, ARCHIVE_UNSAFE, DIGEST_MISMATCH, FILE_MISSING, KEY_REQUIRED, STORE_UNREACHABLE;
 *   CancelledError
 */
export async function unpackLayers(
  job: UnpackLayersJob, signal: AbortSignal, onPass: (bytes: number, files: number) => void, onWarning: (text: string) => void,
  onLayer: (archive: ManifestArchive) => Promise<void> = async () => undefined,
): Promise<void> {
  for (const archive of job.layers) {
    await unpackLayer({ ...job, archive }, signal, onPass, onWarning);
    await onLayer(archive);
  }
}

/** The same for one layer, on top of those before it. */
export async function unpackLayer(
  { tar, backup, archive, identityOf, into }: Omit<UnpackLayersJob, 'layers'> & { archive: ManifestArchive }, signal: AbortSignal,
  onPass: (bytes: number, files: number) => void, onWarning: (text: string) => void,
): Promise<void> {
  const identity = identityOf(archive);
  if (archive.removed !== undefined) await removeNames(into, await readNames(backup, archive.removed, identity, signal), signal);
  await extract({ tar, backup, archive, identity, target: into }, into, signal, onPass, onWarning);
}

/** Collects what passes, as far as it is bearable. */
class Collector extends Writable {
  readonly #records = new Records();
  readonly names: string[] = [];
  #length = 0;

  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#length += data.length;
    if (this.#length > NAMES_LIMIT) return done(unsafe('its list of removed names has no end'));
    for (const name of this.#records.push(data)) this.names.push(name);
    done();
  }

  get isWhole(): boolean {
    return this.#records.isWhole;
  }
}

/** Passes everything on: there are no members to look at. */
class Unseen extends Transform {
  readonly ended = true;

  override _transform(data: Buffer, _encoding: BufferEncoding, done: (error: null, data: Buffer) => void): void {
    done(null, data);
  }
}

/** The names, proved by their digest and checked: relative, and leading nowhere else. One character for each byte. */
export async function readNames(backup: BackupFiles, removed: RemovedNames, identity: string | null, signal: AbortSignal): Promise<string[]> {
  const collector = new Collector();
  await readWhole(backup, removed, { identity, scanner: new Unseen(), stdin: collector }, signal);
  const { names } = collector;
  if (!collector.isWhole || names.length !== removed.names) {
    throw new EngineError('DIGEST_MISMATCH', `${removed.file} does not hold what the manifest says.`, 'Use another backup.');
  }
  return names.map((name) => {
    const path = name.slice(2);
    if (!name.startsWith('./') || path.split('/').some((part) => part === '' || part === '.' || part === '..')) {
      throw unsafe(`it removes ${JSON.stringify(Buffer.from(name, 'latin1').toString('utf8').slice(0, 200))}`);
    }
    return path;
  });
}

/** Removes names and what is in them. A name that is not there is none the worse. */
async function removeNames(into: string, names: readonly string[], signal: AbortSignal): Promise<void> {
  const absolute = (name: string): Buffer => Buffer.concat([Buffer.from(`${into}/`), Buffer.from(name, 'latin1')]);
  const known = new Map<string, boolean>([['', true]]);
  // Through a link, the removal would leave the directory.
  const isThere = async (directory: string): Promise<boolean> => {
    const before = known.get(directory);
    if (before !== undefined) return before;
    const parent = parentOf(directory);
    let found = parent === null || await isThere(parent);
    if (found) {
      const stat = await lstat(absolute(directory)).catch((error: unknown) => {
        if (isMissing(error)) return null;
        throw targetFault(error, into);
      });
      if (stat?.isSymbolicLink() === true) throw unsafe('it removes what lies behind a link');
      found = stat?.isDirectory() === true;
    }
    known.set(directory, found);
    return found;
  };
  const paths: Buffer[] = [];
  for (const name of names) {
    throwIfCancelled(signal);
    if (await isThere(parentOf(name) ?? '')) paths.push(absolute(name), Buffer.alloc(1));
  }
  if (paths.length === 0) return;
  // The names need not be text, which is what Node removes by.
  const child = killedBy(signal, start('xargs', ['-0', '--', 'rm', '-rf', '--'], { stdin: true }));
  child.stdin?.end(Buffer.concat(paths));
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (exit.code !== 0) throw targetFault(new Error(exit.stderr.trim().split('\n')[0] ?? 'rm failed'), into);
}

function unsafe(reason: string): EngineError {
  return new EngineError('ARCHIVE_UNSAFE', `The backup is refused: ${reason}.`, 'It was not made by this program, or was altered; use another backup.');
}
