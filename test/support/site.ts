/**
 * Deployments of a test's own, served by gateways in processes that can be killed, and what is seen of them: through
 * GraphQL, in the database and on disk.
 */
import { randomFillSync } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import type postgres from 'postgres';
import { pino } from 'pino';
import { postgresClient } from '../../src/db/client.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts';
import { STORE_MARK } from '../../src/engine/index.ts';
import { newDataDir, startGatewayProcess, until, type GatewayProcess, type TestGateway } from './gateway.ts';

/** What a backup of the console holds: paths from the data directory, by content group. */
export type Content = Record<string, ({ directory: string } | { file: string })[]>;

export interface Site {
  readonly dataDir: string;
  /** The database behind the gateways, also while none runs. */
  readonly sql: postgres.Sql;
  /** A path in the data directory. */
  at(...names: string[]): string;
  /** Starts one more gateway process on the site; it is ended with the site at the latest. */
  start(env?: Record<string, string>): Promise<GatewayProcess>;
  /** The gateway started last that still runs; a new one where none does. For tests that need one, but no fresh one. */
  running(): Promise<GatewayProcess>;
  /** Ends every lease, as ten seconds without a sign of life would, or lets them all end after so many seconds. */
  expireLeases(seconds?: number): Promise<void>;
  /** Names in a store that are no finished backup's, and those of finished backups that are not there. */
  oddities(store?: string): Promise<string[]>;
  /** Names of journals, and of work directories beside the named directory. */
  restoreLeftovers(...beside: string[]): string[];
  /** Kills every gateway that still runs. */
  killAll(): Promise<void>;
  /** Ends the gateways and the database, with everything on disk. */
  shutDown(): Promise<void>;
  close(): Promise<void>;
}

/** Makes a site with the stores `default` and `vault` and those declared besides, and a console with this content. */
export async function openSite(content: Content, moreStores: object[] = []): Promise<Site> {
  const dataDir = fs.realpathSync(await newDataDir());
  const at = (...names: string[]): string => join(dataDir, ...names);
  // YAML reads JSON.
  fs.writeFileSync(at('deployment.yaml'), JSON.stringify({
    deployment: { name: 'local', product: 'acme-siem', appliance: '3199', version: '7.5.0' },
    stores: [
      { name: 'default', type: 'DIRECTORY', path: './backups', default: true },
      { name: 'vault', type: 'DIRECTORY', path: './vault', requiresPasscode: true },
      ...moreStores,
    ],
    hosts: [{ id: 1, hostname: 'console', address: '192.0.2.10', console: true, components: ['QFLOW', 'EVENT_COLLECTOR'], content }],
  }));
  const embedded = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) });
  const sql = postgresClient(embedded.connection, { max: 2 });
  const gateways: GatewayProcess[] = [];
  const start = async (env?: Record<string, string>): Promise<GatewayProcess> => {
    const gateway = await startGatewayProcess({ dataDir, env });
    gateways.push(gateway);
    return gateway;
  };
  const killAll = async (): Promise<void> => void await Promise.all(gateways.map((gateway) => gateway.kill()));
  const shutDown = async (): Promise<void> => {
    await killAll();
    await sql.end({ timeout: 1 });
    await embedded.stop();
  };
  return {
    dataDir, sql, at, start,
    running: async () => gateways.findLast(({ process }) => process.exitCode === null && process.signalCode === null) ?? await start(),
    async expireLeases(seconds = -1) {
      await sql`update jobs set lease_until = now() + make_interval(secs => ${seconds}) where lease_until is not null`;
    },
    async oddities(store = 'backups') {
      const rows = await sql`select directory from backups where status = 'SUCCESS'
        and store_id = (select id from stores where path = ${at(store)})`;
      const expected = rows.map((row) => String(row['directory']));
      const found = fs.readdirSync(at(store)).filter((name) => name !== STORE_MARK);
      return [...found.filter((name) => !expected.includes(name)), ...expected.filter((name) => !found.includes(name))];
    },
    restoreLeftovers: (...beside) => [
      ...(fs.existsSync(at('restores')) ? fs.readdirSync(at('restores')) : []),
      ...fs.readdirSync(at(...beside)).filter((name) => name.startsWith('.backup-gateway')),
    ],
    killAll,
    shutDown,
    async close() {
      await shutDown();
      // What the killed ones have started may write for a moment longer.
      fs.rmSync(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    },
  };
}

/** Fills a directory, which it makes, with files that do not compress. */
export function makeIncompressible(path: string, megabytes: number, files = 8): void {
  fs.mkdirSync(path, { recursive: true });
  const block = Buffer.alloc((megabytes * 1024 * 1024) / files);
  for (let nth = 0; nth < files; nth += 1) fs.writeFileSync(join(path, `block-${nth}`), randomFillSync(block));
}

