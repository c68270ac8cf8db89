/**
 * One backup in a directory store: a directory of plain files. While it is written it has a name of its own, and it
 * becomes visible by one rename.
 */
import { link, lstat, open, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { EngineError } from '../../domain/errors.ts';
import { notPlain, openPlainFile, removeTree, renameWithoutReplacing, requireDirectory, syncDirectory, writeDurably } from '../disk.ts';
import { errnoOf, isMissing, storeFault } from '../faults.ts';
import { MANIFEST_FILE } from '../manifest.ts';
import type { BackupFiles, BackupWriter } from './contract.ts';
import { FileReader, FileWriter } from './directory-streams.ts';

/** What link(2) answers where the file system, or this user on it, cannot. */
const CANNOT_LINK = ['EXDEV', 'EPERM', 'EMLINK', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'];

export class DirectoryFiles implements BackupFiles {
  readonly label: string;
  readonly #store: string;

  /** @param path absolute path of the backup's directory */
  constructor(store: string, path: string) {
    this.#store = store;
    this.label = path;
  }

  async sizes(): Promise<ReadonlyMap<string, number> | null> {
    const sizes = new Map<string, number>();
    try {
      for (const entry of await readdir(this.label, { withFileTypes: true })) {
        if (entry.isFile()) sizes.set(entry.name, (await lstat(join(this.label, entry.name))).size);
      }
      return sizes;
    } catch (error) {
      if (!isMissing(error)) throw storeFault(error, this.#store);
    }
    // Without its store it is not known to be missing.
    await requireDirectory(this.#store);
    // A file that went away meanwhile goes with its backup, unless somebody tidies up in there.
    const isThere = await lstat(this.label).then((found) => found.isDirectory(), () => false);
    return isThere ? sizes : null;
  }

  async read(file: string, whole?: AbortSignal): Promise<{ size: number; stream: FileReader }> {
    const handle = await openPlainFile(join(this.label, file)).catch(async (error: unknown) => {
      if (!isMissing(error)) throw storeFault(error, this.#store);
      await requireDirectory(this.#store);
      throw new EngineError('FILE_MISSING', `${file} is missing.`, 'Put the file back from a copy of the backup, or use another backup.', { cause: error });
    });
    try {
      return { size: (await handle.stat()).size, stream: new FileReader(handle, this.#store, whole) };
    } catch (error) {
      await handle.close();
      throw storeFault(error, this.#store);
    }
  }
}

export class DirectoryWriter implements BackupWriter {
  readonly files: BackupFiles;
  readonly #store: string;
  readonly #partial: string;
  readonly #final: string;
  readonly #onStep: (step: string) => Promise<void>;

  /** @param partial absolute path of a directory that this writer has made, and that nobody else touches */
  constructor(store: string, partial: string, name: string, onStep: (step: string) => Promise<void>) {
    this.#store = store;
    this.#partial = partial;
    this.#final = join(store, name);
    this.#onStep = onStep;
    this.files = new DirectoryFiles(store, partial);
  }

  async create(file: string): Promise<FileWriter> {
    const path = join(this.#partial, file);
    const handle = await open(path, 'wx', 0o600).catch((error: unknown) => {
      throw storeFault(error, this.#store);
    });
    return new FileWriter(handle, path, this.#store);
  }

  async share(from: { backup: string; file: string }, file: string): Promise<boolean> {
    const [source, target] = [join(this.#store, from.backup, from.file), join(this.#partial, file)];
    try {
      await link(source, target);
      // A link to a symbolic link would lead wherever that one leads.
      if ((await lstat(target)).isFile()) return true;
      await unlink(target);
    } catch (error) {
      if (CANNOT_LINK.includes(errnoOf(error) ?? '')) return false;
      if (!isMissing(error)) throw storeFault(error, this.#store);
      throw new EngineError('FILE_MISSING', `${source} is missing.`, 'Make a backup that shares nothing with an earlier one.', { cause: error });
    }
    throw notPlain(source);
  }

  async publish(manifest: string): Promise<void> {
    try {
      await writeDurably(join(this.#partial, MANIFEST_FILE), manifest);
      await syncDirectory(this.#partial);
      await this.#onStep('wrote manifest');
      await renameWithoutReplacing(this.#partial, this.#final);
    } catch (error) {
      throw storeFault(error, this.#store);
    }
    try {
      await this.#onStep('renamed');
      await syncDirectory(this.#store);
    } catch (error) {
      await removeTree(this.#final);
      throw storeFault(error, this.#store);
    }
  }

  async discard(): Promise<string | null> {
    return await removeTree(this.#partial).then(() => null, String);
  }
}
