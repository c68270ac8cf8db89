/**
 * Child processes: no shell, a fixed environment, and no promise that settles before the child is gone.
 */
import { spawn } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { Writable } from 'node:stream';
import type { Readable } from 'node:stream';
import { EngineError } from '../domain/errors.ts';
import { ioFault } from './faults.ts';
import { release } from './memory.ts';
import { applyPriority } from './priority.ts';

/** How a child ended. */
export interface Exit {
  /** Null where a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** The beginning of what it wrote to its standard error. */
  stderr: string;
}

export interface Child {
  stdin: Writable | null;
  stdout: Readable | null;
  /** Settles when the process is gone and its output read. Rejects only where it could not be started. */
  exit: Promise<Exit>;
  /** Ends it at once, with SIGKILL. */
  kill(): void;
}

const STDERR_KEPT = 64 * 1024;

/** `LC_ALL=C` makes messages and quoting readable to us; leaving the rest out keeps TAR_OPTIONS and the like out. */
function environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC', ...more };
}

/** Where this process keeps compiled code: of another Node it takes half the time to start. */
function compiled(path: string): Record<string, string> {
  const place = path === process.execPath ? getCompileCacheDir() : undefined;
  return place === undefined ? {} : { NODE_COMPILE_CACHE: dirname(place) };
}

export interface StartOptions {
  /** True: a stream. A number: a file that is open to be read, and that is read from its beginning. */
  stdin?: boolean | number;
  /** True: a stream. A number: a file that is open to be written. A stream: the input of another child. */
  stdout?: boolean | number | Writable;
  /** What the program finds in its environment besides; the place for a password, which arguments would show to all. */
  env?: Readonly<Record<string, string>>;
  /** How much of its standard error is kept, in characters. */
  stderrKept?: number;
  /** Told of all of it, as it comes. */
  onStderr?(text: string): void;
}

/**
 * Starts a program in a session of its own, so that Ctrl-C at a terminal reaches this process alone, which then
 * decides what becomes of the work. It runs at the priority of that work.
 *
 * @throws EngineError IO where there are no descriptors left for its streams
 */
export function start(path: string, args: readonly string[], options: StartOptions = {}): Child {
  const { env, stderrKept = STDERR_KEPT } = options;
  const process = spawn(path, args, {
    detached: true,
    env: environment({ ...compiled(path), ...env }),
    stdio: [stdioOf(options.stdin), stdioOf(options.stdout), 'pipe'],
  });
  // Node leaves the streams out where it has no descriptors for them.
  if (process.stderr == null) {
    process.on('error', () => undefined);
    throw tooManyFiles(path);
  }
  applyPriority(process.pid);
  let stderr = '';
  process.stderr.setEncoding('utf8').on('data', (text: string) => {
    options.onStderr?.(text);
    if (stderr.length < stderrKept) stderr += text.slice(0, stderrKept - stderr.length);
  });
  // A child that ends early breaks its input pipe; how it ended says more than EPIPE does.
  process.stdin?.on('error', () => undefined);
  const exit = new Promise<Exit>((resolve, reject) => {
    process.on('error', (error) => reject(ioFault(error, `${path} could not be started`)));
    process.on('close', (code, signal) => resolve({ code, signal, stderr }));
  });
  exit.catch(() => undefined);
  return { stdin: process.stdin, stdout: process.stdout, exit, kill: () => void process.kill('SIGKILL') };
}

const tooManyFiles = (path: string): EngineError => new EngineError('IO', `${path} could not be started: this process, or the machine, has too many files open.`,
  'Raise the limit on open files for the user that runs the worker (ulimit -n, or LimitNOFILE= of its unit), and start it again.');

const stdioOf = (wish: boolean | number | Writable = false): 'pipe' | 'ignore' | number | Writable => (typeof wish === 'boolean' ? wish ? 'pipe' : 'ignore' : wish);

/** What it means that a program did not end as it does by itself. */
export const endedFromOutside = (program: string, { code, signal }: Exit, meanwhile: string): EngineError =>
  new EngineError('IO', `${program} ended with ${signal ?? `code ${code}`} while ${meanwhile}.`,
    'Something outside this program ended it, such as a lack of memory; look at the system log.');

/** Ends the child when the signal comes, whatever it is waiting for. Answers the child. */
export function killedBy(signal: AbortSignal, child: Child): Child {
  if (signal.aborted) child.kill();
  signal.addEventListener('abort', child.kill, { once: true });
  void child.exit.catch(() => undefined).finally(() => signal.removeEventListener('abort', child.kill));
  return child;
}

/**
 * Writes a piece to the input of a child, and frees it. Tens of thousands of times: without promises.
 *
 * @param reason asked where the child takes no more: how it ended says more than a broken pipe does
 */
export function feed(stdin: Writable, data: Buffer, reason: () => Promise<Error | null>, done: (error?: Error | null) => void): void {
  const refused = async (error: Error): Promise<void> => done(await reason() ?? error);
  stdin.write(data, (error) => {
    if (error == null) {
      release(data);
      done();
    } else {
      void refused(error);
    }
  });
}

/** The program that takes the input ended before the input did. */
export class InputRefused extends Error {}

/**
 * The input of a child, as a stream that ends well where the child had enough: tar stops reading at the end mark of
 * an archive, and whether the padding behind it still finds a reader is a matter of luck.
 */
export class ChildInput extends Writable {
  readonly #stdin: Writable;
  readonly #hadEnough: () => boolean;

  /** @param hadEnough asked when the child reads no more; false: that is a failure, `InputRefused` */
  constructor(stdin: Writable, hadEnough: () => boolean) {
    super({ highWaterMark: 256 * 1024 });
    this.#stdin = stdin;
    this.#hadEnough = hadEnough;
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#stdin.write(data, (error) => {
      if (error == null) release(data);
      done(error == null || this.#hadEnough() ? null : new InputRefused());
    });
  }

  override _final(done: () => void): void {
    this.#stdin.end();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stdin.destroy();
    done(error);
  }
}

/** Runs a short program to its end. */
export async function run(path: string, args: readonly string[], options: Pick<StartOptions, 'env'> = {}): Promise<Exit & { stdout: string }> {
  const child = start(path, args, { ...options, stdout: true });
  let stdout = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  return { ...(await child.exit), stdout };
}
