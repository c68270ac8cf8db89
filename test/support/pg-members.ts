/** Starts and cleans up processes that share an embedded Postgres, and looks at the server's own processes. */
import { fork, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp, realpath } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Way } from '../../src/db/embedded/identity.ts';
import type { Order, Reply } from './pg-member.ts';

const members = new Set<Member>();
const places = new Set<string>();

/** A new directory for one test. */
export async function newPlace(): Promise<string> {
  const place = await realpath(await mkdtemp(join(tmpdir(), 'bg-pg-')));
  places.add(place);
  return place;
}

let shared: Promise<string> | undefined;

/** The same directory for many tests, as the one before left it (its processes killed): saves making a database each time. */
export const sharedPlace = (): Promise<string> => shared ??= newPlace();

/** Ends everything that a test has started. */
export function endAll(): void {
  for (const member of members) member.kill();
  for (const place of places) killServer(place);
  members.clear();
}

/** Removes what the tests made. At the very end: ext4 takes long to make files where many were removed just now. */
export function removeAll(): void {
  for (const place of places) rmSync(place, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  places.clear();
}

/** Server processes (with their parent first) whose data lie below a directory, by what each says of itself. */
export function serverProcesses(place: string): { postmasters: number[]; backends: number[] } {
  const all = readdirSync('/proc').map(Number).filter((pid) => pid > 0).map((pid) => ({ pid, argv: argvOf(pid) }));
  const postmasters = all.filter(({ argv }) => /(^|\/)postgres$/.test(argv[0] ?? '') && argv.some((arg) => arg.startsWith(place)));
  const names = postmasters.flatMap(({ argv }) => argv.filter((arg) => arg.startsWith('cluster_name=')).map((arg) => arg.slice(13)));
  const backends = all.filter(({ argv }) => names.some((name) => argv[0]?.startsWith(`postgres: ${name}: `)));
  return { postmasters: postmasters.map(({ pid }) => pid), backends: backends.map(({ pid }) => pid) };
}

/** Kills the server and all of its processes at once. */
export function killServer(place: string): void {
  const { postmasters, backends } = serverProcesses(place);
  for (const pid of [...postmasters, ...backends]) kill(pid, 'SIGKILL');
}

export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch { /* it has gone by itself */ }
}

function argvOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Tries until it succeeds; the last failure is the test's. */
export async function eventually<T>(attempt: () => T | Promise<T>, limitMs = 10_000): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > end) throw error;
      await sleep(10);
    }
  }
}

export interface MemberOptions {
  ways?: Way[];
  /** Run the process as this user. */
  uid?: number;
  /** Another copy of pg-member.ts. */
  script?: string;
}

/** A process of its own that uses the embedded Postgres of a DATA_DIR. */
export class Member {
  readonly process: ChildProcess;
  readonly ended: Promise<void>;
  /** What it reported as committed. */
  readonly committed: number[] = [];
  readonly up: Promise<string>;
  stderr = '';
  readonly #answers = new Map<number, (reply: { rows?: unknown[]; error?: string }) => void>();

  constructor(dataDir: string, { ways, uid, script }: MemberOptions = {}) {
    members.add(this);
    this.process = fork(script ?? join(import.meta.dirname, 'pg-member.ts'), [JSON.stringify({ dataDir, ways })], {
      uid, gid: uid, cwd: '/', detached: true, stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => { this.stderr += text; });
    this.ended = new Promise((resolve) => this.process.once('close', () => resolve()));
    this.up = new Promise((resolve, reject) => {
      this.process.on('message', (reply: Reply) => {
        if ('up' in reply) resolve(reply.up.host);
        else if ('failed' in reply) reject(Object.assign(new Error(reply.failed.message), reply.failed));
        else if ('committed' in reply) this.committed.push(reply.committed);
        else this.#answers.get(reply.id)?.(reply);
      });
      void this.ended.then(() => {
        reject(new Error(`the process ended before it was up: ${this.stderr}`));
        for (const answer of this.#answers.values()) answer({ error: 'the process ended' });
      });
    });
    this.up.catch(() => undefined);
  }

  /** Starts a process and waits until it is up. */
  static async start(dataDir: string, options?: MemberOptions): Promise<Member> {
    const member = new Member(dataDir, options);
    await member.up;
    return member;
  }

  /** Runs a statement on a new connection. */
  query = async (query: string): Promise<unknown[]> => (await this.#order({ query })).rows ?? [];
  /** Inserts rows into a table, one after the other, until the process or its connection ends. */
  write = async (table: string): Promise<void> => void await this.#order({ write: table });

  async stop(): Promise<void> {
    await this.#order({ stop: true });
    await this.ended;
  }

  kill(): void {
    this.process.kill('SIGKILL');
  }

  #next = 0;
  #order(order: { query: string } | { write: string } | { stop: true }): Promise<{ rows?: unknown[] }> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#answers.set(id, (reply) => {
        this.#answers.delete(id);
        if (reply.error === undefined) resolve(reply);
        else reject(new Error(reply.error));
      });
      this.process.send({ id, ...order } as Order, (error) => { if (error) reject(error); });
    });
  }
}
