/**
 * Two workers of the console that do not share DATA_DIR, where the journals of restores lie.
 */
import * as fs from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { openGatewayDatabase, routeTo, type DatabaseRoute, type TestDatabase } from './support/database.ts';
import { storesReady } from './support/checks.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { until, type TestGateway } from './support/gateway.ts';
import { startGatewayPart, startPart, type Part } from './support/processes.ts';
import { cancelJob, createRestore, makeBackup, requestRestore, restoreIs } from './support/site.ts';
import { describeTree } from './support/tree.ts';

/** So many targets that the swap, a rename after the other, lasts long enough to be hit. */
const TARGETS = 24;
const names = Array.from({ length: TARGETS }, (_, nth) => `users-${nth}`);

let site: GatedSite;
let database: TestDatabase;
let route: DatabaseRoute;
let gateway: Part & TestGateway;
let shared: Record<string, string>;
let backupId: string;
let fresh: ReturnType<typeof now>;
const parts: Part[] = [];
let own: string;
let others: string;

const target = (name: string): string => join(site.directory, 'site', name);
/** A target that is not there is between its old content and its new. */
const now = (): (Record<string, string> | null)[] => names.map((name) => (fs.existsSync(target(name)) ? describeTree(target(name)) : null));
const leftovers = (): string[] => fs.readdirSync(join(site.directory, 'site')).filter((name) => name.startsWith('.backup-gateway'));
const worker = async (dataDir: string): Promise<Part> => {
  const part = await startPart({ args: ['worker', '--host', 'console'], dataDir, env: shared });
  parts.push(part);
  return part;
};

beforeAll(async () => {
  site = await makeGatedSite();
  await site.edit((file) => {
    file.hosts[0]!.content = { USERS_CONFIG: names.map((name) => ({ directory: `./site/${name}` })) };
  });
  for (const name of names) {
    fs.mkdirSync(target(name));
    fs.writeFileSync(join(target(name), 'file'), `${name} as it was backed up`);
  }
  database = await openGatewayDatabase(site.options.dataDir);
  route = await routeTo(database);
  shared = { DATABASE_URL: route.url, SECRET_KEY: 'k'.repeat(40) };
  gateway = await startGatewayPart({ dataDir: site.options.dataDir, env: { ...shared, ADMIN_TOKEN: 'token-of-the-split-tests', DEPLOYMENT_FILE: site.options.env['DEPLOYMENT_FILE']! } });
  own = await mkdtemp(join(site.directory, 'own-'));
  others = await mkdtemp(join(site.directory, 'others-'));
  const first = await worker(own);
  await storesReady(gateway);
  backupId = await makeBackup(gateway, { name: 'source' });
  fresh = now();
  await first.end();
});
afterEach(async ({ task }) => {
  if (task.result?.state === 'fail') console.error(parts.map((part) => part.printed()).join('\n----\n'));
  await Promise.all(parts.splice(0).map((part) => part.end('SIGKILL')));
});
afterAll(async () => {
  await gateway?.end('SIGKILL');
  await route?.close();
  await database?.close();
  await site?.remove();
});

let restoreId: string;
let half: ReturnType<typeof now>;

/** Whether the journal says that targets are being replaced. */
function isSwapping(): boolean {
  const directory = join(own, 'restores');
  const journals = fs.existsSync(directory) ? fs.readdirSync(directory).filter((name) => name.endsWith('.json')) : [];
  return journals.some((name) => fs.readFileSync(join(directory, name), 'utf8').includes('"SWAPPING"'));
}

/** A restore whose worker is killed in the middle of its swap. */
beforeEach(async () => {
  for (const name of names) fs.writeFileSync(join(target(name), 'file'), 'altered since');
  const first = await worker(own);
  restoreId = await createRestore(gateway, backupId, ['USERS_CONFIG']);
  await requestRestore(gateway, restoreId);
  const end = performance.now() + 20_000;
  while (!isSwapping()) {
    if (performance.now() > end) throw new Error(`No target was replaced: ${first.printed()}`);
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  await first.end('SIGKILL');
  half = now();
  expect(half).not.toEqual(fresh);
  expect(isSwapping()).toBe(true);
  await database.sql`update jobs set lease_until = now() - interval '10 seconds' where lease_until is not null`;
});

const waitingFor = async (): Promise<{ id: string; waitingFor: string | null }> =>
  (await gateway.query('query ($id: ID!) { restore(id: $id) { job { id waitingFor } } }', { id: restoreId })).data.restore.job;

test('a restore that died in its swap waits for a worker with its journal, says so, and is finished by that one', async () => {
  const second = await worker(others);
  const told = await until('it says what it waits for', async () => (await waitingFor()).waitingFor);
  expect(told).toContain(`The worker with DATA_DIR ${own} on ${hostname()}`);
  // The other one works, and has left it alone.
  expect(second.printed()).not.toContain('RESTORE');
  expect(now()).toEqual(half);
  expect(await cancelJob(gateway, (await waitingFor()).id)).toMatchObject({ violations: [{ rule: 'JOB_NOT_CANCELLABLE' }] });

  await worker(own);
  expect(await restoreIs(gateway, restoreId, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS', job: { error: null } });
  expect(now()).toEqual(fresh);
  expect(leftovers()).toEqual([]);
  expect((await waitingFor()).waitingFor).toBeNull();
});

/** As if it had waited for an hour. */
async function giveUpWaiting(): Promise<void> {
  await database.sql`update jobs set lease_until = now() - interval '61 minutes' where lease_until is not null`;
  const { job } = await restoreIs(gateway, restoreId, ['SUCCESS', 'FAILED']);
  expect(job).toMatchObject({ status: 'FAILED', error: expect.stringMatching(/half old and half new/) });
  expect(job.error).toContain(`${own} on ${hostname()}`);
  expect(job.error).toContain(`not in this worker's ${others}`);
  expect(now()).toEqual(half);
}

test('after an hour it has failed and says why, nothing is lost by that, and a worker with its journal finishes it', async () => {
  const second = await worker(others);
  const beside = leftovers();
  await giveUpWaiting();
  await second.end();
  // A start removes what ended restores have left, but not what a journal elsewhere speaks of.
  await (await worker(others)).end();
  expect(leftovers()).toEqual(beside);
  expect(now()).toEqual(half);
  await worker(own);
  expect(now()).toEqual(fresh);
  expect(leftovers()).toEqual([]);
});

test('one that has failed is not finished over what a later restore has put in place', async () => {
  await worker(others);
  await giveUpWaiting();
  const later = await createRestore(gateway, backupId, ['USERS_CONFIG']);
  await requestRestore(gateway, later);
  expect(await restoreIs(gateway, later, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  for (const name of names) fs.writeFileSync(join(target(name), 'file'), 'of today');
  const today = now();
  const first = await worker(own);
  expect(now()).toEqual(today);
  expect(first.printed()).toContain('a later restore has replaced');
  for (const name of leftovers()) fs.rmSync(join(site.directory, 'site', name), { recursive: true });
  fs.rmSync(join(own, 'restores'), { recursive: true });
});
