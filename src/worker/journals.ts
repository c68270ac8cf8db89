/**
 * Which journals of restores a worker has: a name that goes with DATA_DIR, on whatever machine and path it is seen, so
 * that two workers can tell whether they share it.
 */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { GatewayError } from '../domain/errors.ts';
import type { JournalPlace } from '../records/swaps.ts';

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ENOENT';

/**
 * The name of a directory of journals, in a file beside it that is made on first use.
 * @throws GatewayError DATA_DIR_UNUSABLE
 */
export async function journalsId(journalDir: string): Promise<string> {
  const path = `${journalDir}.id`;
  try {
    const known = await readFile(path, 'utf8').catch((error: unknown) => {
      if (isMissing(error)) return null;
      throw error;
    });
    if (known !== null) return known.trim();
    // Whole or not at all; of two processes that make it at once, the second reads what the first has made.
    const draft = `${path}.${randomUUID()}`;
    await mkdir(dirname(path), { recursive: true });
    try {
      await writeFile(draft, `${randomUUID()}\n`, { mode: 0o600, flush: true });
      await link(draft, path).catch((error: unknown) => {
        // Some file systems have no links.
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return rename(draft, path);
      });
      // It must not be another one after the machine has lost its power.
      const directory = await open(dirname(path));
      await directory.sync().finally(() => directory.close());
    } finally {
      await rm(draft, { force: true });
    }
    return (await readFile(path, 'utf8')).trim();
  } catch (error) {
    throw new GatewayError('DATA_DIR_UNUSABLE', `${path} can be neither read nor made: ${(error as Error).message}.`,
      'See that DATA_DIR can be written by the user that runs the worker, and has space.');
  }
}

/** Where the journals of this process lie. @throws GatewayError DATA_DIR_UNUSABLE */
export const journalPlace = async (journalDir: string): Promise<JournalPlace> => ({
  journals: await journalsId(journalDir), machine: hostname(), dataDir: dirname(journalDir),
});
