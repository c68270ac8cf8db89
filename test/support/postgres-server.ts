/**
 * A Postgres server of a test's own, as a distribution packages it: with the programs that dump and restore, which the
 * embedded one lacks. Its cluster lies in a temporary directory and is gone with it.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { PostgresSource } from '../../src/domain/deployment.ts';
import { freePort } from './free-port.ts';
import { newEmptyDataDir, until } from './gateway.ts';

const PLACE = '/usr/lib/postgresql';

/** Where its programs are; null where it is not installed. A CI run fails then, instead of leaving tests out. */
export function findServerPrograms(): string | null {
  const versions = fs.existsSync(PLACE) ? fs.readdirSync(PLACE).filter((name) => fs.existsSync(join(PLACE, name, 'bin/initdb'))) : [];
  const newest = versions.sort((one, other) => Number(other) - Number(one))[0];
  if (newest === undefined && process.env['CI'] !== undefined) throw new Error('Install postgresql: the tests need a server and its programs.');
  return newest === undefined ? null : join(PLACE, newest, 'bin');
}

export interface PostgresServer {
  readonly port: number;
  readonly password: string;
  /** The database server's process. */
  readonly process: ChildProcess;
  /** Runs SQL as the superuser and answers what psql prints. */
  sql(database: string, sql: string): string;
  /** A session that runs SQL and then stays. */
  open(database: string, sql: string): ChildProcess;
  /** A source for one of its databases; its password comes from the environment variable `TEST_PG_PASSWORD`. */
  source(database: string, user?: string): PostgresSource;
  stop(): Promise<void>;
}

/** Servers refuse to run as root. */
const runner = process.geteuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

/** Starts one that asks for the password of `admin`, its superuser, and that listens on loopback alone. */
export async function startPostgresServer(programs: string): Promise<PostgresServer> {
  const place = fs.realpathSync(await newEmptyDataDir());
  const password = "pass'w:rd@%+$";
  const data = join(place, 'data');
  if (runner.uid !== undefined) fs.chownSync(place, runner.uid, runner.gid);
  fs.writeFileSync(join(place, 'password'), password);
  fs.chmodSync(join(place, 'password'), 0o644);
  execFileSync(join(programs, 'initdb'), ['--no-sync', '--username=admin', '--auth=scram-sha-256', `--pwfile=${join(place, 'password')}`, '--encoding=UTF8', '--locale=C', `--pgdata=${data}`],
    { ...runner, cwd: place, stdio: ['ignore', 'ignore', 'pipe'] });
  const port = await freePort();
  const server = spawn(join(programs, 'postgres'), ['-D', data, '-h', '127.0.0.1', '-p', String(port), '-k', '', '-c', 'fsync=off', '-c', 'shared_buffers=16MB'],
    { ...runner, cwd: place, stdio: ['ignore', 'ignore', 'pipe'] });
  let log = '';
  server.stderr.setEncoding('utf8').on('data', (text: string) => { log += text; });
  const psql = (database: string, sql: string) => spawnSync(join(programs, 'psql'), ['-XAtq', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', String(port), '-U', 'admin', '-d', database],
    { input: sql, encoding: 'utf8', env: { ...process.env, PGPASSWORD: password } });
  const stop = async (): Promise<void> => {
    if (server.exitCode === null && server.signalCode === null) {
      // At once, whoever is connected.
      server.kill('SIGQUIT');
      await once(server, 'exit');
    }
    fs.rmSync(place, { recursive: true, force: true });
  };
  try {
    await until('the Postgres server answers', () => {
      if (server.exitCode !== null) throw new Error(`The Postgres server ended:\n${log}`);
      return psql('postgres', 'SELECT 1').status === 0;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    port, password, process: server, stop,
    sql(database, sql) {
      const { status, stdout, stderr } = psql(database, sql);
      if (status !== 0) throw new Error(stderr);
      return stdout.trim();
    },
    open(database, sql) {
      const session = spawn(join(programs, 'psql'), ['-Xq', '-h', '127.0.0.1', '-p', String(port), '-U', 'admin', '-d', database], { stdio: ['pipe', 'ignore', 'ignore'], env: { ...process.env, PGPASSWORD: password } });
      session.stdin.write(`${sql}\n`);
      return session;
    },
    source: (database, user = 'admin') => ({
      type: 'POSTGRES', database, url: `postgres://${user}:\${TEST_PG_PASSWORD}@127.0.0.1:${port}`, path: `127.0.0.1:${port}/${database}`,
    }),
  };
}
