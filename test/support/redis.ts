/**
 * A real Redis on loopback, which keeps nothing.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.ts';
import { until } from './gateway.ts';

const PLACES = ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin'].flatMap((place) => [join(place, 'redis-server'), join(place, 'valkey-server')]);

/** Where the program is; null where it is not installed. A CI run fails then, instead of leaving tests out. */
export function findRedis(): string | null {
  const program = PLACES.find((place) => existsSync(place)) ?? null;
  if (program === null && process.env['CI'] !== undefined) throw new Error('Install redis-server: the tests of the wake-up bus need it.');
  return program;
}

export interface RedisServer {
  /** With the password, if it asks for one. */
  readonly url: string;
  readonly port: number;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it again where it was. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts one. `settings`: as on its command line, such as `['--requirepass', 'secret']`. */
export async function startRedis(program: string, { password = '', settings = [] }: { password?: string; settings?: readonly string[] } = {}): Promise<RedisServer> {
  const place = mkdtempSync(join(tmpdir(), 'redis-'));
  const port = await freePort();
  let child: ChildProcess | null = null;
  const kill = async () => {
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  const start = async () => {
    const running = spawn(program, [
      '--bind', '127.0.0.1', '--port', String(port), '--dir', place, '--save', '', '--appendonly', 'no', ...(password === '' ? [] : ['--requirepass', password]), ...settings,
    ], { stdio: ['ignore', 'pipe', 'inherit'] });
    child = running;
    let log = '';
    running.stdout.setEncoding('utf8').on('data', (text: string) => { log += text; });
    await until('the Redis answers', () => {
      if (running.exitCode !== null) throw new Error(`The Redis ended:\n${log}`);
      return answers(port);
    });
  };
  await start();
  return {
    url: `redis://${password === '' ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`, port, kill, start,
    stop: () => kill().then(() => rm(place, { recursive: true, force: true })),
  };
}

/** Whether a server says anything to a PING, be it that it wants a password. */
function answers(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'));
  socket.once('data', (data) => resolve(/^[+-]/.test(data.toString()))).once('error', () => resolve(false)).once('close', () => resolve(false));
  return promise.finally(() => socket.destroy());
}
