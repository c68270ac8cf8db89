import { access, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { newDataDir, startGateway, until, type TestGateway } from './support/gateway.ts';

const gateways: TestGateway[] = [];
afterEach(async () => { for (const gateway of gateways.splice(0)) await gateway.stop(); });

const start = async (dataDir: string): Promise<TestGateway> => {
  const gateway = await startGateway({ dataDir });
  gateways.push(gateway);
  return gateway;
};
const statusOf = async (gateway: TestGateway, name: string) => {
  const { data } = await gateway.query('{ backupStores { nodes { name status statusDetail } } }');
  return data.backupStores.nodes.find((store: { name: string }) => store.name === name);
};

test('the directory of a store that comes into the deployment is made once it is deployed', async () => {
  const dataDir = await newDataDir();
  await (await start(dataDir)).stop();
  gateways.length = 0;
  const file = join(dataDir, 'deployment.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace('stores:', 'stores:\n  - { name: nas, type: DIRECTORY, path: ./mnt/nas }'));
  const gateway = await start(dataDir);
  await expect(access(join(dataDir, 'mnt'))).rejects.toThrow('ENOENT');
  await gateway.query('mutation { deployStagedChanges(input: {}) { __typename } }');
  await until('the store is ready', async () => (await statusOf(gateway, 'nas'))?.status === 'READY' && access(join(dataDir, 'mnt/nas')).then(() => true, () => false));
});

test('a store whose directory has gone is told as unreachable, and not made anew: it may be a disk that is not mounted', async () => {
  const dataDir = await newDataDir();
  const gateway = await start(dataDir);
  await rename(join(dataDir, 'backups'), join(dataDir, 'elsewhere'));
  const gone = await until('the store is unreachable', async () => {
    const store = await statusOf(gateway, 'default');
    return store.status === 'UNREACHABLE' && store;
  });
  expect(gone.statusDetail).toMatch(/backups/);
  await expect(access(join(dataDir, 'backups'))).rejects.toThrow('ENOENT');
  await rename(join(dataDir, 'elsewhere'), join(dataDir, 'backups'));
  await until('the store is ready again', async () => (await statusOf(gateway, 'default')).status === 'READY');
});
