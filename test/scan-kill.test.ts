/**
 * Scans of gateways that start at once, and of gateways that are killed.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { catalogue, CATALOGUED } from './support/checks.ts';
import { until, type GatewayProcess } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { makeBackup, makeIncompressible, openSite, pause, seeded, type Site } from './support/site.ts';

const CONTENT = { USERS_CONFIG: [{ directory: './users' }] };
const NAMES = ['one', 'two', 'three', 'four', 'five', 'six'];
/** How often a scan is killed; more of them find more. */
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 2);
let gate: GatedSite;
let source: Site;
const sites: Site[] = [];
beforeAll(async () => {
  gate = await makeGatedSite();
  source = await openSite(CONTENT);
  makeIncompressible(source.at('users'), 4);
  const gateway = await source.start();
  for (const name of NAMES) await makeBackup(gateway, { name });
  await source.shutDown();
});
afterEach(async () => {
  await gate.release();
  for (const site of sites.splice(0)) await site.close();
});
afterAll(async () => {
  fs.rmSync(source.dataDir, { recursive: true, force: true });
  await gate?.remove();
});

/** A site that has never run, with all backups in its store. */
async function newSite(): Promise<Site> {
  const site = await openSite(CONTENT);
  sites.push(site);
  fs.mkdirSync(site.at('users'));
  fs.cpSync(source.at('backups'), site.at('backups'), { recursive: true });
  return site;
}

const isScanned = (gateway: GatewayProcess): Promise<unknown> => until('the store is scanned', async () =>
  (await gateway.query('{ backupStores { nodes { isScanned } } }')).data.backupStores.nodes.every((store: { isScanned: boolean }) => store.isScanned));
async function expectAll(gateway: GatewayProcess): Promise<void> {
  const { data } = await gateway.query(`{ backups { nodes { ${CATALOGUED} } } }`);
  expect(data.backups.nodes.map(({ name }: { name: string }) => name).toSorted()).toEqual(NAMES.toSorted());
  for (const backup of data.backups.nodes) expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true });
}

test('of gateways that start at once one asks for the scan, and every backup is found once', async () => {
  const site = await newSite();
  const gateways = await Promise.all([1, 2, 3].map(() => site.start()));
  for (const gateway of gateways) await isScanned(gateway);
  await expectAll(gateways[0]!);
  expect(await site.sql`select status, result from jobs where operation = 'SCAN'`).toEqual([{ status: 'COMPLETED', result: { found: 6, known: 0, damaged: 0, foreign: 0, ignored: 0 } }]);
  expect(await site.sql`select from transitions where kind = 'BACKUP'`).toHaveLength(6);
});

test('a scan that is killed at any moment goes on where it was, and enters nothing twice', async () => {
  const random = seeded(7);
  const site = await newSite();
  for (let round = 0; round < ROUNDS; round += 1) {
    // Reading back waits, so that the scan is at work when it is killed; then it goes on for a moment.
    await gate.hold('--list');
    const gateway = await site.start({ PATH: gate.options.env['PATH']! });
    await until('the scan runs', async () => (await site.sql`select from jobs where operation = 'SCAN' and status = 'EXECUTING'`).length === 1);
    await gate.release();
    await pause(random() * 150);
    await gateway.kill();
    await site.expireLeases();
    // A job whose worker dies again and again is given up; here that is no fault of the job.
    await site.sql`update jobs set attempt = 0`;
    if ((await site.sql`select from jobs where status = 'COMPLETED'`).length > 0) break;
  }
  const last = await site.start();
  await isScanned(last);
  await expectAll(last);
  expect(await site.sql`select result from jobs where operation = 'SCAN'`).toEqual([{ result: { found: 6, known: 0, damaged: 0, foreign: 0, ignored: 0 } }]);
  expect(await site.sql`select from transitions where kind = 'BACKUP'`).toHaveLength(6);
  expect(Object.keys(await catalogue(last))).toHaveLength(6);
});

test('a store that goes away in the middle fails its scan with the reason; what was found stays, and once it is back the rest is found', async () => {
  const site = await newSite();
  await gate.hold('--list');
  const gateway = await site.start({ PATH: gate.options.env['PATH']! });
  await until('the scan runs', async () => (await site.sql`select from jobs where operation = 'SCAN' and status = 'EXECUTING'`).length === 1);
  const gone = join(site.dataDir, 'gone');
  fs.renameSync(site.at('backups'), gone);
  await gate.release();
  await until('the scan has failed', async () => (await site.sql`select from jobs where operation = 'SCAN' and status = 'FAILED'`).length === 1);
  const [job] = await site.sql`select error from jobs where operation = 'SCAN'`;
  expect(job!['error']).toContain(site.at('backups'));
  await until('the store is UNREACHABLE', async () => (await site.sql`select from stores where path = ${site.at('backups')} and status = 'UNREACHABLE' and not is_scanned`).length === 1);
  fs.renameSync(gone, site.at('backups'));
  await isScanned(gateway);
  await expectAll(gateway);
});
