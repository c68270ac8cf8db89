/**
 * As whom Postgres runs. It refuses to run as root, so a gateway that is root gives the server another identity:
 *
 * 1. `namespace`: a user namespace in which root has an ordinary number. Files stay root's, so it reaches everything
 *    below a private directory of root, and no other account of the machine can get at the server.
 * 2. `user`: another account, where it can reach the programs and the data.
 * 3. `capability`: another account that keeps one capability, to pass directories that are closed to it. For containers
 *    that forbid user namespaces.
 *
 * What decides is who owns the data, so that every later start comes to the same answer: data of another account
 * are served as that account (2, 3); data of root as root (1), and where that is not possible they are given
 * to `nobody` for good.
 */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { GatewayError } from '../../domain/errors.ts';
import type { Binaries } from './binaries.ts';

/** Numeric user and group that own files. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** A way to run Postgres; `self` is simply the gateway's own account. */
export type Way = 'self' | 'namespace' | 'user' | 'capability';

/** How to run a program so that Postgres accepts its user, and who owns the files that it writes. */
export interface Identity {
  readonly way: Way;
  readonly owner: Owner;
  /** What to put before a command line. */
  readonly prefix: readonly string[];
  /** Options for `spawn`. */
  readonly account: { readonly uid?: number; readonly gid?: number };
}

/** Ways that a root process may take, in order of preference. */
export const rootWays: readonly Way[] = ['namespace', 'user', 'capability'];

/** Nothing of the gateway's environment reaches Postgres: PG* and LD_LIBRARY_PATH would change what it does. */
export const environment: NodeJS.ProcessEnv = {
  PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
  LC_ALL: 'C',
  TZ: 'UTC',
};

/**
 * Chooses the identity for data of `owner`, by trying: the programs must run and `directory` must be reachable.
 *
 * @param ways ways that may be tried when this process is root
 * @throws GatewayError `POSTGRES_IDENTITY` with what was tried and why each failed
 */
export async function chooseIdentity(
  owner: Owner, directory: string, binaries: Binaries, ways: readonly Way[] = rootWays,
): Promise<Identity> {
  const failures: string[] = [];
  for (const identity of await candidates(owner, ways)) {
    const script = 'test -x "$1" && test -x "$2" && exec "$1" --version';
    const { code, output } = await execute(identity, '/bin/sh', ['-c', script, 'sh', binaries.postgres, directory]);
    if (code === 0) return identity;
    failures.push(`${identity.way}: ${output.trim() || `no access to ${binaries.postgres} or ${directory}`}`);
  }
  if (process.geteuid?.() !== 0) {
    throw new GatewayError('POSTGRES_IDENTITY', `The embedded Postgres does not run here (${failures.join('; ')}).`,
      'Its programs need glibc and must be readable. Or set DATABASE_URL to a Postgres server of your own.');
  }
  throw new GatewayError('POSTGRES_IDENTITY',
    `Postgres does not run as root, and no other user could be given to it (${failures.join('; ') || 'nothing to try'}).`,
    'Run the gateway as an ordinary user, or install util-linux (unshare, setpriv), or set DATABASE_URL.');
}

/**
 * The identity under which initdb may run: it insists on an account name, which users of containers often lack.
 * Its owner may differ from the given one; who calls hands the files over.
 */
export async function namedIdentity(
  identity: Identity, directory: string, binaries: Binaries, ways?: readonly Way[],
): Promise<Identity> {
  if (identity.way === 'namespace') return identity;
  if (identity.way !== 'self') {
    const known = await execute(undefined, 'id', ['-g', String(identity.owner.uid)]);
    return known.code === 0 ? identity : chooseIdentity({ uid: 0, gid: 0 }, directory, binaries, ways);
  }
  try {
    userInfo();
    return identity;
  } catch {
    const mapped = inNamespace(await nobody(), identity.owner);
    if ((await execute(mapped, binaries.postgres, ['--version'])).code === 0) return mapped;
    throw new GatewayError('POSTGRES_IDENTITY', `The user number ${identity.owner.uid} has no account name, which initdb needs.`,
      'Give it a line in /etc/passwd, run as a user that has one, or set DATABASE_URL to a Postgres server of your own.');
  }
}

async function candidates(owner: Owner, ways: readonly Way[]): Promise<Identity[]> {
  if (process.geteuid?.() !== 0) return [{ way: 'self', owner, prefix: [], account: {} }];
  const unprivileged = await nobody();
  const account = owner.uid === 0 ? unprivileged : owner;
  const { uid, gid } = account;
  const capability = [
    'setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups',
    // Without this bit access(2), by which Postgres checks its own programs, ignores the capability.
    '--securebits=+no_setuid_fixup',
    '--bounding-set=-all,+dac_override', '--inh-caps=-all,+dac_override', '--ambient-caps=-all,+dac_override', '--',
  ];
  const all: Identity[] = [
    { way: 'user', owner: account, prefix: [], account },
    { way: 'capability', owner: account, prefix: capability, account: {} },
  ];
  if (owner.uid === 0) all.unshift(inNamespace(unprivileged, owner));
  return all.filter(({ way }) => ways.includes(way));
}

const inNamespace = (shownAs: Owner, owner: Owner): Identity =>
  ({ way: 'namespace', owner, prefix: ['unshare', '--user', `--map-user=${shownAs.uid}`, '--'], account: {} });

async function nobody(): Promise<Owner> {
  const lines = (await readFile('/etc/passwd', 'utf8').catch(() => '')).split('\n').map((line) => line.split(':'));
  for (const name of ['nobody', 'daemon']) {
    const [, , uid, gid] = lines.find((fields) => fields[0] === name) ?? [];
    // macOS has -2 for nobody, which is not a number that files can be given to.
    if (Number(uid) > 0 && Number(gid) >= 0) return { uid: Number(uid), gid: Number(gid) };
  }
  return { uid: 65_534, gid: 65_534 };
}

/** What a program that has ended left: `code` is null if it could not be run, was killed or took too long. */
export interface Outcome {
  readonly code: number | null;
  /** Standard output and standard error, in the order of arrival. */
  readonly output: string;
}

/**
 * Runs a program to its end under an identity, or as this process is (`undefined`).
 *
 * @param timeoutMs after which it is killed
 */
export function execute(
  identity: Identity | undefined, program: string, args: readonly string[], input = '', timeoutMs = 10_000,
): Promise<Outcome> {
  const [file = program, ...rest] = [...identity?.prefix ?? [], program, ...args];
  return new Promise<Outcome>((resolve) => {
    // Throws at once where this process may not change its user.
    const child = spawn(file, rest, { ...identity?.account, cwd: '/', env: environment, timeout: timeoutMs, killSignal: 'SIGKILL' });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => { output += text; });
    child.stderr.setEncoding('utf8').on('data', (text: string) => { output += text; });
    child.stdin.on('error', () => undefined).end(input);
    child.on('error', (error) => resolve({ code: null, output: error.message }));
    child.on('close', (code) => resolve({ code, output }));
  }).catch((error: Error) => ({ code: null, output: error.message }));
}
