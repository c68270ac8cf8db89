/**
 * Scans: an empty gateway gets back every backup in a store, whoever made it and whatever became of it.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { catalogue, ended, filesOf, flipBit, look, scan, storesReady, verify } from './support/checks.ts';
import { newDataDir, startGateway, until, type TestGateway } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { done, finishedBackup, reached, RuleWitness } from './support/mutations.ts';

const PASSCODE = 'correct horse';
const witness = new RuleWitness();
let site: GatedSite;
let first: TestGateway;
/** What the gateway that made the backups says of them. */
let made: Record<string, any>;
/** Data directories of further gateways. */
const dataDirs: string[] = [];
const running: TestGateway[] = [];

/** A gateway that knows nothing of what was before; `env` may change its deployment file. */
async function startEmpty(env: Record<string, string> = {}): Promise<TestGateway> {
  const dataDir = await newDataDir();
  dataDirs.push(dataDir);
  const gateway = await startGateway({ dataDir, env: { ...site.options.env, ...env } });
  running.push(gateway);
  return gateway;
}

const scans = async (gateway: TestGateway): Promise<{ id: string; status: string; store: { name: string }; initiatedBy: string }[]> =>
  (await gateway.query('{ jobs(filter: { operation: SCAN }) { nodes { id status initiatedBy store { name } } } }')).data.jobs.nodes;
/** Waits until no store is left that nobody has looked through. */
const allScanned = (gateway: TestGateway): Promise<unknown> => until('all stores are scanned', async () =>
  (await gateway.query('{ backupStores { nodes { isScanned } } }')).data.backupStores.nodes.every(({ isScanned }: any) => isScanned));
const idOf = async (gateway: TestGateway, name: string): Promise<string> =>
  (await gateway.query('query ($name: String!) { backupByName(name: $name) { id } }', { name })).data.backupByName.id;

beforeAll(async () => {
  site = await makeGatedSite();
  first = await startGateway(site.options);
  await finishedBackup(first, 'plain', { description: 'what a person noted', retentionDate: '2999-01-01T00:00:00.000Z' });
  await finishedBackup(first, 'encrypted', { storeName: 'vault', passcode: PASSCODE });
  await finishedBackup(first, 'data', { type: 'DATA', hostId: 2 });
  made = await catalogue(first);
});
afterEach(async () => {
  await site.release();
  for (const gateway of running.splice(0)) await gateway.stop();
});
afterAll(async () => {
  await first?.stop();
  for (const dataDir of dataDirs) await rm(dataDir, { recursive: true, force: true });
  await site?.remove();
});

