/**
 * The directories of backup stores.
 */
import { mkdir } from 'node:fs/promises';
import type { DeploymentSpec } from '../domain/deployment.ts';
import { ConfigError } from '../domain/errors.ts';

/**
 * Creates the directories of the DIRECTORY stores that were never seen before, and answers which those are.
 * A store known from an earlier start is left alone even if its directory is gone: it may be a disk that is not
 * mounted, and backups must not go onto the mount point beneath.
 * @param previouslyKnown names of the stores known from earlier starts
 * @throws ConfigError naming each directory that could not be created.
 */
export async function ensureStoreDirectories(spec: DeploymentSpec, previouslyKnown: ReadonlySet<string>): Promise<string[]> {
  const created: string[] = [];
  const faults: string[] = [];
  for (const store of spec.stores) {
    if (store.type !== 'DIRECTORY' || previouslyKnown.has(store.name)) continue;
    try {
      // Owner and group alone: a store may hold backups that are not encrypted.
      const first = await mkdir(store.path, { recursive: true, mode: 0o750 });
      if (first !== undefined) created.push(store.path);
    } catch (error) {
      faults.push(`store ${store.name}: ${store.path} could not be created: ${error instanceof Error ? error.message : 'unknown failure'}`);
    }
  }
  if (faults.length > 0) {
    throw new ConfigError('The directory of a backup store could not be created.', faults, 'Create it, or correct its path in the deployment file.');
  }
  return created;
}
