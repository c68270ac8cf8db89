/**
 * A store that is a directory of a file system, local or mounted.
 */
import { constants } from 'node:fs';
import { access, lstat, mkdir, readdir, rename, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreState } from '../contract.ts';
import { exists, removeTree, requireDirectory, syncDirectory } from '../disk.ts';
import { isMissing, storeFault } from '../faults.ts';
import { MANIFEST_FILE } from '../manifest.ts';
import { requireAttempt, requireBackupName } from '../names.ts';
import type { BackupFiles, BackupWriter, Store } from './contract.ts';
import { DirectoryFiles, DirectoryWriter } from './directory-backup.ts';

/** A backup under this name is being written; the attempt follows. */
const PARTIAL_PREFIX = '.partial.';
/** A backup under this name is being removed and is none any more. */
const REMOVING_PREFIX = '.removing-';
/** What a file system keeps for itself, and lets the superuser alone look into. */
const FOUND_BY_FSCK = 'lost+found';
/** So many backups are looked at once. */
const LOOKED_AT_ONCE = 32;
/** Below this not even a manifest is sure to fit. */
const NEARLY_NOTHING_BYTES = 4 * 1024 * 1024;
/** A dead network file system answers never, not late. */
const ANSWER_LIMIT_MS = 5_000;

export class DirectoryStore implements Store {
  readonly label: string;
  readonly localPath: string;
  readonly #onStep: (step: string) => Promise<void>;

  /**
   * @param path absolute path of the directory, which must exist
   * @param onStep called at each step of a publication, by name: a seam for tests that kill the process there
   */
  constructor(path: string, onStep: (step: string) => Promise<void> = async () => undefined) {
    this.label = path;
    this.localPath = path;
    this.#onStep = onStep;
  }

  async check(): Promise<StoreState> {
    const path = this.localPath;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<StoreState>((resolve) => {
      timer = setTimeout(() => resolve(unreachable(`${path} did not answer within ${ANSWER_LIMIT_MS / 1000} s.`)), ANSWER_LIMIT_MS);
    });
    try {
      return await Promise.race([look(path), late]);
    } catch (error) {
      return unreachable(isMissing(error) ? `There is no directory ${path}.` : error instanceof Error ? error.message : String(error));
    } finally {
      clearTimeout(timer);
    }
  }

  async list(): Promise<string[]> {
    const names = (await this.#entries()).filter((entry) => entry.isDirectory() && !entry.name.startsWith('.') && entry.name !== FOUND_BY_FSCK).map(({ name }) => name);
    const found: string[] = [];
    for (let at = 0; at < names.length; at += LOOKED_AT_ONCE) {
      const some = names.slice(at, at + LOOKED_AT_ONCE);
      const areBackups = await Promise.all(some.map((name) => this.#hasManifest(name)));
      found.push(...some.filter((_name, nth) => areBackups[nth]));
    }
    // Without this, one that went away in the middle would look like one with few backups.
    await requireDirectory(this.localPath);
    return found.sort();
  }

  async has(name: string): Promise<boolean> {
    requireBackupName(name);
    await requireDirectory(this.localPath);
    return this.#hasManifest(name);
  }

  async #hasManifest(name: string): Promise<boolean> {
    try {
      return (await lstat(join(this.localPath, name, MANIFEST_FILE))).isFile();
    } catch (error) {
      if (isMissing(error)) return false;
      throw storeFault(error, this.localPath);
    }
  }

  open(name: string): BackupFiles {
    requireBackupName(name);
    return new DirectoryFiles(this.localPath, join(this.localPath, name));
  }

  async begin(name: string, attempt: string): Promise<BackupWriter> {
    requireBackupName(name);
    requireAttempt(attempt);
    const partial = join(this.localPath, `${PARTIAL_PREFIX}${attempt}`);
    // Only what this call has made may be removed when the backup fails: an existing one is refused.
    await mkdir(partial, { mode: 0o700 }).catch((error: unknown) => {
      throw storeFault(error, this.localPath);
    });
    return new DirectoryWriter(this.localPath, partial, name, this.#onStep);
  }

  async remove(name: string): Promise<void> {
    requireBackupName(name);
    await requireDirectory(this.localPath);
    const path = join(this.localPath, name);
    const aside = join(this.localPath, `${REMOVING_PREFIX}${name}`);
    try {
      await removeTree(aside);
      if (!(await exists(path))) return;
      await rename(path, aside);
      await syncDirectory(this.localPath);
      await removeTree(aside);
      await syncDirectory(this.localPath);
    } catch (error) {
      throw storeFault(error, this.localPath);
    }
  }

  async sweep(isLeftover: (attempt: string) => boolean): Promise<string[]> {
    const removed: string[] = [];
    const isRemovable = (name: string): boolean =>
      name.startsWith(REMOVING_PREFIX) || (name.startsWith(PARTIAL_PREFIX) && isLeftover(name.slice(PARTIAL_PREFIX.length)));
    try {
      for (const { name } of await this.#entries()) {
        if (!isRemovable(name)) continue;
        await removeTree(join(this.localPath, name));
        removed.push(name);
      }
      if (removed.length > 0) await syncDirectory(this.localPath);
    } catch (error) {
      throw storeFault(error, this.localPath);
    }
    return removed;
  }

  /** None: what a process that has lost its job still writes goes with the directory that it has open. */
  async strays(): Promise<string[]> {
    return [];
  }

  locationOf(name: string): string {
    return join(this.localPath, name);
  }

  async #entries() {
    await requireDirectory(this.localPath);
    return await readdir(this.localPath, { withFileTypes: true }).catch((error: unknown) => {
      throw storeFault(error, this.localPath);
    });
  }
}

function unreachable(detail: string): StoreState {
  return { status: 'UNREACHABLE', freeBytes: null, totalBytes: null, detail };
}

async function look(path: string): Promise<StoreState> {
  if (!(await stat(path)).isDirectory()) return unreachable(`${path} is not a directory.`);
  const { bavail, blocks, bsize, files, ffree } = await statfs(path);
  const space = { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  try {
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return { ...space, status: 'UNREACHABLE', detail: `${path} cannot be written: ${error instanceof Error ? error.message : String(error)}.` };
  }
  // Some file systems count no files at all and answer 0 of 0.
  if (files > 0 && ffree === 0) return { ...space, status: 'FULL', detail: `${path} can hold no further file.` };
  if (space.freeBytes < NEARLY_NOTHING_BYTES) return { ...space, status: 'FULL', detail: `${path} has ${space.freeBytes} bytes left.` };
  return { ...space, status: 'READY', detail: null };
}
