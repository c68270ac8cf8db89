/**
 * The parts of a split installation as processes: each started as a person would, with its own DATA_DIR.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { clientOf, type TestGateway } from './gateway.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/backup-gateway.mjs', import.meta.url));

export interface PartOptions {
  /** The arguments, such as `['worker', '--host', 'ep1']`. */
  args: readonly string[];
  dataDir: string;
  env: Record<string, string>;
  /** Commands in front of node, such as one that enters a network namespace. */
  prefix?: readonly string[];
}

export interface Part {
  readonly process: ChildProcess;
  /** What it wrote so far, to both outputs. */
  printed(): string;
  /** SIGTERM, or another signal; answers the exit code once it is gone. */
  end(signal?: NodeJS.Signals): Promise<number | null>;
}

/** Starts a part and does not wait for anything. */
export function spawnPart({ args, dataDir, env, prefix = [] }: PartOptions): Part & { readonly ended: Promise<number | null>; readonly ready: Promise<string> } {
  const [command = '', ...rest] = [...prefix, process.execPath, PROGRAM, ...args];
  const child = spawn(command, rest, {
    cwd: dataDir, env: { PATH: process.env['PATH'], PORT: '0', DATA_DIR: dataDir, LOG_LEVEL: 'info', ...env }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { printed += text; });
  child.stdout.setEncoding('utf8').on('data', (text: string) => { printed += text; });
  const ended = once(child, 'close').then(([code]) => code as number | null);
  const ready = new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => { if (line.includes('is ready')) resolve(line); });
    void ended.then((code) => reject(new Error(`The part ${args.join(' ')} ended with ${code}:\n${printed}`)));
  });
  ready.catch(() => undefined);
  return {
    process: child, ended, ready, printed: () => printed,
    async end(signal = 'SIGTERM') {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      return ended;
    },
  };
}

/** Starts a part and waits until it says that it is ready. */
export async function startPart(options: PartOptions): Promise<Part & { readonly line: string }> {
  const part = spawnPart(options);
  return { ...part, line: await part.ready };
}

/** Runs a part that ends by itself. */
export async function runPart(options: PartOptions): Promise<{ code: number | null; printed: string }> {
  const part = spawnPart(options);
  return { code: await part.ended, printed: part.printed() };
}

/** Starts a gateway without a worker. `env` must hold ADMIN_TOKEN. */
export async function startGatewayPart(options: Omit<PartOptions, 'args'>): Promise<Part & TestGateway> {
  const part = await startPart({ ...options, args: ['gateway'] });
  const url = /Open (http:\/\/[^/]+)\//.exec(part.line)?.[1] ?? '';
  return { ...part, ...clientOf(url, options.env['ADMIN_TOKEN'] ?? '', options.dataDir, async () => void await part.end()) };
}