/** Numbers from 0 to 1 that look random and are the same in each run. */
export function seeded(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Starts a backup. @returns the global ids of backup and job */
export async function createBackup(gateway: TestGateway, input: Record<string, unknown>): Promise<{ id: string; jobId: string }> {
  const { data, errors } = await gateway.query(`mutation ($input: CreateBackupInput!) { createBackup(input: $input) {
    ... on CreateBackupPayload { backup { id } job { id } } ... on RuleViolations { violations { rule } } } }`,
  { input: { configurationId: 1, type: 'CONFIG', ...input } });
  if (data?.createBackup.backup === undefined) throw new Error(`The backup was refused: ${JSON.stringify(data ?? errors)}`);
  return { id: data.createBackup.backup.id, jobId: data.createBackup.job.id };
}

/** Asks a gateway; an error fails the test. */
async function ask(gateway: TestGateway, source: string, variables: Record<string, unknown>): Promise<any> {
  const { data, errors } = await gateway.query(source, variables);
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data;
}

/** A backup as GraphQL shows it; null once it is gone. */
export async function showBackup(gateway: TestGateway, id: string): Promise<any> {
  const data = await ask(gateway, `query ($id: ID!) { backup(id: $id) { status name isValid validityProblems sizeOnDisk contentFilePath
    transitions { nodes { to } } job { status error transitions { nodes { to } } } } }`, { id });
  return data.backup;
}

export async function showJob(gateway: TestGateway, id: string): Promise<any> {
  const data = await ask(gateway, `query ($id: ID!) { job(id: $id) { status error messages operation progress { percent bytesDone bytesTotal filesDone filesTotal }
    transitions { nodes { to } } } }`, { id });
  return data.job;
}

/** Waits until a backup is in one of these statuses. */
export function backupIs(gateway: TestGateway, id: string, statuses: string[], patience?: number): Promise<any> {
  return until(`the backup is ${statuses.join(' or ')}`, async () => {
    const backup = await showBackup(gateway, id);
    return statuses.includes(backup?.status) && backup;
  }, patience);
}

/** Makes a backup and waits for its success. */
export async function makeBackup(gateway: TestGateway, input: Record<string, unknown>): Promise<string> {
  const { id } = await createBackup(gateway, input);
  const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
  if (backup.status !== 'SUCCESS') throw new Error(`The backup failed: ${backup.job.error}`);
  return id;
}

/** Records a restore. @returns its global id */
export async function createRestore(gateway: TestGateway, backupId: string, groups: string[]): Promise<string> {
  const { data } = await gateway.query(`mutation ($input: CreateRestoreInput!) { createRestore(input: $input) {
    ... on CreateRestorePayload { restore { id } } ... on RuleViolations { violations { rule } } } }`, { input: { backupId, groups } });
  if (data.createRestore.restore === undefined) throw new Error(`The restore was refused: ${JSON.stringify(data)}`);
  return data.createRestore.restore.id;
}

/** Requests a recorded restore. @returns the job's global id, or the violations */
export async function requestRestore(gateway: TestGateway, id: string, more: Record<string, unknown> = {}): Promise<any> {
  const { data } = await gateway.query(`mutation ($input: UpdateRestoreInput!) { updateRestore(input: $input) {
    ... on UpdateRestorePayload { restore { job { id } } } ... on RuleViolations { violations { code rule } } } }`, { input: { id, status: 'REQUESTING', ...more } });
  return data.updateRestore.restore?.job.id ?? data.updateRestore.violations;
}

export async function showRestore(gateway: TestGateway, id: string): Promise<any> {
  const data = await ask(gateway, 'query ($id: ID!) { restore(id: $id) { status job { id status error } transitions { nodes { to } } } }', { id });
  return data.restore;
}

export function restoreIs(gateway: TestGateway, id: string, statuses: string[], patience?: number): Promise<any> {
  return until(`the restore is ${statuses.join(' or ')}`, async () => {
    const restore = await showRestore(gateway, id);
    return statuses.includes(restore?.status) && restore;
  }, patience);
}

/** Deletes a backup. @returns the DELETE job's global id */
export async function deleteBackup(gateway: TestGateway, id: string): Promise<string> {
  const { data } = await gateway.query(`mutation ($id: ID!) { deleteBackup(input: { id: $id }) {
    ... on DeleteBackupPayload { job { id } } ... on RuleViolations { violations { rule } } } }`, { id });
  if (data.deleteBackup.job === undefined) throw new Error(`The deletion was refused: ${JSON.stringify(data)}`);
  return data.deleteBackup.job.id;
}

export async function cancelJob(gateway: TestGateway, id: string): Promise<any> {
  const { data } = await gateway.query(`mutation ($id: ID!) { cancelJob(input: { id: $id }) {
    ... on CancelJobPayload { job { status } } ... on RuleViolations { violations { rule } } } }`, { id });
  return data.cancelJob;
}

/** The statuses a record went through. */
export const statusesOf = (record: { transitions: { nodes: { to: string | null }[] } }): (string | null)[] => record.transitions.nodes.map(({ to }) => to);

/** Whether a gateway has a file of a partial backup open, or the one that is named. */
export function isWriting(gateway: GatewayProcess, file = ''): boolean {
  const fds = `/proc/${gateway.process.pid}/fd`;
  return fs.readdirSync(fds).some((fd) => {
    try {
      const path = fs.readlinkSync(`${fds}/${fd}`);
      return path.includes('/.partial.') && path.includes(file);
    } catch {
      return false;
    }
  });
}

/** The process ids of a process's children that run a program of this name. */
export function childrenOf(pid: number, program: string): number[] {
  return fs.readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    try {
      return fs.readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter((child) => child !== '').map(Number);
    } catch {
      return [];
    }
  }).filter((child) => {
    try {
      return fs.readFileSync(`/proc/${child}/comm`, 'utf8').trim() === program;
    } catch {
      return false;
    }
  });
}
