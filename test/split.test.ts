/**
 * The parts of the program as processes of their own: a gateway, and a worker for each host.
 */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { readCommand } from '../src/config.ts';
import { openGatewayDatabase, routeTo, type DatabaseRoute, type TestDatabase } from './support/database.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { until, type TestGateway } from './support/gateway.ts';
import { runPart, spawnPart, startGatewayPart, startPart, type Part } from './support/processes.ts';
import { backupIs, createBackup, createRestore, deleteBackup, makeBackup, requestRestore, restoreIs, showBackup, showJob } from './support/site.ts';

const TOKEN = 'token-of-the-split-tests';
const KEY = 'k'.repeat(40);

let site: GatedSite;
let database: TestDatabase;
let route: DatabaseRoute;
let gateway: Part & TestGateway;
let shared: Record<string, string>;
const parts: Part[] = [];
const note = <P extends Part>(part: P): P => {
  parts.push(part);
  return part;
};
/** A DATA_DIR of its own for each worker, as on another machine. */
const dataDir = async (): Promise<string> => mkdtemp(join(site.directory, 'part-'));
const worker = async (...hosts: string[]) => note(await startPart({ args: ['worker', ...hosts.flatMap((host) => ['--host', host])], dataDir: await dataDir(), env: shared }));

beforeAll(async () => {
  site = await makeGatedSite();
  database = await openGatewayDatabase(site.options.dataDir);
  route = await routeTo(database);
  shared = { DATABASE_URL: route.url, SECRET_KEY: KEY, PATH: site.options.env['PATH'] ?? '' };
});
afterAll(async () => {
  await site?.release();
  await Promise.all(parts.map((part) => part.end('SIGKILL')));
  await route?.close();
  await database?.close();
  await site?.remove();
});

afterEach(({ task }) => {
  if (task.result?.state === 'fail') console.error(parts.map((part) => part.printed()).join('\n----\n'));
});

const ask = async (source: string): Promise<any> => {
  const { data, errors } = await gateway.query(source);
  expect(errors).toBeUndefined();
  return data;
};
const workerOf = async (number: number): Promise<any> => (await ask('{ hosts { nodes { databaseId worker { machine isOnline timeSeen timeStarted } } } }'))
  .hosts.nodes.find(({ databaseId }: { databaseId: number }) => databaseId === number).worker;
const waitingFor = async (id: string): Promise<string | null> => (await ask(`{ job(id: "${id}") { waitingFor } }`)).job.waitingFor;

test('a worker that starts before the first deployment says so and waits, and can be stopped meanwhile', async () => {
  const early = note(spawnPart({ args: ['worker', '--host', 'ep1'], dataDir: await dataDir(), env: shared }));
  await until('it says that it waits', () => early.printed().includes('nothing has been deployed yet'));
  expect(await early.end()).toBe(0);
});

test('a gateway alone serves without tar, and a job says which worker it waits for', async () => {
  // Of all programs node alone, so that nothing of the engine can run.
  const bin = await mkdtemp(join(tmpdir(), 'backup-gateway-bin-'));
  await symlink(process.execPath, join(bin, 'node'));
  gateway = note(await startGatewayPart({ dataDir: site.options.dataDir, env: { ...shared, ADMIN_TOKEN: TOKEN, DEPLOYMENT_FILE: site.options.env['DEPLOYMENT_FILE'] ?? '', PATH: bin } }));
  await rm(bin, { recursive: true });
  expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  expect(await workerOf(1)).toBeNull();
  expect(gateway.printed()).not.toContain('tar');
  // No worker has looked at the store yet: what is asked for now could not be done.
  expect((await ask('{ backupStores { nodes { status } } }')).backupStores.nodes).toEqual([{ status: 'UNREACHABLE' }, { status: 'UNREACHABLE' }]);
});

