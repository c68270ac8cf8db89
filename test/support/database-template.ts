/**
 * An empty database of the embedded Postgres, made once for a run of all tests and copied for those that are about
 * something else: making one takes a second of processor and disk, copying one a tenth of that. What makes a database
 * is tested by itself, with none of these copies.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts';

/** Tells the processes of the run where it is. */
const PLACE = 'TEST_DATABASE_TEMPLATE';

/** Called by Vitest before the first test. @returns what is to be done after the last */
export async function setup(): Promise<() => Promise<void>> {
  const place = await mkdtemp(join(tmpdir(), 'backup-gateway-template-'));
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const server = await startEmbeddedPostgres({ dataDir: place, log: silent });
  // As a first start leaves it, before any gateway has put its tables there: no two installations share an identity.
  await server.stop();
  process.env[PLACE] = place;
  return () => rm(place, { recursive: true, force: true });
}

/** Puts an empty database into a DATA_DIR that has none. Without a template, as in benches, the first start makes one. */
export async function copyDatabaseTo(dataDir: string): Promise<void> {
  const place = process.env[PLACE];
  if (place === undefined) return;
  await promisify(execFile)('cp', ['-a', join(place, 'postgres'), join(dataDir, 'postgres')]);
}
