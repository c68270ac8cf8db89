/**
 * DATA backups one after the other, through the gateway: what the later ones add, and what they need of the earlier.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { verifyBackup } from '../src/engine/index.ts';
import { filesAt } from './support/engine.ts';
import { newDataDir, startGatewayProcess, until, type GatewayProcess } from './support/gateway.ts';
import { unpackByHand } from './support/layers.ts';
import { describeTree } from './support/tree.ts';

const PASSCODE = 'correct horse battery staple';

let gateway: GatewayProcess;
let dataDir: string;
let source: string;

beforeAll(async () => {
  dataDir = fs.realpathSync(await newDataDir());
  source = join(dataDir, 'ariel');
  fs.mkdirSync(join(source, 'sub'), { recursive: true });
  // More than is made again each time.
  fs.writeFileSync(join(source, 'sub', 'weight'), Buffer.alloc(70 * 1024 * 1024, 'an event of many '));
  // YAML reads JSON.
  fs.writeFileSync(join(dataDir, 'deployment.yaml'), JSON.stringify({
    deployment: { name: 'local', product: 'acme-siem', appliance: '3199', version: '7.5.0' },
    stores: [{ name: 'default', type: 'DIRECTORY', path: './backups', default: true }],
    hosts: [{ id: 1, hostname: 'console', console: true, components: ['EVENT_PROCESSOR'], data: [{ directory: './ariel' }] }],
    backupConfiguration: { retentionDays: 7, dataBackupHosts: [1] },
  }));
  gateway = await startGatewayProcess({ dataDir });
}, 60_000);

afterAll(async () => {
  await gateway?.stop();
  if (dataDir !== undefined) fs.rmSync(dataDir, { recursive: true, force: true });
});

interface Made { id: string; status: string; sizeOnDisk: number; sizeAdded: number; contentFilePath: string; job: { error: string | null } }

async function backUp(name: string, passcode: string | null = null): Promise<Made> {
  const { data } = await gateway.query(`mutation ($input: CreateBackupInput!) { createBackup(input: $input) { ... on CreateBackupPayload { backup { id } } } }`,
    { input: { name, type: 'DATA', configurationId: '1', passcode } });
  const { id } = data.createBackup.backup;
  return until(`the end of ${name}`, async () => {
    const { data: { backup } } = await gateway.query('query ($id: ID!) { backup(id: $id) { id status sizeOnDisk sizeAdded contentFilePath job { error } } }', { id });
    return ['SUCCESS', 'FAILED'].includes(backup.status) ? backup : undefined;
  });
}

async function remove({ id }: Made): Promise<void> {
  await gateway.query('mutation ($id: ID!) { deleteBackup(input: { id: $id }) { __typename } }', { id });
  await until(`the end of the deletion of ${id}`, async () => (await gateway.query('query ($id: ID!) { backup(id: $id) { id } }', { id })).data.backup === null ? true : undefined);
}

test('the second adds what has changed, and is whole without the first', async () => {
  const first = await backUp('first');
  expect(first).toMatchObject({ status: 'SUCCESS', sizeAdded: first.sizeOnDisk });
  fs.writeFileSync(join(source, 'added'), 'added');
  const second = await backUp('second');
  expect(second.status).toBe('SUCCESS');
  expect(fs.readdirSync(second.contentFilePath)).toContain('DATA.update.01.tar.zst');
  expect(second.sizeAdded).toBeLessThan(10_000);
  expect(second.sizeOnDisk).toBe(fs.readdirSync(second.contentFilePath).reduce((sum, name) => sum + fs.statSync(join(second.contentFilePath, name)).size, 0));
  await remove(first);
  expect((await verifyBackup(filesAt(second.contentFilePath), { signal: new AbortController().signal })).details).toEqual([]);
  unpackByHand(second.contentFilePath, join(dataDir, 'unpacked'));
  expect(describeTree(join(dataDir, 'unpacked'))).toEqual(describeTree(source));
}, 60_000);

test('one that was cancelled or is gone is no base', async () => {
  fs.writeFileSync(join(source, 'added'), 'third');
  const third = await backUp('third');
  await remove(third);
  fs.writeFileSync(join(source, 'added'), 'fourth');
  // The second is the newest that there is, and its index is kept still.
  const fourth = await backUp('fourth');
  expect(fs.readdirSync(fourth.contentFilePath)).toContain('DATA.update.02.tar.zst');
}, 60_000);

test('encrypted ones share as long as the passcode is the same', async () => {
  const first = await backUp('sealed-1', PASSCODE);
  expect(first.sizeAdded).toBe(first.sizeOnDisk);
  fs.writeFileSync(join(source, 'added'), 'sealed');
  const second = await backUp('sealed-2', PASSCODE);
  expect(second.sizeAdded).toBeLessThan(10_000);
  expect(fs.readdirSync(second.contentFilePath)).toContain('keys.age');
  const other = await backUp('sealed-3', 'another passcode');
  expect(other.sizeAdded).toBe(other.sizeOnDisk);
  expect(fs.readdirSync(other.contentFilePath)).not.toContain('keys.age');
}, 60_000);
