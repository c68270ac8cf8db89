/**
 * Applies the migrations in `drizzle/` on start.
 */
import { fileURLToPath } from 'node:url';
import { drizzle } from 'drizzle-orm/postgres-js';
import { migrate as applyMigrations } from 'drizzle-orm/postgres-js/migrator';
import { GatewayError } from '../domain/errors.ts';
import { postgresClient, type Connection } from './client.ts';

const MIGRATIONS = fileURLToPath(new URL('../../drizzle', import.meta.url));

/** Any fixed number: it only has to be the same in every process. */
const MIGRATION_LOCK = 7310002;

/** Postgres 14 is the oldest version tested. */
const OLDEST_SERVER = 140000;

/**
 * Brings the database up to date. Drizzle's migrator takes no lock of its own, so that several processes
 * starting at once would fail: here they queue at an advisory lock, and all but the first find nothing to do.
 * @throws GatewayError where the server is too old.
 */
export async function migrate(connection: Connection): Promise<void> {
  // One connection, so that lock and migrations share a session.
  const client = postgresClient(connection, { max: 1 });
  try {
    const [server] = await client<{ version: number; name: string }[]>`
      select current_setting('server_version_num')::int as version, current_setting('server_version') as name`;
    if (server !== undefined && server.version < OLDEST_SERVER) {
      throw new GatewayError('DATABASE_TOO_OLD', `The database server is Postgres ${server.name}.`, 'Use Postgres 14 or later.');
    }
    await client`select pg_advisory_lock(${MIGRATION_LOCK})`;
    await applyMigrations(drizzle(client), { migrationsFolder: MIGRATIONS });
    await client`select pg_advisory_unlock(${MIGRATION_LOCK})`;
  } finally {
    await client.end({ timeout: 5 });
  }
}
