/**
 * One hook as a process: started without a shell, bounded in time and output, and ended with all that it started.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HookSpec } from '../domain/deployment.ts';

/** How a hook ended. */
export interface HookEnd {
  /** Null where a signal ended it, or where it could not be started. */
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Why it could not be started. */
  startFailure: string | null;
  /** It was ended because it took longer than its time. */
  isOverdue: boolean;
  seconds: number;
  /** The end of what it wrote to standard output and standard error, as readable text. */
  output: string;
}

/** How much of the output is kept, in bytes: the end, since that is where programs say why they give up. */
const OUTPUT_KEPT = 4 * 1024;
/** Between SIGTERM and SIGKILL, in milliseconds. */
const KILL_DELAY = 3_000;
/** How long a killed process is waited for: one that hangs in the kernel may never go. */
const REAP_LIMIT = 5_000;
/** How long output is waited for after the end: a service that the hook has started may hold the pipe open for ever. */
const DRAIN_LIMIT = 250;

/**
 * Runs a hook to its end.
 * @param stop ends it early; what then rejects is the signal's reason, once the process is gone
 */
export async function runHook(hook: HookSpec, variables: Record<string, string>, stop: AbortSignal): Promise<HookEnd> {
  stop.throwIfAborted();
  const begun = performance.now();
  const output = new Tail();
  let isOverdue = false;
  const end = (how: Pick<HookEnd, 'code' | 'signal' | 'startFailure'>): HookEnd =>
    ({ ...how, isOverdue, seconds: (performance.now() - begun) / 1_000, output: output.text });
  const failure = (error: unknown) => end({ code: null, signal: null, startFailure: whyNotStarted(error) });

  let child: ChildProcess;
  try {
    const [program = '', ...args] = hook.run;
    // A session of its own: Ctrl-C at a terminal does not reach it, and its process group can be ended as a whole.
    child = spawn(program, args, { detached: true, cwd: '/', env: environment(variables), stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (error) {
    return failure(error);
  }
  const exited = new Promise<Pick<HookEnd, 'code' | 'signal'>>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  exited.catch(() => undefined);
  const drained = new Promise<void>((resolve) => { child.once('close', () => resolve()); });
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (data: Buffer) => output.add(data)).on('error', () => undefined);

  const mustEnd = new AbortController();
  const onStop = () => mustEnd.abort();
  stop.addEventListener('abort', onStop, { once: true });
  const clock = setTimeout(() => {
    isOverdue = true;
    mustEnd.abort();
  }, hook.timeoutSeconds * 1_000);
  try {
    const how = await Promise.race([exited, aborted(mustEnd.signal)]) ?? await endGroup(child, exited);
    await Promise.race([drained, sleep(DRAIN_LIMIT)]);
    if (stop.aborted) throw stop.reason as Error;
    return end({ ...how, startFailure: null });
  } catch (error) {
    if (stop.aborted) throw stop.reason as Error;
    return failure(error);
  } finally {
    clearTimeout(clock);
    stop.removeEventListener('abort', onStop);
    letGo(child);
  }
}

/** Ends the process and all of its group. */
async function endGroup(child: ChildProcess, exited: Promise<Pick<HookEnd, 'code' | 'signal'>>): Promise<Pick<HookEnd, 'code' | 'signal'>> {
  signalGroup(child, 'SIGTERM');
  const how = await Promise.race([exited, sleep(KILL_DELAY).then(() => null)]);
  // Also where it has gone by itself: what it started may not have.
  signalGroup(child, 'SIGKILL');
  return how ?? await Promise.race([exited, sleep(REAP_LIMIT).then(() => ({ code: null, signal: 'SIGKILL' as const }))]);
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody of it is left.
  }
}

/**
 * A service that the hook has started may write to its output for as long as it lives. Closing the pipe would end that
 * service with SIGPIPE, so it is read on and thrown away, without keeping this process alive.
 */
function letGo(child: ChildProcess): void {
  child.unref();
  for (const stream of [child.stdout, child.stderr]) {
    stream?.removeAllListeners('data').resume();
    (stream as { unref?(): void } | null)?.unref?.();
  }
}

/** Nothing of the gateway's own environment but PATH: secrets are in there. */
function environment(variables: Record<string, string>): NodeJS.ProcessEnv {
  const told = Object.entries(variables).map(([name, value]) => [`BACKUP_GATEWAY_${name}`, value.replaceAll('\0', '')]);
  return { PATH: process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', ...Object.fromEntries(told) as NodeJS.ProcessEnv };
}

const aborted = (signal: AbortSignal): Promise<null> => new Promise((resolve) => {
  signal.addEventListener('abort', () => resolve(null), { once: true });
});

function whyNotStarted(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return 'there is no such program, or none on the PATH';
  if (code === 'EACCES') return 'it is not executable for the user that runs the worker';
  return error instanceof Error ? error.message : String(error);
}

/** Keeps the end of a stream of bytes. */
class Tail {
  #kept = Buffer.alloc(0);
  #isCut = false;

  add(data: Buffer): void {
    const all = Buffer.concat([this.#kept, data]);
    this.#isCut ||= all.length > OUTPUT_KEPT;
    this.#kept = all.length > OUTPUT_KEPT ? Buffer.from(all.subarray(-OUTPUT_KEPT)) : all;
  }

  /** As text that a log, a database and a page can hold: what is not UTF-8, and control characters, are replaced. */
  get text(): string {
    let start = 0;
    // The cut may have gone through the middle of a character.
    while (this.#isCut && start < 4 && ((this.#kept[start] ?? 0) & 0xc0) === 0x80) start += 1;
    const text = this.#kept.subarray(start).toString('utf8')
      .replaceAll('\r\n', '\n').replaceAll(/[^\P{Cc}\n\t]/gu, '\ufffd').trim();
    return this.#isCut ? `…${text}` : text;
  }
}
