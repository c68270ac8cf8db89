/**
 * A real PgBouncer in front of a real Postgres, both on loopback.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, chownSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { postgresClient } from '../../src/db/client.ts';
import { freePort } from './free-port.ts';
import { until } from './gateway.ts';

const PLACES = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer', '/usr/local/bin/pgbouncer', '/opt/homebrew/bin/pgbouncer'];

/** Where the program is; null where it is not installed. A CI run fails then, instead of leaving tests out. */
export function findPgBouncer(): string | null {
  const program = PLACES.find((place) => existsSync(place)) ?? null;
  if (program === null && process.env['CI'] !== undefined) throw new Error('Install pgbouncer: the tests of poolers need it.');
  return program;
}

/** The user "nobody": like servers, it refuses to run as root. */
const RUNNER = process.geteuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

export interface PoolOptions {
  mode: 'transaction' | 'session';
  /** How many connections of the server it shares out. */
  size: number;
  /** Settings of a client's connection that it knows no more than others, but takes without a word. */
  ignored?: readonly string[];
}

export interface Pooler {
  /** Of a database behind it. */
  url(database: string): string;
  /** Ends it at once, with all connections. */
  stop(): Promise<void>;
  /** Starts it again where it was. */
  start(): Promise<void>;
}

/** Starts one that lets everybody in, as a user of the server. `control`: a database that is there. */
export async function startPgBouncer(program: string, server: { port: number; user: string; password: string; control: string }, { mode, size, ignored = [] }: PoolOptions): Promise<Pooler> {
  const place = mkdtempSync(join(tmpdir(), 'pgbouncer-'));
  const port = await freePort();
  const settings = join(place, 'pgbouncer.ini');
  writeFileSync(settings, [
    '[databases]', `* = host=127.0.0.1 port=${server.port} user=${server.user} password=${server.password}`,
    '[pgbouncer]', 'listen_addr = 127.0.0.1', `listen_port = ${port}`, 'unix_socket_dir =', 'auth_type = any', `pool_mode = ${mode}`,
    `default_pool_size = ${size}`, 'max_client_conn = 200', ...(ignored.length === 0 ? [] : [`ignore_startup_parameters = ${ignored.join()}`]),
  ].join('\n'));
  if (RUNNER.uid !== undefined) for (const path of [place, settings]) chownSync(path, RUNNER.uid, RUNNER.gid);
  const url = (database: string) => `postgres://${server.user}@127.0.0.1:${port}/${database}`;
  let child: ReturnType<typeof spawn> | null = null;
  let log = '';

  const end = async () => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const start = async () => {
    const running = spawn(program, [settings], { ...RUNNER, cwd: place, stdio: ['ignore', 'ignore', 'pipe'] });
    child = running;
    running.stderr.setEncoding('utf8').on('data', (text: string) => { log += text; });
    await until('PgBouncer answers', async () => {
      if (running.exitCode !== null) throw new Error(`PgBouncer ended:\n${log}`);
      const probe = postgresClient(url(server.control), { max: 1, isPooled: true });
      return await probe`select 1`.catch(() => null).finally(() => probe.end({ timeout: 0 }));
    });
  };
  await start();
  return { url, stop: () => end().then(() => rm(place, { recursive: true, force: true })), start: () => end().then(start) };
}
