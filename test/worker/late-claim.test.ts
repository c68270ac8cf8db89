/**
 * A worker whose claim of a job is answered late, as by a network that comes back.
 */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LEASE_SECONDS } from '../../src/records/jobs.ts';
import { openGatewayDatabase, routeTo, type DatabaseRoute, type TestDatabase } from '../support/database.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';
import { until, type TestGateway } from '../support/gateway.ts';
import { startGatewayPart, startPart, type Part } from '../support/processes.ts';
import { backupIs, createBackup, pause, showJob } from '../support/site.ts';

let site: GatedSite;
let database: TestDatabase;
let route: DatabaseRoute;
let gateway: Part & TestGateway;
let worker: Part;

beforeAll(async () => {
  site = await makeGatedSite();
  database = await openGatewayDatabase(site.options.dataDir);
  route = await routeTo(database);
  const env = { ...site.options.env, DATABASE_URL: route.url, SECRET_KEY: 'k'.repeat(40) };
  gateway = await startGatewayPart({ dataDir: site.options.dataDir, env: { ...env, ADMIN_TOKEN: 'token-of-the-claim-tests' } });
  worker = await startPart({ args: ['worker', '--all-hosts'], dataDir: await mkdtemp(join(site.directory, 'part-')), env });
});
afterAll(async () => {
  await Promise.all([worker?.end('SIGKILL'), gateway?.end('SIGKILL')]);
  await route?.close();
  await database?.close();
  await site?.remove();
});

test('a claim that is answered after its lease would have ended begins with a fresh one, and costs no further attempt', async () => {
  worker.process.kill('SIGSTOP');
  const { id, jobId } = await createBackup(gateway, { name: 'late', type: 'DATA', hostId: 2 });
  await database.session().begin(async (lock) => {
    await lock`lock table jobs in share mode`;
    worker.process.kill('SIGCONT');
    await until('its claim waits', async () => (await lock`select from pg_locks where relation = 'jobs'::regclass and not granted`).length > 0);
    // The wait is what this is about: longer than a lease, and a little for the clock that ends it.
    await pause((LEASE_SECONDS + 1) * 1_000);
  });
  expect(await backupIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  expect(await showJob(gateway, jobId)).toMatchObject({ status: 'COMPLETED', messages: [] });
  expect(await database.sql`select epoch, attempt from jobs where operation = 'BACKUP'`).toMatchObject([{ attempt: 1 }]);
  expect(worker.printed()).not.toContain('want of its lease');
});
