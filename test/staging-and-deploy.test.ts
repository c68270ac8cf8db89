import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from './support/gateway.ts';
import { codesOf, done, finishedBackup, reached, RuleWitness, send, type Broken, type Input } from './support/mutations.ts';

const witness = new RuleWitness();
let site: GatedSite;
let gateway: GatewayProcess;
const start = async (env: Record<string, string> = {}) => {
  gateway = await startGatewayProcess({ ...site.options, env: { ...site.options.env, LOG_LEVEL: 'info', ...env } });
};
beforeAll(async () => {
  site = await makeGatedSite();
  await start();
});
afterAll(async () => {
  await gateway?.stop();
  await site?.remove();
});

/** Stops the gateway, edits its deployment file and starts it again. */
async function restart(change: Parameters<GatedSite['edit']>[0] = () => undefined, env: Record<string, string> = {}): Promise<void> {
  await gateway.stop();
  await site.edit(change);
  await start(env);
}
/** The lines of the log that begin so, without the beginning. */
const logged = (beginning: string): string[] => gateway.log().split('\n').filter((line) => line !== '')
  .map((line) => String((JSON.parse(line) as { msg?: string }).msg)).filter((line) => line.startsWith(beginning)).map((line) => line.slice(beginning.length));
const STATE = `{ deployment { version hasUndeployedChanges hosts { nodes { databaseId hostname status } } }
  backupConfigurations { nodes { databaseId isDeployed retentionPeriodDays dataBackupHosts { databaseId } } } backupStores { nodes { name status } } }`;
async function state() {
  const { data } = await gateway.query(STATE);
  const hosts = data.deployment.hosts.nodes;
  return {
    version: data.deployment.version as string, isStaged: data.deployment.hasUndeployedChanges as boolean,
    statusOf: (id: number): string => hosts.find((host: any) => host.databaseId === id)?.status,
    configurations: data.backupConfigurations.nodes.map((node: any) => [node.databaseId, node.isDeployed, node.retentionPeriodDays, node.dataBackupHosts.map((host: any) => host.databaseId)]),
    stores: data.backupStores.nodes,
  };
}
const breaks = (name: Parameters<RuleWitness['expectBroken']>[1], input: Input, ...broken: Broken[]) => witness.expectBroken(gateway, name, input, ...broken);
const backupCodes = async (input: Input): Promise<number[]> => codesOf(await send(gateway, 'createBackup', { name: 'refused', configurationId: 1, type: 'CONFIG', ...input }));

test('the first start deploys the file; nothing is staged', async () => {
  expect(logged('staged, not deployed: ')).toEqual([]);
  const { isStaged, configurations } = await state();
  expect(isStaged).toBe(false);
  expect(configurations).toEqual([[1, true, 7, [2, 5, 6, 7, 8]]]);
});

test('a staged host changes nothing until it is deployed, and no backup starts meanwhile', async () => {
  expect(await backupCodes({ type: 'DATA', hostId: 3 })).toEqual([1010, 1013, 1014]);
  expect((await done(gateway, 'stageHost', { id: 3, status: 'ACTIVE' })).deployment.hasUndeployedChanges).toBe(true);
  expect((await state()).statusOf(3)).toBe('NEW');
  expect(await backupCodes({})).toEqual([1011]);
  expect((await done(gateway, 'deployStagedChanges', {})).deployment.hasUndeployedChanges).toBe(false);
  expect((await state()).statusOf(3)).toBe('ACTIVE');
  expect(await backupCodes({ type: 'DATA', hostId: 3 })).toEqual([1013, 1014]);
});

test('what is staged and then staged back is no change, and a host can be staged with nothing', async () => {
  await done(gateway, 'stageHost', { id: 3, status: 'DELETING' });
  expect((await done(gateway, 'stageHost', { id: 3, status: 'ACTIVE' })).deployment.hasUndeployedChanges).toBe(false);
  expect((await done(gateway, 'stageHost', { id: 3 })).deployment.hasUndeployedChanges).toBe(false);
});

