/**
 * What lies in DATA_DIR for the embedded Postgres: where each thing is, the locks between gateways, and how the
 * data directory comes to be.
 *
 *     postgres/                the data directory, mode 0700, of the user as whom Postgres runs
 *     postgres-run/            the socket and the log, mode 0700, of the same user
 *     postgres-launch.lock     held by the one process that starts, adopts or stops the server just now
 *     postgres-users.lock      held (shared) by every process that uses the server
 *     postgres.init-*          a data directory in the making
 */
import { randomBytes } from 'node:crypto';
import { chmod, chown, lchown, mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { GatewayError } from '../../domain/errors.ts';
import type { Binaries } from './binaries.ts';
import { chooseIdentity, execute, namedIdentity, type Identity, type Owner, type Way } from './identity.ts';
import { superuser } from './session.ts';

/** The database, and the role that owns it and is no superuser. */
export const database = 'backup_gateway';

/** Absolute paths. */
export interface Cluster {
  readonly dataDir: string;
  /** The Postgres data directory. */
  readonly directory: string;
  readonly runDirectory: string;
  readonly log: string;
  readonly pidFile: string;
  readonly launchLock: string;
  readonly usersLock: string;
}

/**
 * Makes DATA_DIR usable for the launcher.
 *
 * @throws GatewayError `DATA_DIR_UNWRITABLE`
 */
export async function openCluster(dataDir: string): Promise<Cluster> {
  try {
    // Below a directory of root the server may be another user, who has to pass through, not to look around.
    await mkdir(dataDir, { recursive: true, mode: process.geteuid?.() === 0 ? 0o711 : 0o700 });
    const real = await realpath(dataDir);
    const cluster: Cluster = {
      dataDir: real,
      directory: join(real, 'postgres'),
      runDirectory: join(real, 'postgres-run'),
      log: join(real, 'postgres-run', 'postgres.log'),
      pidFile: join(real, 'postgres', 'postmaster.pid'),
      launchLock: join(real, 'postgres-launch.lock'),
      usersLock: join(real, 'postgres-users.lock'),
    };
    const { uid, gid } = await stat(real);
    for (const lock of [cluster.launchLock, cluster.usersLock]) await createOnce(lock, { uid, gid });
    await mkdir(cluster.runDirectory, { mode: 0o700 }).catch(unless('EEXIST'));
    return cluster;
  } catch (cause) {
    throw new GatewayError('DATA_DIR_UNWRITABLE', `DATA_DIR cannot be used: ${(cause as Error).message}.`,
      'Give the user of the gateway the right to write there, or set DATA_DIR to another directory.', { cause });
  }
}

const unless = (code: string) => (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== code) throw error;
};

/** Never opens a file that is there: closing it would drop the locks that this process may hold on it. */
async function createOnce(path: string, owner: Owner): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch(unless('EEXIST'));
  if (file === undefined) return;
  // A later gateway may run as DATA_DIR's owner.
  if (process.geteuid?.() === 0) await file.chown(owner.uid, owner.gid);
  await file.close();
}

/** A lock that is held until it is released or its process ends, however that ends. */
export interface Held {
  release(): void;
}

/**
 * Tries to take a lock between processes, at once. SQLite is the portable way to the kernel's file locks: Node has
 * no call for them. The file stays empty.
 *
 * @returns nothing if another holds it
 */
export function tryLock(path: string, mode: 'shared' | 'exclusive'): Held | undefined {
  let file: DatabaseSync | undefined;
  try {
    file = new DatabaseSync(path, { timeout: 0 });
    file.exec(mode === 'shared' ? 'BEGIN; SELECT 1 FROM sqlite_schema' : 'BEGIN EXCLUSIVE');
    return { release: file.close.bind(file) };
  } catch (error) {
    file?.close();
    const sqliteBusy = 5;
    if ((Number((error as { errcode?: number }).errcode) & 0xff) === sqliteBusy) return undefined;
    throw new GatewayError('DATA_DIR_UNWRITABLE', `${path} cannot be locked: ${(error as Error).message}.`,
      'DATA_DIR must lie on a file system with locks, and its files must belong to the user of the gateway.', { cause: error });
  }
}

/**
 * Makes the data directory, or checks and mends the one that is there. To be called under the launch lock, while
 * no server runs.
 *
 * @returns as whom the server is to run
 * @throws GatewayError `POSTGRES_VERSION_MISMATCH`, `POSTGRES_DATA_INVALID`, `POSTGRES_IDENTITY`,
 *   `POSTGRES_INIT_FAILED` or `DATA_DIR_UNWRITABLE`
 */
