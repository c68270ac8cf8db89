/**
 * The bundled sample site: real files, so that a newcomer's first backup and restore work at once.
 */
import { randomBytes } from 'node:crypto';
import { cp, link, mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../domain/errors.ts';
import { writeSampleEvents } from './sample-events.ts';

const SAMPLE = fileURLToPath(new URL('../../sample/', import.meta.url));
const SCHEMA = fileURLToPath(new URL('../../deployment.schema.json', import.meta.url));

/** The name under which a copy is made, before it is moved into place. */
const UNFINISHED = '.sample-';

/**
 * Copies the sample site into DATA_DIR unless its `deployment.yaml` is there already, and answers the path of
 * that file. Never overwrites anything. A copy that was killed is completed by the next call, and of two processes
 * at once one does it.
 * @throws ConfigError where DATA_DIR cannot be written.
 */
export async function copySample(dataDir: string): Promise<string> {
  const deploymentFile = join(dataDir, 'deployment.yaml');
  try {
    if (!(await isThere(deploymentFile))) await copyInto(dataDir);
    await removeUnfinished(dataDir);
  } catch (error) {
    // Another process was first, and has removed this unfinished copy.
    if (await isThere(deploymentFile)) return deploymentFile;
    throw new ConfigError('The sample site could not be copied.', [`${dataDir}: ${error instanceof Error ? error.message : 'unknown failure'}`],
      'Make DATA_DIR writable, or set DEPLOYMENT_FILE to a deployment file of your own.');
  }
  return deploymentFile;
}

async function copyInto(dataDir: string): Promise<void> {
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const copy = join(dataDir, `${UNFINISHED}${process.pid}-${randomBytes(4).toString('hex')}`);
  // Verbatim, or links within the site would become links to the bundled one.
  await cp(join(SAMPLE, 'site'), join(copy, 'site'), { recursive: true, verbatimSymlinks: true });
  await mkdir(join(copy, 'site/etc/reports/scheduled')); // empty, which a repository cannot hold
  await writeSampleEvents(join(copy, 'site/ariel'));
  await cp(SCHEMA, join(copy, basename(SCHEMA)));
  const yaml = await readFile(join(SAMPLE, 'deployment.yaml'), 'utf8');
  await writeFile(join(copy, 'deployment.yaml'), yaml.replace('$schema=../', '$schema=./'));

  await moveUnlessThere(join(copy, 'site'), join(dataDir, 'site'));
  await linkUnlessThere(join(copy, basename(SCHEMA)), join(dataDir, basename(SCHEMA)));
  await mkdir(join(dataDir, 'backups'), { recursive: true, mode: 0o750 });
  await mkdir(join(dataDir, 'vault'), { recursive: true, mode: 0o750 });
  // Last: it is the mark that all else is in place.
  await linkUnlessThere(join(copy, 'deployment.yaml'), join(dataDir, 'deployment.yaml'));
}

/** A whole directory appears under its final name or none does; one with something in it cannot be replaced so. */
async function moveUnlessThere(from: string, to: string): Promise<void> {
  if (await isThere(to)) return;
  await rename(from, to).catch(ignore('ENOTEMPTY', 'EEXIST'));
}

async function linkUnlessThere(from: string, to: string): Promise<void> {
  await link(from, to).catch(ignore('EEXIST'));
}

function ignore(...codes: string[]): (error: NodeJS.ErrnoException) => void {
  return (error) => {
    if (!codes.includes(error.code ?? '')) throw error;
  };
}

/** What killed or slower processes left behind; only called once everything is in place. */
async function removeUnfinished(dataDir: string): Promise<void> {
  for (const name of await readdir(dataDir)) {
    // A slower process may be adding files still; what it leaves goes with the next start.
    if (name.startsWith(UNFINISHED)) await rm(join(dataDir, name), { recursive: true, force: true }).catch(ignore('ENOTEMPTY'));
  }
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(() => true, () => false);
}