test('each worker does the jobs of its own hosts alone, and shows itself at them', async () => {
  const console = await worker('console');
  await until('the console\'s worker has looked at the stores', async () => (await ask('{ backupStores { nodes { status } } }')).backupStores.nodes.every(({ status }: { status: string }) => status === 'READY'));
  await makeBackup(gateway, { name: 'of-console' });
  const { id, jobId } = await createBackup(gateway, { name: 'of-ep1', type: 'DATA', hostId: 2 });
  expect(await waitingFor(jobId)).toBe('The worker of host ep1: none has shown itself for 15 seconds. Start it with: npm run worker -- --host ep1');
  expect(await workerOf(2)).toBeNull();
  expect(await workerOf(1)).toMatchObject({ machine: hostname(), isOnline: true });
  expect(await showJob(gateway, jobId)).toMatchObject({ transitions: { nodes: [{ to: 'SUBMITTED' }] } });

  // By its id, and for a second host by its name in another case.
  const data = await worker('2', 'DN5');
  expect(await backupIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  expect(await waitingFor(jobId)).toBeNull();
  expect(await workerOf(5)).toMatchObject({ isOnline: true });
  await makeBackup(gateway, { name: 'of-dn5', type: 'DATA', hostId: 5 });
  expect(console.printed()).not.toContain('of-dn5');

  // One that stops in order is gone at once; one that is killed is told by its silence.
  expect(await data.end()).toBe(0);
  expect(await workerOf(2)).toBeNull();
  await console.end('SIGKILL');
  expect(await workerOf(1)).toMatchObject({ isOnline: true });
  await database.sql`update workers set time_seen = time_seen - interval '20 seconds'`;
  expect(await workerOf(1)).toMatchObject({ isOnline: false });
});

test('a deletion, which is of no host, waits for the console\'s worker, also where the host\'s own is there', async () => {
  await worker('ep1');
  const { id } = (await ask('{ backupByName(name: "of-ep1") { id } }')).backupByName;
  const jobId = await deleteBackup(gateway, id);
  expect(await waitingFor(jobId)).toContain('The worker of host console');
  expect(await showBackup(gateway, id)).toMatchObject({ status: 'DELETING' });
  await worker('console');
  await until('it is gone', async () => await showBackup(gateway, id) === null);
});

test('the key of an encrypted backup reaches the worker that restores it', async () => {
  const passcode = 'carried between two processes';
  const id = await makeBackup(gateway, { name: 'encrypted', storeName: 'vault', passcode });
  const restoreId = await createRestore(gateway, id, ['USERS_CONFIG']);
  await requestRestore(gateway, restoreId, { passcode });
  expect(await restoreIs(gateway, restoreId, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
});

test('the gateway\'s log tells of a job for which no worker is there', async () => {
  const { jobId } = await createBackup(gateway, { name: 'waits', type: 'DATA', hostId: 6 });
  await database.sql`update jobs set time_updated = now() - interval '1 minute' where status = 'SUBMITTED'`;
  await until('the log tells', () => gateway.printed().split('\n').find((line) => line.includes('a job waits') && line.includes('--host dn6')));
  const dn6 = await worker('dn6');
  await until('it has ended', async () => (await showJob(gateway, jobId)).transitions.nodes.at(-1).to === 'COMPLETED');
  await dn6.end();
});

test('a deletion does not wait behind four backups, nor a backup behind deletions', async () => {
  const doomed: string[] = [];
  for (const name of ['doomed-a', 'doomed-b']) doomed.push(await makeBackup(gateway, { name, type: 'DATA', hostId: 2 }));
  await worker('dn5', 'dn6', 'dn7', 'dn8', 'console');
  await site.hold('--create');
  const held = await Promise.all([5, 6, 7, 8].map((hostId) => createBackup(gateway, { name: `held-${hostId}`, type: 'DATA', hostId })));
  for (const { id } of held) await backupIs(gateway, id, ['IN_PROGRESS']);
  for (const id of doomed) {
    await deleteBackup(gateway, id);
    await until('it is gone', async () => await showBackup(gateway, id) === null);
  }
  await site.release();
  for (const { id } of held) expect(await backupIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
});

test('what is left of a host that has left the deployment is the console\'s worker\'s', async () => {
  const [last] = parts.slice(-1);
  await database.sql`update hosts set status = 'DELETED' where number = 5`;
  await until('its former worker says so', () => last?.printed().includes('no longer in the deployment'));
  const { id } = (await ask('{ backupByName(name: "of-dn5") { id } }')).backupByName;
  const { data } = await gateway.query('mutation ($id: ID!) { verifyBackup(input: { id: $id }) { ... on VerifyBackupPayload { job { id } } } }', { id });
  await until('it is verified', async () => (await showJob(gateway, data.verifyBackup.job.id)).transitions.nodes.at(-1).to === 'COMPLETED');
  await database.sql`update hosts set status = 'ACTIVE' where number = 5`;
});

test('a part refuses to start without what the others share, with all that is missing', async () => {
  await Promise.all([['gateway'], ['worker', '--host', 'ep1']].map(async (args) => {
    const { code, printed } = await runPart({ args, dataDir: await dataDir(), env: {} });
    expect(code).toBe(1);
    expect(printed).toMatch(/DATABASE_URL is not set[^]*SECRET_KEY is not set[^]*the same DATABASE_URL and SECRET_KEY/);
  }));
});

test('a part with another SECRET_KEY than those that run is refused at once, also after these had lost the database', async () => {
  route.cut();
  await until('the gateway has noticed', async () => (await fetch(`${gateway.url}/readyz`)).status === 503);
  await route.mend();
  await until('the gateway is back', async () => (await fetch(`${gateway.url}/readyz`)).status === 200);
  await Promise.all([['gateway'], ['worker', '--all-hosts'], []].map(async (args) => {
    const { code, printed } = await runPart({ args, dataDir: await dataDir(), env: { ...shared, SECRET_KEY: 'l'.repeat(40) } });
    expect(code).toBe(1);
    expect(printed).toContain('runs with another SECRET_KEY');
    expect(printed).not.toMatch(/k{40}|l{40}/);
  }));
  expect(gateway.printed()).not.toMatch(/k{40}/);
});

test('a worker for a host that is not there is told which there are', async () => {
  const { code, printed } = await runPart({ args: ['worker', '--host', 'ep1', '--host=ep9'], dataDir: await dataDir(), env: shared });
  expect(code).toBe(1);
  expect(printed).toMatch(/There is no host ep9 in the deployment\. Its hosts are console \(1\), ep1 \(2\), /);
});

test.each([
  [['serve'], 'unknown: serve'], [['gateway', '--port', '1'], 'unknown: --port'], [['worker'], 'give --host NAME, or --all-hosts'],
  [['worker', '--host'], '--host needs the name'], [['worker', '--host', 'a', '--all-hosts'], 'give --host NAME, or --all-hosts'],
])('the command line %j is refused, and the help is pointed to', (args, told) => {
  expect(() => readCommand(args)).toThrow(expect.objectContaining({ message: expect.stringContaining(told), hint: expect.stringContaining('--help') }));
});

test('--help tells of every part, and needs nothing', async () => {
  const directory = await dataDir();
  const { code, printed } = await runPart({ args: ['--help'], dataDir: directory, env: { PORT: 'none' } });
  expect(code).toBe(0);
  expect((await runPart({ args: ['--hepl'], dataDir: directory, env: {} })).printed).toMatch(/unknown: --hepl See backup-gateway --help\.\n$/);
  for (const word of ['gateway', 'worker --host', '--all-hosts', '--check', 'SECRET_KEY']) expect(printed).toContain(word);
  expect(execFileSync('ls', [directory], { encoding: 'utf8' })).toBe('');
});

test('a database that cannot be reached is told in words, without its password', async () => {
  const directory = await dataDir();
  await mkdir(join(directory, 'none'));
  const { code, printed } = await runPart({ args: ['gateway'], dataDir: directory, env: { ...shared, DATABASE_URL: 'postgres://user:hush-hush@127.0.0.1:1/none' } });
  expect(code).toBe(1);
  expect(printed).toMatch(/The database cannot be used: .*ECONNREFUSED.* Check DATABASE_URL/);
  expect(printed).not.toMatch(/hush-hush|at .*\.js:\d/);
});
