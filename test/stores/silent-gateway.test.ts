/**
 * A gateway one of whose stores lies on a file system that answers nothing any more: it goes on without that store.
 */
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { STORE_MARK } from '../../src/engine/index.ts';
import { storesReady } from '../support/checks.ts';
import { makeGatedSite, type GatedSite } from '../support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from '../support/gateway.ts';
import { done, finishedBackup, reached } from '../support/mutations.ts';
import { canSilence, silence } from '../support/silent-mount.ts';

/** What takes silent file systems away. */
const unsilence: (() => void)[] = [];
const endSilence = (): void => { for (const end of unsilence.splice(0)) end(); };
afterEach(endSilence);

describe.skipIf(!canSilence())('a gateway with a store that answers nothing (needs the superuser)', () => {
  let site: GatedSite;
  let gateway: GatewayProcess;
  const nas = (): string => join(site.directory, 'nas');
  const statusOf = async (name: string) =>
    (await gateway.query('{ backupStores { nodes { name status statusDetail } } }')).data.backupStores.nodes.find((store: { name: string }) => store.name === name);
  const isSilent = () => until('the store is UNREACHABLE', async () => (await statusOf('nas')).status === 'UNREACHABLE' && /did not answer/.test((await statusOf('nas')).statusDetail));

  beforeAll(async () => {
    site = await makeGatedSite();
    await site.edit((file) => {
      file.stores.push({ name: 'nas', type: 'DIRECTORY', path: './nas' });
      Object.assign(file.backupConfiguration, { data: { timeLimitMinutes: 0.15 } });
    });
    gateway = await startGatewayProcess(site.options);
    await storesReady(gateway);
  });
  afterEach(async () => { await site.release(); });
  afterAll(async () => {
    endSilence();
    await gateway?.stop();
    await site?.remove();
  });

  test('ends neither the backups to others nor the power to cancel and to limit its own, which leave nothing once it is back', async () => {
    await site.hold('--create');
    const cancelled = await done(gateway, 'createBackup', { name: 'cancelled', type: 'CONFIG', hostId: 1, configurationId: 1, storeName: 'nas', description: '' });
    const limited = await done(gateway, 'createBackup', { name: 'limited', type: 'DATA', hostId: 2, configurationId: 1, storeName: 'nas', description: '' });
    await until('both are being written', () => fs.readdirSync(nas()).filter((name) => name.startsWith('.partial')).length === 2);
    unsilence.push(silence(nas()));
    await done(gateway, 'cancelJob', { id: cancelled.job.id });
    await reached(gateway, 'job', cancelled.job.id, 'CANCELLED');
    await reached(gateway, 'job', limited.job.id, 'FAILED');
    const { data } = await gateway.query('query ($id: ID!) { job(id: $id) { error } }', { id: limited.job.id });
    expect(data.job.error).toMatch(/^The backup took longer than its limit/);
    await isSilent();
    await site.release();
    await finishedBackup(gateway, 'elsewhere');
    expect(await statusOf('default')).toMatchObject({ status: 'READY' });
    // What asks for it again ends soon, too.
    const scan = await done(gateway, 'scanStore', { storeName: 'nas' });
    await reached(gateway, 'job', scan.job.id, 'FAILED');

    endSilence();
    await storesReady(gateway);
    await until('what they left is removed', () => fs.readdirSync(nas()).every((name) => name === STORE_MARK));
    await finishedBackup(gateway, 'back', { storeName: 'nas' });
  });

  test('keeps a process neither from its start nor from its end', async () => {
    unsilence.push(silence(nas()));
    await isSilent();
    const stop = async () => {
      const ended = once(gateway.process, 'exit');
      const begin = performance.now();
      gateway.process.kill('SIGTERM');
      await ended;
      expect(performance.now() - begin).toBeLessThan(15_000);
      expect(gateway.log()).not.toContain('the stop took too long');
    };
    await stop();
    gateway = await startGatewayProcess(site.options);
    await finishedBackup(gateway, 'started-beside');
    await isSilent();
    await stop();
    endSilence();
    gateway = await startGatewayProcess(site.options);
    await storesReady(gateway);
  });
});