test('the staged backup configuration is listed beside the deployed one while they differ', async () => {
  const staged = await done(gateway, 'stageBackupConfiguration', { id: 1, retentionPeriodDays: 30, dataBackupHostIds: [2, 9, 9] });
  expect(staged.configuration).toMatchObject({ databaseId: 2, isDeployed: false, retentionPeriodDays: 30, dataBackupHosts: [{ databaseId: 2 }, { databaseId: 9 }] });
  expect((await state()).configurations).toEqual([[1, true, 7, [2, 5, 6, 7, 8]], [2, false, 30, [2, 9]]]);
  expect(await backupCodes({ configurationId: 2 })).toEqual([1007]);
  expect(await backupCodes({ type: 'DATA', hostId: 9 })).toEqual([1014]);
  // By the staged one's own id too, and what is left out stays as it is staged.
  expect((await done(gateway, 'stageBackupConfiguration', { id: staged.configuration.id, retentionPeriodDays: 31 })).configuration.dataBackupHosts).toHaveLength(2);

  await done(gateway, 'deployStagedChanges', {});
  expect((await state()).configurations).toEqual([[1, true, 31, [2, 9]]]);
  expect(await backupCodes({ type: 'DATA', hostId: 5 })).toEqual([1014]);
  const { backup } = await done(gateway, 'createBackup', { name: 'of-nine', configurationId: 1, type: 'DATA', hostId: 9 });
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
});

test('another order of data hosts is no change', async () => {
  const { configuration } = await done(gateway, 'stageBackupConfiguration', { id: 1, dataBackupHostIds: [9, 2] });
  expect(configuration).toMatchObject({ databaseId: 1, isDeployed: true });
  const { isStaged, configurations } = await state();
  expect(isStaged).toBe(false);
  expect(configurations).toHaveLength(1);
});

test('a data host may be taken away altogether, and null stages nothing', async () => {
  await done(gateway, 'stageBackupConfiguration', { id: 1, dataBackupHostIds: [] });
  expect((await state()).configurations[1]).toEqual([2, false, 31, []]);
  await done(gateway, 'stageBackupConfiguration', { id: 1, dataBackupHostIds: [2, 9] });
  expect((await done(gateway, 'stageBackupConfiguration', { id: 1, dataBackupHostIds: null, retentionPeriodDays: null })).configuration.databaseId).toBe(1);
});