describe('a first start', () => {
  test('on stores that hold nothing looks through them without a job', async () => {
    const job = await first.query('{ jobs(filter: { operation: SCAN }) { totalCount } backupStores { nodes { isScanned } } }');
    expect(job.data).toEqual({ jobs: { totalCount: 0 }, backupStores: { nodes: [{ isScanned: true }, { isScanned: true }] } });
  });

  test('on stores with backups gets back every one, with all that its manifest holds', async () => {
    const gateway = await startEmpty();
    await allScanned(gateway);
    const found = await catalogue(gateway);
    expect(Object.keys(found).toSorted()).toEqual(['data', 'encrypted', 'plain']);
    for (const [name, backup] of Object.entries(found)) {
      // The manifest is written before the backup is read back.
      const { timeCompleted } = JSON.parse(fs.readFileSync(join(backup.contentFilePath, 'manifest.json'), 'utf8')) as { timeCompleted: string };
      expect(backup, name).toEqual({ ...made[name], timeCompleted });
    }
    const jobs = await scans(gateway);
    expect(jobs.map(({ status, initiatedBy, store }) => [store.name, status, initiatedBy]).toSorted())
      .toEqual([['default', 'COMPLETED', 'system'], ['vault', 'COMPLETED', 'system']]);
    expect((await ended(gateway, jobs.find(({ store }) => store.name === 'default')!.id)).scan).toEqual({ found: 2, known: 0, damaged: 0, foreign: 0, ignored: 0 });
    expect(await look(gateway, await idOf(gateway, 'plain'), 'transitions { nodes { from to } } job { id } timeVerified'))
      .toMatchObject({ transitions: { nodes: [{ from: null, to: 'SUCCESS' }] }, job: null, timeVerified: expect.any(String) });

    // An encrypted one is restored with its passcode, and no other.
    const { restore } = await done(gateway, 'createRestore', { backupId: await idOf(gateway, 'encrypted'), groups: ['USERS_CONFIG'] });
    await witness.expectBroken(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING', passcode: 'wrong horse' }, [2007, 'PASSCODE_WRONG', 'passcode']);
    const file = join(site.directory, 'site', 'users', 'file');
    fs.writeFileSync(file, 'spoiled');
    await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING', passcode: PASSCODE });
    await reached(gateway, 'restore', restore.id, 'SUCCESS');
    expect(fs.readFileSync(file, 'utf8')).toBe('of users');
    expect((await gateway.query('query ($id: ID!) { restore(id: $id) { isCrossDeploymentRestore } }', { id: restore.id })).data.restore).toEqual({ isCrossDeploymentRestore: false });
  });

  test('that is cancelled in the middle of a scan keeps what was found; the next start finds the rest, and nothing twice', async () => {
    await site.hold('--list');
    const gateway = await startEmpty();
    // The vault holds nothing that tar lists; which of the two is first is left to chance.
    const job = await until('the first store is being scanned', async () =>
      (await scans(gateway)).find(({ store, status }) => store.name === 'default' && status === 'EXECUTING'));
    await done(gateway, 'cancelJob', { id: job.id });
    await ended(gateway, job.id);
    await site.release();
    await until('the vault is scanned', async () => Object.keys(await catalogue(gateway)).join() === 'encrypted');
    const dataDir = gateway.dataDir;
    await running.splice(0)[0]!.stop();
    const again = await startGateway({ dataDir, env: site.options.env });
    running.push(again);
    await allScanned(again);
    expect(Object.keys(await catalogue(again)).toSorted()).toEqual(['data', 'encrypted', 'plain']);
    expect((await scans(again)).map(({ status, store }) => `${store.name} ${status}`).toSorted()).toEqual(['default CANCELLED', 'default COMPLETED', 'vault COMPLETED']);
  });
});

describe('a scan by hand', () => {
  test('leaves what is known as it is, and finds what was put into the store since', async () => {
    expect(await scan(first)).toMatchObject({ status: 'COMPLETED', store: { name: 'default' }, scan: { found: 0, known: 2, damaged: 0, foreign: 0, ignored: 0 }, messages: [] });
    expect(await catalogue(first)).toEqual(made);

    // A backup whose record was deleted and whose files somebody had put aside.
    const id = await finishedBackup(first, 'put-aside');
    const { contentFilePath, ...before } = await look(first, id);
    fs.cpSync(contentFilePath, join(site.directory, 'aside'), { recursive: true });
    await done(first, 'deleteBackup', { id });
    await until('it is gone', async () => await look(first, id) === null);
    fs.renameSync(join(site.directory, 'aside'), contentFilePath);
    expect((await scan(first)).scan).toMatchObject({ found: 1, known: 2 });
    const back = await idOf(first, 'put-aside');
    expect(back).not.toBe(id);
    expect(await look(first, back)).toMatchObject({ ...before, timeVerified: expect.any(String), timeCompleted: expect.any(String), contentFilePath });
    await done(first, 'deleteBackup', { id: back });
    await until('it is gone', async () => await look(first, back) === null);
  });

  test('of a store that is being scanned is answered with that scan; an unknown store is refused', async () => {
    const { contentFilePath } = made['plain'];
    const copy = `${contentFilePath}-copy`;
    fs.cpSync(contentFilePath, copy, { recursive: true });
    await site.hold('--list');
    const [one, two] = [await done(first, 'scanStore', {}), await done(first, 'scanStore', { storeName: 'default' })];
    expect(two.job.id).toBe(one.job.id);
    await site.release();
    // A copy that somebody has made is a backup of its own.
    const job = await ended(first, one.job.id);
    expect(job).toMatchObject({ status: 'COMPLETED', scan: { found: 1, known: 2, ignored: 0 } });
    expect(job.messages.join('\n')).toContain('plain.2');
    const id = await idOf(first, 'plain.2');
    expect(await look(first, id)).toMatchObject({ isValid: true, origin: null, contentFilePath: copy });
    await done(first, 'deleteBackup', { id });
    await until('it is gone', () => !fs.existsSync(copy));
    expect((await look(first, await idOf(first, 'plain'))).status).toBe('SUCCESS');
    await witness.expectBroken(first, 'scanStore', { storeName: 'nowhere' }, [2001, 'STORE_NOT_FOUND', 'storeName']);
    witness.expectAllSeen('scanStore');
  });

  test('makes a MISSING backup that is back SUCCESS again', async () => {
    const { contentFilePath } = made['data'];
    const id = await idOf(first, 'data');
    fs.renameSync(contentFilePath, join(site.directory, 'away'));
    await reached(first, 'backup', id, 'MISSING');
    fs.renameSync(join(site.directory, 'away'), contentFilePath);
    await scan(first);
    expect(await look(first, id)).toMatchObject({ status: 'SUCCESS', isValid: true });
  });

  test('with one backup that the disk does not give out finds all others, and fails with its name', async (context) => {
    const [bad, good] = ['0-bad', '1-good'].map((name) => join(site.directory, 'backups', name));
    for (const copy of [bad!, good!]) fs.cpSync(made['plain'].contentFilePath, copy, { recursive: true });
    const manifest = join(bad!, 'manifest.json');
    // What cannot be read at its beginning, as of a disk with a bad sector.
    const isMounted = spawnSync('mount', ['--bind', `/proc/${process.pid}/mem`, manifest]).status === 0;
    try {
      if (!isMounted) context.skip('nothing can be mounted here');
      const job = await scan(first);
      expect(job).toMatchObject({ status: 'FAILED', scan: { found: 1 } });
      expect(job.error).toContain(`1 backup could not be read, such as ${bad}`);
      expect(job.messages.join('\n')).toContain(`${bad} could not be read`);
    } finally {
      if (isMounted) spawnSync('umount', [manifest]);
      fs.rmSync(bad!, { recursive: true });
    }
    const id = await idOf(first, 'plain.2');
    expect(await look(first, id)).toMatchObject({ isValid: true, contentFilePath: good });
    await done(first, 'deleteBackup', { id });
    await until('it is gone', () => !fs.existsSync(good!));
  });

  test('of a store that goes away fails with the reason', async () => {
    const [store, away] = [join(site.directory, 'backups'), join(site.directory, 'away')];
    fs.renameSync(store, away);
    const job = await scan(first);
    fs.renameSync(away, store);
    expect(job).toMatchObject({ status: 'FAILED', scan: null });
    expect(job.error).toContain(store);
    await storesReady(first);
  });
});

describe('a backup that is found', () => {
  const at = (name: string): string => join(site.directory, 'backups', name);
  /** A name as createBackup makes them. */
  const named = (name: string): string => at(`backup.${name}.console_1.02_01_2026.config.1767312245678`);
  const [whole, damaged, unreadable, lacking] = ['whole', 'damaged', 'unreadable', 'lacking'];
  let manifest: Buffer;
  let gateway: TestGateway;
  /** What the scan said. */
  let told: string;
  beforeAll(async () => {
    for (const name of [whole, damaged, unreadable, lacking]) fs.cpSync(made['plain'].contentFilePath, named(name!), { recursive: true });
    flipBit(join(named('damaged'), 'USERS_CONFIG.tar.zst'));
    manifest = fs.readFileSync(join(named('unreadable'), 'manifest.json'));
    fs.writeFileSync(join(named('unreadable'), 'manifest.json'), manifest.subarray(0, 200));
    const { product, ...rest } = JSON.parse(manifest.toString()) as Record<string, unknown>;
    expect(product).toBe('acme-siem');
    fs.writeFileSync(join(named('lacking'), 'manifest.json'), JSON.stringify({ ...rest, name: 'lacking' }));
    fs.cpSync(made['plain'].contentFilePath, named('hostile'), { recursive: true });
    fs.writeFileSync(join(named('hostile'), 'manifest.json'), JSON.stringify({
      ...rest, product, name: `${'n'.repeat(5000)}`, description: 'a\0b', deployment: '\ud800', initiatedBy: 'x\udfff\0', timeInitiated: '+200000-01-01T00:00:00Z',
      timeCompleted: '-100000-01-01T00:00:00Z', retentionDate: '+200000-01-01T00:00:00Z',
    }));
    fs.mkdirSync(at('strange'));
    fs.writeFileSync(join(at('strange'), 'manifest.json'), 'nonsense');
    fs.mkdirSync(at('lost+found'));

    gateway = await startEmpty();
    running.length = 0;
    await allScanned(gateway);
    const job = await ended(gateway, (await scans(gateway)).find(({ store }) => store.name === 'default')!.id);
    expect(job.scan).toEqual({ found: 7, known: 0, damaged: 4, foreign: 1, ignored: 1 });
    told = job.messages.join('\n');
  });
  afterAll(async () => {
    await gateway?.stop();
    for (const name of fs.readdirSync(at('.')).filter((found) => !/^backup\.(plain|data)\./.test(found))) fs.rmSync(at(name), { recursive: true });
  });

  test('damaged is in the catalogue, and not valid', async () => {
    const found = Object.values(await catalogue(gateway)).find(({ contentFilePath }) => contentFilePath === named('damaged'));
    expect(found).toMatchObject({ status: 'SUCCESS', isValid: false, validityProblems: ['DIGEST_MISMATCH'], description: 'what a person noted' });
    expect(found.validityDetails.join()).toContain('USERS_CONFIG.tar.zst');
    expect(told).toContain(`${named('damaged')} is damaged`);
  });

  test('with a manifest that cannot be read has what its directory says, and all the rest once it is mended and verified', async () => {
    const path = named('unreadable');
    const id = await idOf(gateway, basename(path));
    expect(await look(gateway, id)).toMatchObject({
      type: 'CONFIG', timeInitiated: '2026-01-02T00:04:05.678Z', status: 'SUCCESS', isValid: false, validityProblems: ['MANIFEST_UNREADABLE'],
      version: '', isVersionCompatible: false, initiatedBy: '', groups: [], host: null, configuration: null, description: null, timeCompleted: null,
    });
    fs.writeFileSync(join(path, 'manifest.json'), manifest);
    await verify(gateway, id);
    const { name: _name, contentFilePath: _path, timeCompleted: _completed, ...plain } = made['plain'];
    expect(await look(gateway, id)).toMatchObject({ ...plain, name: basename(path), contentFilePath: path });
  });

  test('with a manifest that lacks a property keeps all the others', async () => {
    expect((await catalogue(gateway))['lacking']).toMatchObject({
      isValid: false, validityProblems: ['MANIFEST_PROPERTIES_MISSING'], version: '7.5.0', description: 'what a person noted', groups: made['plain'].groups, host: { databaseId: 1 },
    });
  });

  test('with a name that is taken has another, and the job says which is which', async () => {
    const found = await catalogue(gateway);
    expect(Object.keys(found).toSorted()).toEqual([basename(named('unreadable')), 'data', 'encrypted', 'lacking', 'n'.repeat(255), 'plain', 'plain.2', 'plain.3']);
    for (const name of ['plain.2', 'plain.3']) expect(told).toContain(`${found[name].contentFilePath} is called plain in its manifest`);
  });

  test('with a manifest that no database can keep as it is does no harm', async () => {
    expect((await catalogue(gateway))['n'.repeat(255)]).toMatchObject({
      isValid: false, description: 'a\ufffdb', initiatedBy: 'x\ufffd\ufffd', timeInitiated: '2026-01-02T00:04:05.678Z', timeCompleted: null, retentionDate: null,
      origin: { deployment: '\ufffd' },
    });
  });

  test('of which nothing can be learnt is named in the job; what is no backup is not', () => {
    expect(told).toContain(`${at('strange')} was left out`);
    expect(told).not.toContain('lost+found');
  });
});

test('what an attempt has left that lost its job is removed, and not entered as a second backup', async () => {
  const { contentFilePath } = made['plain'];
  const left = `${contentFilePath}.2`;
  fs.cpSync(contentFilePath, left, { recursive: true });
  // As the second attempt of the same job would have published it.
  const text = fs.readFileSync(join(left, 'manifest.json'), 'utf8').replace('"attempt": 1', '"attempt": 2');
  fs.writeFileSync(join(left, 'manifest.json'), text);
  const job = await scan(first);
  expect(job).toMatchObject({ status: 'COMPLETED', scan: { found: 0, known: 2, ignored: 1 } });
  expect(job.messages.join('\n')).toContain(`${left} was left by an attempt at plain`);
  expect(fs.existsSync(left)).toBe(false);
  expect(await look(first, await idOf(first, 'plain'))).toMatchObject({ status: 'SUCCESS', isValid: true });
});

describe('a backup of another console', () => {
  let otherFile: string;
  beforeAll(async () => {
    // Another deployment, whose backups go to the same store.
    otherFile = join(site.directory, 'other.yaml');
    const content = JSON.parse(fs.readFileSync(join(site.directory, 'deployment.yaml'), 'utf8'));
    content.deployment.name = 'other';
    content.hosts[0].address = '198.51.100.1';
    content.hosts[0].hostname = 'other-console';
    fs.writeFileSync(otherFile, JSON.stringify(content));
  });

  test('has an origin and no host of ours, another name where its own is taken, and is restored across deployments', async () => {
    const other = await startEmpty({ DEPLOYMENT_FILE: otherFile });
    await allScanned(other);
    const seen = (await catalogue(other))['plain'];
    expect(seen).toMatchObject({
      isValid: true, isVersionCompatible: true, host: null, configuration: null, isKept: true, retentionDate: '2999-01-01T00:00:00.000Z',
      origin: { deployment: 'test', hostId: 1, hostname: 'console', consoleAddress: '192.0.2.1', name: 'plain' },
    });
    const { restore } = await done(other, 'createRestore', { backupId: await idOf(other, 'plain'), groups: ['USERS_CONFIG'] });
    expect((await other.query('query ($id: ID!) { restore(id: $id) { isCrossDeploymentRestore } }', { id: restore.id })).data.restore).toEqual({ isCrossDeploymentRestore: true });
    await done(other, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
    await reached(other, 'restore', restore.id, 'SUCCESS');

    // Of its own, with a name that is taken at home.
    const id = await finishedBackup(other, 'common');
    await finishedBackup(first, 'common');
    const job = await scan(first);
    expect(job.scan).toMatchObject({ found: 1, foreign: 1 });
    expect(job.messages.join('\n')).toContain('common.2');
    expect((await catalogue(first))['common.2']).toMatchObject({ origin: { deployment: 'other', hostname: 'other-console', name: 'common' }, host: null, isValid: true });
    expect((await catalogue(first))['common']).toMatchObject({ origin: null, host: { databaseId: 1 } });
    expect(filesOf(await look(other, id))).toHaveLength(4);
  });
});