export async function prepareCluster(cluster: Cluster, binaries: Binaries, ways?: readonly Way[]): Promise<Identity> {
  await sweepLeftovers(cluster);
  const existing = await existingOwner(cluster, binaries);
  const self = process.geteuid?.() ?? 0;
  const owner = existing ?? (self === 0 ? await stat(cluster.dataDir) : { uid: self, gid: process.getegid?.() ?? 0 });
  if (self !== 0 && owner.uid !== self) {
    throw new GatewayError('DATA_DIR_UNWRITABLE',
      `${cluster.directory} belongs to user ${owner.uid}, and the gateway runs as user ${self}.`,
      `Run the gateway as user ${owner.uid} or as root, or set DATA_DIR to another directory.`);
  }
  const identity = await chooseIdentity({ uid: owner.uid, gid: owner.gid }, cluster.dataDir, binaries, ways);
  if (existing === undefined) await initialise(cluster, binaries, identity, ways);
  else if (existing.uid !== identity.owner.uid) await giveAway(cluster.directory, identity.owner);
  for (const directory of [cluster.directory, cluster.runDirectory]) {
    if (self === 0) await chown(directory, identity.owner.uid, identity.owner.gid);
    // Volume managers widen modes; Postgres refuses a data directory that others may read.
    await chmod(directory, 0o700);
  }
  return identity;
}

async function existingOwner(cluster: Cluster, binaries: Binaries): Promise<Owner | undefined> {
  const found = await stat(cluster.directory).catch(unless('ENOENT'));
  if (found === undefined) return undefined;
  const version = await readFile(join(cluster.directory, 'PG_VERSION'), 'utf8').catch((error: NodeJS.ErrnoException) => error);
  if (typeof version === 'string') {
    if (Number(version) === binaries.major) return { uid: found.uid, gid: found.gid };
    throw new GatewayError('POSTGRES_VERSION_MISMATCH',
      `${cluster.directory} was made by Postgres ${version.trim()}, and this release has Postgres ${binaries.major}.`,
      'Start it with the release that made it, or move the directory away: a new one learns its backups from the stores.');
  }
  if (found.isDirectory() && version.code === 'ENOENT' && (await readdir(cluster.directory)).length === 0) return undefined;
  const why = version.code === 'ENOENT' ? 'it has no PG_VERSION' : version.message;
  throw new GatewayError('POSTGRES_DATA_INVALID', `${cluster.directory} is not a usable Postgres data directory: ${why}.`,
    'Restore the directory or its permissions, or move it away: a new one learns its backups from the stores.');
}

/** Builds under another name: what bears the final name is always whole, with its database in it. */
async function initialise(cluster: Cluster, binaries: Binaries, identity: Identity, ways?: readonly Way[]): Promise<void> {
  const maker = await namedIdentity(identity, cluster.dataDir, binaries, ways);
  const draft = `${cluster.directory}.init-${randomBytes(6).toString('hex')}`;
  try {
    await mkdir(draft, { mode: 0o700 });
    if (process.geteuid?.() === 0) await chown(draft, maker.owner.uid, maker.owner.gid);
    await complete(maker, binaries.initdb, [
      `--pgdata=${draft}`, `--username=${superuser}`, '--encoding=UTF8',
      '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8',
      // Whoever reaches the socket may connect: its directory is private. Nothing listens on TCP.
      '--auth-local=trust', '--auth-host=reject', '--no-instructions',
    ]);
    await complete(maker, binaries.postgres,
      ['--single', '-c', 'exit_on_error=on', '-c', 'log_checkpoints=off', '-D', draft, 'postgres'],
      `CREATE ROLE ${database} LOGIN\nCREATE DATABASE ${database} OWNER ${database}\n`);
    if (maker.owner.uid !== identity.owner.uid) await giveAway(draft, identity.owner);
    await rename(draft, cluster.directory);
    await using parent = await open(cluster.dataDir);
    await parent.sync();
  } catch (error) {
    await rm(draft, { recursive: true, force: true }).catch(() => undefined);
    if (error instanceof GatewayError) throw error;
    throw new GatewayError('POSTGRES_INIT_FAILED', `The database could not be created: ${(error as Error).message}`,
      `Check that ${cluster.dataDir} is writable and that its disk has at least 100 MB free.`, { cause: error });
  }
}

async function complete(identity: Identity, program: string, args: readonly string[], input?: string): Promise<void> {
  const { code, output } = await execute(identity, program, args, input, 120_000);
  if (code === 0) return;
  const tail = output.trim().split('\n').slice(-12).join('\n');
  throw new Error(`${basename(program)} ended with ${code === null ? 'no exit code' : `code ${code}`}:\n${tail}`);
}

/** Under the launch lock every draft is one whose maker died. An initdb that outlived it fails by itself. */
async function sweepLeftovers(cluster: Cluster): Promise<void> {
  const draft = `${basename(cluster.directory)}.init-`;
  for (const name of await readdir(cluster.dataDir)) {
    if (!name.startsWith(draft)) continue;
    // What an initdb still writes into cannot always be removed; the next start will.
    await rm(join(cluster.dataDir, name), { recursive: true, force: true, maxRetries: 3, retryDelay: 50 }).catch(() => undefined);
  }
}

/** Changes the owner of a tree, its root last: until then a start that was cut short is taken up again. */
async function giveAway(tree: string, { uid, gid }: Owner): Promise<void> {
  for (const entry of await readdir(tree, { recursive: true, withFileTypes: true })) {
    await lchown(join(entry.parentPath, entry.name), uid, gid);
  }
  await lchown(tree, uid, gid);
}