test('staging and deploying name what is not there', async () => {
  for (const id of [99, '', 'nonsense']) {
    await breaks('stageHost', { id, status: 'ACTIVE' }, [1009, 'HOST_NOT_FOUND', 'id']);
    await breaks('stageBackupConfiguration', { id }, [1007, 'CONFIGURATION_NOT_FOUND', 'id']);
    await breaks('setRebalancing', { deploymentId: id, rebalancing: true }, [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
    await breaks('deployStagedChanges', { deploymentId: id }, [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
  }
  await breaks('stageBackupConfiguration', { id: 1, dataBackupHostIds: [2, 99] }, [1009, 'HOST_NOT_FOUND', 'dataBackupHostIds']);
  await breaks('stageBackupConfiguration', { id: 1, dataBackupHostIds: [4] }, [1013, 'HOST_STORES_NO_DATA', 'dataBackupHostIds']);
  for (const days of [0, -1, 36_501]) await breaks('stageBackupConfiguration', { id: 99, retentionPeriodDays: days }, [2013, 'RETENTION_PERIOD_INVALID', 'retentionPeriodDays']);
  await breaks('stageBackupConfiguration', { id: 2, dataBackupHostIds: [4, 99] },
    [1007, 'CONFIGURATION_NOT_FOUND', 'id'], [1009, 'HOST_NOT_FOUND', 'dataBackupHostIds'], [1013, 'HOST_STORES_NO_DATA', 'dataBackupHostIds']);
  witness.expectAllSeen('stageHost', 'stageBackupConfiguration', 'setRebalancing', 'deployStagedChanges');
});

test('a restart leaves what mutations have deployed, and what they have staged', async () => {
  await done(gateway, 'stageHost', { id: 3, status: 'ADDING' });
  await restart();
  expect(logged('staged, not deployed: ')).toEqual(['host 3 (spare): status ACTIVE → ADDING']);
  const { isStaged, statusOf, configurations } = await state();
  expect([isStaged, statusOf(3), configurations]).toEqual([true, 'ACTIVE', [[1, true, 31, [2, 9]]]]);
  expect(await backupCodes({})).toEqual([1011]);
  await done(gateway, 'stageHost', { id: 3, status: 'ACTIVE' });
});

test('what was edited in the file is staged at a restart and told in the log, and stands once deployed', async () => {
  await restart((file) => {
    file.deployment.version = '7.6.0';
    Object.assign(file.hosts.find((host) => host.id === 4) as object, { hostname: 'ec2' });
    file.backupConfiguration.retentionDays = 8;
  });
  // A host that says no version of its own has the deployment's.
  expect(logged('staged, not deployed: ').filter((line) => !/^host .*: version/.test(line)))
    .toEqual(['deployment: version 7.5.0 → 7.6.0', 'host 4 (ec2): hostname ec1 → ec2', 'backup configuration: retention 31 → 8 days']);
  expect(await state()).toMatchObject({ version: '7.5.0', isStaged: true });
  expect((await state()).configurations).toEqual([[1, true, 31, [2, 9]], [2, false, 8, [2, 9]]]);
  await breaks('createBackup', { name: 'refused', configurationId: 1, type: 'CONFIG' }, [1011, 'UNDEPLOYED_CHANGES']);
  expect((await done(gateway, 'deployStagedChanges', {})).deployment).toEqual({ hasUndeployedChanges: false, version: '7.6.0' });
  await finishedBackup(gateway, 'of-the-new-version');
  await restart();
  expect(logged('staged, not deployed: ')).toEqual([]);
  expect(await state()).toMatchObject({ version: '7.6.0', isStaged: false });
});

test("what mutations have deployed gives way once the file's own value changes; DEPLOY_ON_START deploys at once", async () => {
  await restart((file) => { (file.hosts.find((host) => host.id === 3) as { status: string }).status = 'DELETED'; }, { DEPLOY_ON_START: 'true' });
  expect(logged('deployed: ')).toEqual(['host 3 (spare): status ACTIVE → DELETED']);
  expect(logged('staged, not deployed: ')).toEqual([]);
  const { isStaged, statusOf, configurations } = await state();
  expect([isStaged, statusOf(3), configurations]).toEqual([false, 'DELETED', [[1, true, 8, [2, 9]]]]);
});

test('a host that has left the deployment can neither be staged nor be made a data host, and takes no backup', async () => {
  await restart((file) => {
    file.hosts = file.hosts.filter((host) => host.id !== 9);
    file.backupConfiguration.dataBackupHosts = [2, 5];
  }, { DEPLOY_ON_START: 'true' });
  await breaks('stageHost', { id: 9, status: 'ACTIVE' }, [1009, 'HOST_NOT_FOUND', 'id']);
  await breaks('stageBackupConfiguration', { id: 1, dataBackupHostIds: [2, 9] }, [1009, 'HOST_NOT_FOUND', 'dataBackupHostIds']);
  expect(await backupCodes({ type: 'DATA', hostId: 9 })).toEqual([1010, 1014]);
  expect((await state()).isStaged).toBe(false);
});

test('a store, a host and another console that came with the file serve backups once they are deployed by the mutation', async () => {
  await restart((file) => {
    file.stores[0]!.default = false;
    file.stores.push({ name: 'nas', type: 'DIRECTORY', path: './nas/deep', default: true });
    const old = file.hosts.find((host) => host.id === 1)!;
    file.hosts.push({ ...old, id: 10, hostname: 'console2', address: '192.0.2.10' });
    Object.assign(old, { console: false });
    delete old.content;
  });
  expect(logged('staged, not deployed: ').filter((line) => line.endsWith('added'))).toEqual(['store nas: added', 'host 10 (console2): added']);
  await done(gateway, 'deployStagedChanges', {});
  // Never a backup that fails because the store is not there yet.
  expect([[], [2005]]).toContainEqual(await backupCodes({ name: 'at-once' }));
  await until('the new store is ready', async () => (await state()).stores.some((store: any) => store.name === 'nas' && store.status === 'READY'));
  const early = (await gateway.query('{ backupByName(name: "at-once") { id } }')).data.backupByName;
  if (early !== null) await reached(gateway, 'backup', early.id, 'SUCCESS');
  const id = await finishedBackup(gateway, 'into-the-new-store');
  const { data } = await gateway.query('query ($id: ID!) { backup(id: $id) { store { name } host { databaseId isConsole } } }', { id });
  expect(data.backup).toEqual({ store: { name: 'nas' }, host: { databaseId: 10, isConsole: true } });
});
