/**
 * Which processes serve a data directory. The pid file alone does not tell: its number may belong to another program
 * by now, or the file may be gone while the server lives.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Cluster } from './cluster.ts';
import { execute } from './identity.ts';

/** The processes of one data directory. */
export interface Processes {
  /** The server. */
  readonly postmaster: number | undefined;
  /** A server that a person started on this directory, not a gateway. */
  readonly foreign: number | undefined;
  /** Backends, which outlive their server for a moment if that is killed. */
  readonly backends: readonly number[];
}

/** Finds the processes that serve the data directory, as far as this machine or container shows them. */
export async function processesOf(cluster: Cluster): Promise<Processes> {
  const mark = await clusterName(cluster).catch(() => undefined);
  if (mark === undefined) return { postmaster: undefined, foreign: undefined, backends: [] };
  const masters: number[] = [];
  const backends: number[] = [];
  for (const [pid, argv] of await allProcesses()) {
    if (isServer(argv) && argv.includes(`cluster_name=${mark}`)) masters.push(pid);
    else if (argv[0]?.startsWith(`postgres: ${mark}: `)) backends.push(pid);
  }
  const recorded = await recordedPid(cluster);
  // A backend bears its server's command line until it has given itself a title.
  const postmaster = masters.find((pid) => pid === recorded) ?? masters[0];
  const foreign = postmaster === undefined && recorded !== undefined && await servesElse(recorded, cluster) ? recorded : undefined;
  return { postmaster, foreign, backends };
}

/** The `cluster_name` to run the server with: the same whatever path leads to the directory, and never that of a copy. */
export async function clusterName(cluster: Cluster): Promise<string> {
  const { dev, ino } = await stat(cluster.directory, { bigint: true });
  return `backup-gateway-${dev.toString(36)}-${ino.toString(36)}`;
}

/** Whether a process still runs a Postgres server; not so for a zombie, or for another program of the same number. */
export const servesStill = async (pid: number): Promise<boolean> => isServer(await commandLine(pid));

/** Sends a signal; a process that is gone already is no error. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const isServer = (argv: readonly string[]): boolean => basename(argv[0] ?? '') === 'postgres';

async function recordedPid(cluster: Cluster): Promise<number | undefined> {
  const pid = Number.parseInt(await readFile(cluster.pidFile, 'utf8').catch(() => ''), 10);
  return pid > 0 ? pid : undefined;
}

/** In doubt it does: the pid file of a live server must never be taken away. */
async function servesElse(pid: number, cluster: Cluster): Promise<boolean> {
  const argv = await commandLine(pid);
  if (!isServer(argv)) return false;
  // A server works in its data directory.
  const at = await stat(`/proc/${pid}/cwd`, { bigint: true }).catch(() => undefined);
  const own = await stat(cluster.directory, { bigint: true });
  if (at !== undefined) return at.dev === own.dev && at.ino === own.ino;
  return !argv.includes('-D') || argv.includes(cluster.directory);
}

/** Command lines are what every user may read of every process. A zombie has none. */
async function commandLine(pid: number): Promise<string[]> {
  if (process.platform === 'linux') return (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
  return splitArguments((await execute(undefined, 'ps', ['-o', 'args=', '-p', String(pid)])).output);
}

async function allProcesses(): Promise<[number, string[]][]> {
  if (process.platform === 'linux') {
    const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 0);
    return Promise.all(pids.map(async (pid): Promise<[number, string[]]> => [pid, await commandLine(pid)]));
  }
  const { output } = await execute(undefined, 'ps', ['-axo', 'pid=,args=']);
  return output.trim().split('\n').map((line) => [Number.parseInt(line, 10), splitArguments(line.trim().replace(/^\d+\s+/, ''))]);
}

/** ps joins arguments with spaces: the program's path ends where its first option begins. */
function splitArguments(line: string): string[] {
  const [program = '', ...rest] = line.trim().split(' -');
  return [program, ...rest.flatMap((option) => `-${option}`.split(' '))];
}
