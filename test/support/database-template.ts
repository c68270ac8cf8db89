/**
 * Where the gateways of tests keep their data, and an empty database of the embedded Postgres, made once for a run of all
 * tests and copied for those that are about something else: making one takes a second of processor and disk, copying one
 * a twentieth of that. What makes a database is tested by itself, with none of these copies.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { postgresClient } from '../../src/db/client.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts';

/** Tells the processes of the run where it is: `template` in it has the database, and beside that lie the gateways' data. */
const PLACE = 'TEST_DATA_PLACE';
const MEMORY = '/dev/shm';
/** What the file system in memory must have free, and the machine twice, in bytes. A run takes a quarter of it. */
const ENOUGH = 4 * 1024 ** 3;

/** Called by Vitest before the first test. @returns what is to be done after the last */
export async function setup(): Promise<() => Promise<void>> {
  const place = await makePlace(MEMORY).catch(() => null) ?? await makePlace(tmpdir(), false);
  if (place === null) throw new Error(`Nothing can be made in ${tmpdir()}.`);
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const dataDir = join(place, 'template');
  const server = await startEmbeddedPostgres({ dataDir, log: silent });
  // As a first start leaves it, before any gateway has put its tables there: no two installations share an identity. The
  // databases that others are made from are two thirds of its files, and no gateway makes one.
  const superuser = postgresClient({ ...server.connection, username: 'postgres', database: 'postgres' }, { max: 1 });
  await superuser`update pg_database set datistemplate = false`;
  for (const name of ['template0', 'template1']) await superuser.unsafe(`drop database ${name}`);
  await superuser.end();
  await server.stop();
  process.env[PLACE] = place;
  return () => rm(place, { recursive: true, force: true });
}

/**
 * A directory for all data of a run; null where there is no room for it. In memory each of the thousand files of a
 * database is made and removed at once; on some disks that takes a second of processor, and holds up all others. What the
 * engine's own tests write goes to the disk.
 */
async function makePlace(parent: string, isMemory = true): Promise<string | null> {
  if (isMemory) {
    for (const name of await readdir(parent)) {
      // What a run that was killed has left would stay in memory.
      const [, pid] = /^backup-gateway-tests-(\d+)-/.exec(name) ?? [];
      if (pid !== undefined && !existsSync(`/proc/${pid}`)) await rm(join(parent, name), { recursive: true, force: true });
    }
    const { bsize, bavail } = await statfs(parent);
    if (bsize * bavail < ENOUGH || process.availableMemory() < 2 * ENOUGH) return null;
  }
  const place = await mkdtemp(join(parent, `backup-gateway-tests-${process.pid}-`));
  try {
    // Some containers forbid programs there, and tests have hooks.
    const program = join(place, 'program');
    await writeFile(program, '#!/bin/sh\n');
    await chmod(program, 0o700);
    await promisify(execFile)(program);
    // Who has given up root must come through to what is its own.
    await chmod(place, 0o711);
    return place;
  } catch (error) {
    await rm(place, { recursive: true, force: true });
    throw error;
  }
}

/** A new, empty directory for what a gateway keeps. */
export async function newEmptyDataDir(): Promise<string> {
  return mkdtemp(join(process.env[PLACE] ?? tmpdir(), 'backup-gateway-'));
}

/** A new DATA_DIR, with an empty database in it. Without a template, as in benches, the first start makes one. */
export async function newDataDir(): Promise<string> {
  const dataDir = await newEmptyDataDir();
  await copyDatabaseTo(dataDir);
  return dataDir;
}

/** Puts an empty database into a DATA_DIR that has none; makes the directory where it is not there. */
export async function copyDatabaseTo(dataDir: string): Promise<void> {
  const place = process.env[PLACE];
  if (place === undefined || existsSync(join(dataDir, 'postgres'))) return;
  await mkdir(dataDir, { recursive: true });
  await promisify(execFile)('cp', ['-a', join(place, 'template', 'postgres'), join(dataDir, 'postgres')]);
}
