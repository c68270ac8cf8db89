/**
 * Priorities and time limits of backups, on real processes.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { getPriority } from 'node:os';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { STORE_MARK } from '../../src/engine/index.ts';
import { openGatewayDatabase } from '../support/database.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from '../support/gateway.ts';
import { done, reached } from '../support/mutations.ts';
import { childrenOf } from '../support/site.ts';

let site: GatedSite;
let gateway: GatewayProcess;
beforeAll(async () => { site = await makeGatedSite(); });
beforeEach(async () => { await site.hold('--create'); });
afterEach(async () => {
  await site.release();
  await gateway?.stop();
});
afterAll(() => site?.remove());

const start = async () => { gateway = await startGatewayProcess({ ...site.options, env: { ...site.options.env, DEPLOY_ON_START: 'true' } }); };
const createBackup = async (name: string, more: object = {}) => (await done(gateway, 'createBackup', { name, configurationId: 1, type: 'CONFIG', ...more })) as { backup: { id: string }; job: { id: string } };

/** On a busy machine what runs at the lowest priority takes its time. */
const succeeds = (id: string) => until('the backup has succeeded', async () =>
  (await gateway.query('query ($id: ID!) { backup(id: $id) { status } }', { id })).data.backup.status === 'SUCCESS', 60_000);

/** The process that reads the sources, and waits at the gate. */
const reader = (): Promise<number> => until('tar has been started', () => childrenOf(gateway.process.pid ?? 0, 'tar')[0]);

test.each([['LOW', 19], ['MEDIUM', 10], ['HIGH', 0]] as const)('a backup of priority %s reads its sources at niceness %s', async (priority, niceness) => {
  await site.edit((file) => { file.backupConfiguration.config = { priority }; });
  await start();
  const { backup } = await createBackup(`priority-${priority}`);
  const pid = await reader();
  const expected = Math.max(getPriority(), niceness);
  await until(`its niceness is ${expected}`, () => getPriority(pid) === expected, 2_000);
  if (priority === 'LOW') await until('its I/O class is idle', () => execFileSync('ionice', ['-p', String(pid)], { encoding: 'utf8' }).startsWith('idle'), 2_000);
  // Requests are answered by this process, whatever its children do.
  expect(getPriority(gateway.process.pid ?? 0)).toBe(getPriority());
  await site.release();
  await succeeds(backup.id);
});

test('a priority holds for backups of its own type alone', async () => {
  await site.edit((file) => { file.backupConfiguration.config = { priority: 'LOW' }; });
  await start();
  const { backup } = await createBackup('data', { type: 'DATA', hostId: '2' });
  expect(getPriority(await reader())).toBe(getPriority());
  await site.release();
  await succeeds(backup.id);
});

test('a backup that takes longer than its limit ends FAILED with the reason, and leaves nothing', async () => {
  await site.edit((file) => { Object.assign(file.backupConfiguration, { config: { timeLimitMinutes: 0.02 } }); });
  await start();
  const { backup, job } = await createBackup('slow');
  const pid = await reader();
  await reached(gateway, 'job', job.id, 'FAILED');
  await reached(gateway, 'backup', backup.id, 'FAILED');
  const { data } = await gateway.query('query ($id: ID!) { job(id: $id) { error } }', { id: job.id });
  expect(data.job.error).toMatch(/^The backup took longer than its limit of 0\.02 minutes, so it was given up and removed\. Raise backupConfiguration\.config\.timeLimitMinutes/);
  expect(fs.existsSync(`/proc/${pid}`)).toBe(false);
  const left = await gateway.query('{ backups(filter: { status: SUCCESS }) { nodes { contentFilePath } } }');
  expect(fs.readdirSync(`${site.directory}/backups`).filter((name) => name !== STORE_MARK)).toHaveLength(left.data.backups.nodes.length);
});

test('a limit counts from the beginning of the job, earlier attempts included', async () => {
  await site.edit((file) => { Object.assign(file.backupConfiguration, { config: { timeLimitMinutes: 60 } }); });
  await start();
  const { backup, job } = await createBackup('again');
  await reader();
  await gateway.stop();
  // As though the first attempt had been long ago.
  const database = await openGatewayDatabase(site.options.dataDir);
  await database.sql`update jobs set time_started = now() - interval '2 hours' where status = 'EXECUTING'`;
  await start();
  await database.close();
  await reached(gateway, 'job', job.id, 'FAILED');
  await reached(gateway, 'backup', backup.id, 'FAILED');
});

test('a backup within its limit is made, and the limits are shown', async () => {
  await site.edit((file) => { Object.assign(file.backupConfiguration, { config: { priority: 'LOW', timeLimitMinutes: 20_000 }, data: { timeLimitMinutes: 90.5 } }); });
  await site.release();
  await start();
  const { backup } = await createBackup('quick');
  await succeeds(backup.id);
  const { data } = await gateway.query('{ backupConfigurations { nodes { configLimits { priority timeLimitMinutes } dataLimits { priority timeLimitMinutes } } } }');
  expect(data.backupConfigurations.nodes).toEqual([{ configLimits: { priority: 'LOW', timeLimitMinutes: 20_000 }, dataLimits: { priority: null, timeLimitMinutes: 90.5 } }]);
});
