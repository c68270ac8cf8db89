/**
 * Checks in a split installation: the gateway has no worker, and another machine's worker alone sees store and targets.
 */
import * as fs from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drill, scan, storesReady, verify } from './support/checks.ts';
import { openGatewayDatabase, routeTo, type DatabaseRoute, type TestDatabase } from './support/database.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import type { TestGateway } from './support/gateway.ts';
import { done } from './support/mutations.ts';
import { startGatewayPart, startPart, type Part } from './support/processes.ts';
import { makeBackup } from './support/site.ts';

let site: GatedSite;
let database: TestDatabase;
let route: DatabaseRoute;
let gateway: Part & TestGateway;
let worker: Part;
beforeAll(async () => {
  site = await makeGatedSite();
  database = await openGatewayDatabase(site.options.dataDir);
  route = await routeTo(database);
  const shared = { DATABASE_URL: route.url, SECRET_KEY: 'k'.repeat(40) };
  gateway = await startGatewayPart({ dataDir: site.options.dataDir, env: { ...shared, ADMIN_TOKEN: 'token-of-the-split-tests', DEPLOYMENT_FILE: site.options.env['DEPLOYMENT_FILE']! } });
  worker = await startPart({ args: ['worker', '--host', 'console'], dataDir: await mkdtemp(join(site.directory, 'part-')), env: shared });
});
afterAll(async () => {
  await Promise.all([gateway, worker].map((part) => part?.end('SIGKILL')));
  await route?.close();
  await database?.close();
  await site?.remove();
});

test("a plan, a drill, a verification and a scan are the console's worker's to do, passcode and all", async () => {
  await storesReady(gateway);
  const passcode = 'correct horse';
  const id = await makeBackup(gateway, { name: 'sealed', storeName: 'vault', passcode });
  fs.writeFileSync(join(site.directory, 'site', 'users', 'file'), 'changed');
  const { groups } = await done(gateway, 'restorePlan', { backupId: id, groups: ['USERS_CONFIG'], passcode });
  expect(groups).toMatchObject([{ changed: { count: 1, paths: [join(site.directory, 'site', 'users', 'file')] }, added: { count: 0 }, removed: { count: 0 } }]);
  expect(await drill(gateway, { backupId: id, passcode })).toMatchObject({ status: 'COMPLETED' });
  expect(await verify(gateway, id)).toMatchObject({ status: 'COMPLETED' });
  expect(await scan(gateway, 'vault')).toMatchObject({ status: 'COMPLETED', scan: { known: 1 } });
  for (const part of [gateway, worker]) expect(part.printed()).not.toContain(passcode);
});
