/**
 * Gateways with a store in S3.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { startProxy, type Proxy } from '../support/object-store-proxy.ts';
import { noObjectStore, startObjectStore, type ObjectStore } from '../support/object-store.ts';
import { backupIs, createBackup, createRestore, deleteBackup, makeBackup, makeIncompressible, openSite, requestRestore, restoreIs, showBackup, showJob, type Site } from '../support/site.ts';
import { describeTree, makeOddTree, spoilOddTree } from '../support/tree.ts';

const PASSCODE = 'correct horse battery staple';
const story = test.skipIf(noObjectStore !== '');

let server: ObjectStore;
let proxy: Proxy;
let site: Site;
let gateway: GatewayProcess;

beforeAll(async () => {
  if (noObjectStore !== '') return;
  server = await startObjectStore();
  proxy = await startProxy(server.url);
  site = await openSite({ USERS_CONFIG: [{ directory: './site/users' }], CUSTOM_RULES_CONFIG: [{ directory: './site/rules' }] }, [
    { name: 'cloud', type: 'S3', bucket: 'backups', prefix: 'site', endpoint: proxy.url, forcePathStyle: true },
  ]);
  makeOddTree(site.at('site/users'));
  // More than two parts, since it does not compress.
  makeIncompressible(site.at('site/rules'), 20);
  gateway = await site.start(server.env);
});
afterEach(() => {
  if (proxy === undefined) return;
  proxy.decide = () => undefined;
  proxy.seen.length = 0;
});
afterAll(async () => {
  await site?.close();
  await proxy?.stop();
  await server?.stop();
});

const contents = (): Promise<string[]> => server.contents('site/');
const backupIn = (name: string, more: object = {}) => createBackup(gateway, { name, storeName: 'cloud', ...more });
async function storeIs(status: string): Promise<{ status: string; statusDetail: string | null }> {
  return until(`the store is ${status}`, async () => {
    const { data } = await gateway.query('{ backupStores { nodes { name status statusDetail } } }');
    const store = data.backupStores.nodes.find(({ name }: { name: string }) => name === 'cloud');
    return store.status === status && store;
  });
}

/** The objects of one finished backup and nothing else. */
async function expectAlone(id: string): Promise<void> {
  const { contentFilePath } = await showBackup(gateway, id);
  const prefix = contentFilePath.replace('s3://backups/', '');
  expect((await contents()).map((key) => key.slice(prefix.length))).toEqual(['/CUSTOM_RULES_CONFIG.tar.zst', '/USERS_CONFIG.tar.zst', '/manifest.json', '/manifest.sha256']);
}

async function remove(id: string): Promise<void> {
  await deleteBackup(gateway, id);
  await until('the backup is gone', async () => await showBackup(gateway, id) === null);
}

story.for([{}, { passcode: PASSCODE }])(`a backup is made, restored and deleted in S3, with %j ${noObjectStore}`, async (passcode) => {
  const before = describeTree(site.at('site/users'));
  const id = await makeBackup(gateway, { name: `whole-${Object.keys(passcode).length}`, storeName: 'cloud', ...passcode });
  expect(await showBackup(gateway, id)).toMatchObject({ contentFilePath: expect.stringMatching(/^s3:\/\/backups\/site\/[^/]+$/), isValid: true });
  spoilOddTree(site.at('site/users'));
  const restore = await createRestore(gateway, id, ['USERS_CONFIG']);
  await requestRestore(gateway, restore, passcode);
  expect(await restoreIs(gateway, restore, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS', job: { error: null } });
  expect(describeTree(site.at('site/users'))).toEqual(before);
  await remove(id);
  expect(await contents()).toEqual([]);
});

story('a gateway that is killed in the middle of an upload runs the job again, and nothing of the first try is left', async () => {
  proxy.decide = ({ line }) => (line.includes('partNumber=2') ? 'hang' : undefined);
  const { id } = await backupIn('killed');
  await until('a part waits', () => proxy.seen.some((line) => line.includes('partNumber=2')));
  await gateway.kill();
  expect((await contents()).some((key) => key.endsWith('(upload)'))).toBe(true);
  // The tests of killed backups wait for a whole lease.
  await site.expireLeases(2);
  proxy.decide = () => undefined;
  gateway = await site.start(server.env);
  expect(await backupIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS', job: { status: 'COMPLETED' } });
  await expectAlone(id);

  // What the first try had sent may also arrive later. What a person copies here is none of this.
  const { contentFilePath } = await showBackup(gateway, id);
  const first = contentFilePath.replace('s3://backups/', '').replace(/\.2$/, '');
  await server.put(`${first}/USERS_CONFIG.tar.zst`, 'late');
  await server.put('site/copied/USERS_CONFIG.tar.zst', 'by hand');
  await gateway.stop();
  gateway = await site.start(server.env);
  await until('it is gone', async () => !(await contents()).some((key) => key.startsWith(`${first}/`)));
  expect(await contents()).toContain('site/copied/USERS_CONFIG.tar.zst');
  await server.delete('site/copied/USERS_CONFIG.tar.zst');
  await expectAlone(id);
  await remove(id);
});

story('a server that is killed in the middle of an upload, and comes back, costs a backup some seconds', async () => {
  let isKilled = false;
  proxy.decide = ({ line }) => {
    if (isKilled || !line.includes('partNumber=2')) return undefined;
    isKilled = true;
    void server.kill();
    return undefined;
  };
  const { id, jobId } = await backupIn('outage');
  await until('the server is gone', () => isKilled);
  await server.restart();
  expect(await backupIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  expect(await showJob(gateway, jobId)).toMatchObject({ status: 'COMPLETED', error: null });
  await expectAlone(id);
  await remove(id);
  expect(await contents()).toEqual([]);
});

story('a store that turns read-only fails the job with a reason that says what to do', async () => {
  proxy.decide = ({ method }) => (['PUT', 'POST'].includes(method) ? { answer: 403, code: 'AccessDenied' } : undefined);
  const { id } = await backupIn('forbidden');
  const { job } = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
  expect(job).toMatchObject({ status: 'FAILED', error: expect.stringMatching(/s3:\/\/backups\/site cannot be read or written: .* forbids it \(AccessDenied\).*s3:PutObject/) });
  expect(await contents()).toEqual([]);
});

story('a gateway with a wrong secret says so, takes no backup, and shows no secret', async () => {
  await gateway.stop();
  gateway = await site.start({ ...server.env, AWS_SECRET_ACCESS_KEY: 'another-secret' });
  const { statusDetail } = await storeIs('UNREACHABLE');
  expect(statusDetail).toMatch(/does not accept the access key or its secret.* Correct AWS_ACCESS_KEY_ID/);
  await expect(backupIn('refused')).rejects.toThrow('STORE_NOT_READY');
  expect(`${gateway.log()} ${statusDetail}`).not.toMatch(/another-secret|not-a-secret/);
  await gateway.stop();
  gateway = await site.start(server.env);
  await storeIs('READY');
});
