/**
 * A store that is a directory of a file system, local or mounted.
 */
import { constants } from 'node:fs';
import { access, lstat, mkdir, readdir, readFile, rename, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreState } from '../contract.ts';
import { exists, removeTree, requireDirectory, syncDirectory, writeDurably } from '../disk.ts';
import { errnoOf, isMissing, storeFault } from '../faults.ts';
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
/** Says that this is the directory of the store, and not a mount point that lies bare. */
export const STORE_MARK = '.backup-gateway-store';
const MARK_TEXT = `Backup Gateway keeps backups in this directory. Leave this file here: where it is missing, the gateway takes the
directory for a mount point whose file system is not mounted, and writes nothing into it. What it holds does not matter.
`;
/** So many backups are looked at once: each takes one of the process's threads, and keeps it where the store answers never. */
const LOOKED_AT_ONCE = 4;
/** Below this not even a manifest is sure to fit. */
const NEARLY_NOTHING_BYTES = 4 * 1024 * 1024;
/** A dead network file system answers never, not late. */
const ANSWER_LIMIT_MS = 5_000;

/** A look at the store: since when by `performance.now()`, and what was mounted there when it was seen to hang. */
interface Look { state: Promise<StoreState>; since: number; mounts: string | null; isOver: boolean }

export class DirectoryStore implements Store {
  readonly label: string;
  readonly localPath: string;
  readonly #onStep: (step: string) => Promise<void>;
  /** Under way; of a store that answers never it stays so, and no second one follows it into the kernel. */
  #looking: Look | null = null;

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
    const looking = await this.#look();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), Math.max(0, looking.since + ANSWER_LIMIT_MS - performance.now()));
    });
    const state = await Promise.race([looking.state, late]).finally(() => clearTimeout(timer));
    if (state !== null) return state;
    const mounts = await mountsAbove(this.localPath);
    looking.mounts ??= mounts;
    // Where it was this process that stood still, the answer is there by now.
    if (looking.isOver) return await looking.state;
    return { ...unreachable(`${this.localPath} did not answer within ${ANSWER_LIMIT_MS / 1000} s.`), isSilent: true };
  }

  /** One look at a time, however many ask: each that hangs keeps a thread, of which the process has few for all its files. */
  async #look(): Promise<Look> {
    const hanging = this.#looking;
    if (hanging !== null) {
      if (performance.now() < hanging.since + ANSWER_LIMIT_MS) return hanging;
      // The kernel keeps a look at a file system that was unmounted lazily: what is there now is another one.
      const mounts = await mountsAbove(this.localPath);
      hanging.mounts ??= mounts;
      if (hanging.mounts === mounts || this.#looking !== hanging) return this.#looking ?? hanging;
    }
    const state = look(this.localPath).catch((error: unknown) =>
      unreachable(isMissing(error) ? `There is no directory ${this.localPath}.` : error instanceof Error ? error.message : String(error)));
    const looking: Look = { state, since: performance.now(), mounts: null, isOver: false };
    this.#looking = looking;
    void state.then(() => {
      looking.isOver = true;
      if (this.#looking === looking) this.#looking = null;
    });
    return looking;
  }

  async isMarked(): Promise<boolean> {
    await requireDirectory(this.localPath);
    return await exists(join(this.localPath, STORE_MARK)).catch((error: unknown) => {
      throw storeFault(error, this.localPath);
    });
  }

  async mark(): Promise<void> {
    try {
      await writeDurably(join(this.localPath, STORE_MARK), MARK_TEXT);
      await syncDirectory(this.localPath);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw storeFault(error, this.localPath);
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
  return { status: 'UNREACHABLE', freeBytes: null, totalBytes: null, detail, isReadable: false, isSilent: false };
}

/** What is mounted on the path and above it, told by the kernel from memory: no file system is asked. '' where it cannot tell. */
async function mountsAbove(path: string): Promise<string> {
  const table = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '');
  return table.split('\n').filter((line) => {
    const point = line.split(' ')[4];
    return point !== undefined && (path === point || path.startsWith(point.endsWith('/') ? point : `${point}/`));
  }).join('\n');
}

async function look(path: string): Promise<StoreState> {
  if (!(await stat(path)).isDirectory()) return unreachable(`${path} is not a directory.`);
  const { bavail, blocks, bsize, files, ffree } = await statfs(path);
  const found = { freeBytes: bavail * bsize, totalBytes: blocks * bsize, isReadable: true, isSilent: false };
  const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
  try {
    await access(path, constants.R_OK | constants.X_OK);
  } catch (error) {
    return unreachable(`${path} cannot be read: ${textOf(error)}.`);
  }
  try {
    await access(path, constants.W_OK);
  } catch (error) {
    return { ...found, status: 'UNREACHABLE', detail: `${path} is write-protected: its backups can be read, and nothing can be written or removed (${textOf(error)}).` };
  }
  // Some file systems count no files at all and answer 0 of 0.
  if (files > 0 && ffree === 0) return { ...found, status: 'FULL', detail: `${path} can hold no further file.` };
  if (found.freeBytes < NEARLY_NOTHING_BYTES) return { ...found, status: 'FULL', detail: `${path} has ${found.freeBytes} bytes left.` };
  return { ...found, status: 'READY', detail: null };
}
