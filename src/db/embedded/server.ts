/**
 * The server process: found, started, waited for, stopped. All of it under the launch lock, so that what is seen
 * here is not changed by another gateway meanwhile.
 */
import { spawn } from 'node:child_process';
import { closeSync, fchownSync, fstatSync, openSync } from 'node:fs';
import { copyFile, open, readFile, rename, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../../domain/errors.ts';
import { locateBinaries } from './binaries.ts';
import { prepareCluster, type Cluster } from './cluster.ts';
import { environment, type Way } from './identity.ts';
import { clusterName, processesOf, servesStill, signalProcess } from './processes.ts';
import { greet, port, type Session } from './session.ts';

const pollMs = 10;
/** How long to poll at that pace. */
const eagerMs = 2_000;
/** A server that replays much of its log after a crash answers "starting up" for long, and is right to. */
const recoveryLimitMs = 300_000;
/** For everything that is not recovery: a server that neither answers nor ends. */
const silenceLimitMs = 30_000;
const shutdownLimitMs = 60_000;
/** After which orphaned backends, asked to quit, are killed. */
const orphanPatienceMs = 1_000;
const logLimitBytes = 4_000_000;

/** What the server is run with, on every start; `postgresql.conf` is left as initdb wrote it. */
const settings: Readonly<Record<string, string | number>> = {
  listen_addresses: '',
  // Relative to the data directory: a long DATA_DIR would not fit into a socket address.
  unix_socket_directories: '../postgres-run',
  unix_socket_permissions: '0700',
  port,
  max_connections: 100,
  superuser_reserved_connections: 5, // one for each gateway's launcher
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  timezone: 'UTC',
  log_timezone: 'UTC',
  jit: 'off', // the package has no LLVM
  io_method: 'sync', // saves three worker processes that a small database does not need
  logging_collector: 'off',
  log_destination: 'stderr',
  log_checkpoints: 'off',
  // Statements that fail are the client's business: constraint violations are part of normal work here.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
};

/** What the functions of this file need to know. */
export interface ServerContext {
  readonly cluster: Cluster;
  readonly socketPath: string;
  /** Ways that root may take; all by default. */
  readonly ways?: readonly Way[];
  /** Gives up waiting, and the server that was just being started. */
  readonly signal: AbortSignal;
  /** Called with what is worth a line in the log. */
  readonly report: (event: Record<string, unknown>, message: string) => void;
}

/**
 * Connects to the server that is there, or starts one.
 *
 * @throws GatewayError `POSTGRES_START_FAILED` with the end of the server's log, and what {@link prepareCluster} throws
 */
export async function ensureRunning(context: ServerContext): Promise<Session> {
  const began = performance.now();
  let heard = began;
  let child: Child | undefined;
  let hurried = false;
  try {
    for (;;) {
      context.signal.throwIfAborted();
      const greeting = await greet(context.socketPath);
      const now = performance.now();
      if (greeting.state === 'ready') {
        context.report({ pid: child?.pid, way: child?.way, ms: Math.round(now - began) },
          child === undefined ? 'joined the embedded Postgres' : 'started the embedded Postgres');
        return greeting.session;
      }
      if (child?.ended !== undefined) {
        const log = await child.logTail();
        // It was killed; or processes of a killed one still hold its memory; or somebody else started one just now.
        const passes = child.killed || log.includes('is still in use') || /lock file ".*" already exists/.test(log);
        if (!passes || now - began > silenceLimitMs) throw startFailure(child.ended, log);
        child = undefined;
        await sleep(pollMs * 5);
      }
      if (greeting.state === 'busy') {
        heard = now;
        // Nobody else may stop it now, so this is a stop that waits for its clients: it need not.
        if (!hurried && await serverStatus(context.cluster) === 'stopping') hurried = await interrupt(context.cluster);
      } else {
        child ??= await startUnlessAlive(context);
      }
      if (now - heard > silenceLimitMs || now - began > recoveryLimitMs) {
        const state = greeting.state === 'busy' ? greeting.reason : 'nothing listens on its socket';
        throw startFailure(`${state}, after ${Math.round((now - began) / 1000)} s`, await logTail(context.cluster, 0));
      }
      // Each greeting is a line in the server's log.
      await sleep(now - began < eagerMs ? pollMs : pollMs * 10);
    }
  } catch (error) {
    // A server that is only slow stays: a recovery that is cut short begins anew. Any other would stay without users.
    const slow = error instanceof GatewayError && error.code === 'POSTGRES_START_FAILED';
    if (!slow && child?.pid !== undefined && child.ended === undefined) signalProcess(child.pid, 'SIGINT');
    throw error;
  }
}

/**
 * Stops the server: fast, with a checkpoint. Returns when its process is gone.
 *
 * @throws GatewayError `POSTGRES_STOP_FAILED` if that takes over a minute
 */
export async function shutDown(context: ServerContext): Promise<void> {
  const { postmaster } = await processesOf(context.cluster);
  if (postmaster === undefined) return;
  const began = performance.now();
  signalProcess(postmaster, 'SIGINT');
  while (await servesStill(postmaster)) {
    if (performance.now() - began > shutdownLimitMs) {
      throw new GatewayError('POSTGRES_STOP_FAILED', `The embedded Postgres (process ${postmaster}) does not stop.`,
        `Look into ${context.cluster.log}; the next start uses the server as it is.`);
    }
    await sleep(pollMs);
  }
  context.report({ pid: postmaster, ms: Math.round(performance.now() - began) }, 'stopped the embedded Postgres');
}

/** What the server says of itself in its pid file, such as `starting`, `ready` or `stopping`; empty if there is none. */
export async function serverStatus(cluster: Cluster): Promise<string> {
  const lines = (await readFile(cluster.pidFile, 'utf8').catch(() => '')).split('\n');
  return lines[7]?.trim() ?? '';
}

/** Keeps the server's log below {@link logLimitBytes}, and one predecessor. Safe while the server writes it. */
export async function trimLog(cluster: Cluster): Promise<void> {
  const { size } = await stat(cluster.log).catch(() => ({ size: 0 }));
  if (size < logLimitBytes) return;
  await rm(`${cluster.log}.1`, { force: true });
  await copyFile(cluster.log, `${cluster.log}.1`);
  // The server appends, so it goes on at the new end.
  await truncate(cluster.log, 0);
}

const startFailure = (reason: string, log: string): GatewayError =>
  new GatewayError('POSTGRES_START_FAILED', `The embedded Postgres did not start: ${reason}.${log === '' ? '' : `\n${log}`}`,
    'Mend what its log says (often a full disk or lost permissions) and start again; the data are untouched.');

interface Child {
  readonly pid: number | undefined;
  readonly way: Way;
  /** How it ended, once it has. */
  ended: string | undefined;
  /** Whether somebody killed it: no fault of its own. */
  killed: boolean;
  /** What it wrote to the log. */
  logTail(): Promise<string>;
}

async function startUnlessAlive(context: ServerContext): Promise<Child | undefined> {
  const { cluster } = context;
  const { postmaster, foreign, backends } = await processesOf(cluster);
  if (foreign !== undefined) {
    throw new GatewayError('POSTGRES_IN_USE', `${cluster.directory} is in use by a Postgres server (process ${foreign}) that no gateway started.`,
      `Stop that server (kill -INT ${foreign}) and start again.`);
  }
  if (postmaster !== undefined) return undefined;
  await endOrphans(cluster, backends);
  const binaries = await locateBinaries();
  const identity = await prepareCluster(cluster, binaries, context.ways);
  // Postgres honours these files whenever a process of that number lives, though it be another program by now.
  const socketName = `.s.PGSQL.${port}`;
  for (const stale of [join(cluster.runDirectory, `${socketName}.lock`), join(cluster.runDirectory, socketName), cluster.pidFile]) {
    await rm(stale, { force: true });
  }
  const options = Object.entries({ ...settings, cluster_name: await clusterName(cluster) }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const [file = '', ...args] = [...identity.prefix, binaries.postgres, '-D', cluster.directory, ...options];
  const { size } = await stat(cluster.log).catch(() => ({ size: 0 }));
  if (size > logLimitBytes / 4) await rename(cluster.log, `${cluster.log}.1`);
  const log = openSync(cluster.log, 'a', 0o600);
  try {
    // A later gateway may run as the owner, and writes here too.
    if (process.geteuid?.() === 0) fchownSync(log, identity.owner.uid, identity.owner.gid);
    const offset = fstatSync(log).size;
    // A session of its own: neither Ctrl-C in the gateway's terminal nor the end of the gateway reaches it.
    const server = spawn(file, args, { ...identity.account, cwd: '/', env: environment, detached: true, stdio: ['ignore', log, log] });
    server.unref();
    const child: Child = {
      pid: server.pid, way: identity.way, ended: undefined, killed: false, logTail: () => logTail(cluster, offset),
    };
    server.on('error', (error) => { child.ended = error.message; });
    server.on('exit', (code, signal) => {
      child.ended = signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`;
      child.killed = signal === 'SIGKILL';
    });
    return child;
  } finally {
    closeSync(log);
  }
}

async function logTail(cluster: Cluster, offset: number): Promise<string> {
  const file = await open(cluster.log).catch(() => undefined);
  if (file === undefined) return '';
  await using log = file;
  const { size } = await log.stat();
  const start = Math.max(offset, size - 4_000);
  const { buffer, bytesRead } = await log.read(Buffer.alloc(Math.max(0, size - start)), 0, null, start);
  return buffer.toString('utf8', 0, bytesRead).trim().split('\n').slice(-15).join('\n');
}

/** Backends notice that their server is dead when they next wait; one that computes is helped along. */
async function endOrphans(cluster: Cluster, found: readonly number[]): Promise<void> {
  const began = performance.now();
  for (let orphans = found; orphans.length > 0; { backends: orphans } = await processesOf(cluster)) {
    const signal = performance.now() - began > orphanPatienceMs ? 'SIGKILL' : 'SIGQUIT';
    for (const pid of orphans) signalProcess(pid, signal);
    await sleep(pollMs);
  }
}

async function interrupt(cluster: Cluster): Promise<boolean> {
  const { postmaster } = await processesOf(cluster);
  if (postmaster !== undefined) signalProcess(postmaster, 'SIGINT');
  return postmaster !== undefined;
}
