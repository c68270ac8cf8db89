/**
 * A Postgres server that listens on TCP, on a machine of a test's network: the embedded one never does.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, writeFileSync, appendFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type postgres from 'postgres';
import { postgresClient } from '../../src/db/client.ts';
import { locateBinaries } from '../../src/db/embedded/binaries.ts';
import { newEmptyDataDir, until } from './gateway.ts';
import type { Machine } from './namespaces.ts';

export interface TcpPostgres {
  /** For DATABASE_URL, from any machine of the network. */
  readonly url: string;
  /** A connection past the network. */
  readonly sql: postgres.Sql;
  stop(): Promise<void>;
}

/** The user "nobody": Postgres refuses to run as root. */
const NOBODY = 65_534;
const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups'];

/** Makes a new server on a machine. */
export async function startPostgresOn(machine: Machine): Promise<TcpPostgres> {
  const { initdb, postgres: program } = await locateBinaries();
  const directory = await newEmptyDataDir();
  chownSync(directory, NOBODY, NOBODY);
  const data = join(directory, 'data');
  const [setpriv = '', ...account] = AS_NOBODY;
  execFileSync(setpriv, [...account, initdb, `--pgdata=${data}`, '--username=gateway', '--auth=trust', '--no-sync', '--encoding=UTF8', '--locale=C'], { cwd: '/', stdio: 'ignore' });
  appendFileSync(join(data, 'pg_hba.conf'), 'host all all 10.77.0.0/24 trust\n');
  writeFileSync(join(data, 'postgresql.auto.conf'), [
    `listen_addresses = '${machine.address}'`, `unix_socket_directories = '${directory}'`, 'fsync = off', 'log_min_messages = fatal',
  ].join('\n'));
  const [command = '', ...rest] = [...machine.prefix, ...AS_NOBODY, program, '-D', data];
  const server = spawn(command, rest, { cwd: '/', stdio: 'ignore' });
  const sql = postgresClient({ host: directory, port: 5432, database: 'postgres', username: 'gateway' }, { max: 2 });
  await until('Postgres answers', () => sql`select 1`.catch(() => null));
  return {
    url: `postgres://gateway@${machine.address}:5432/postgres`, sql,
    async stop() {
      await sql.end({ timeout: 1 });
      const ended = once(server, 'exit');
      if (server.exitCode === null && server.signalCode === null && server.kill('SIGQUIT')) await ended;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
