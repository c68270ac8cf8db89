/**
 * Machines whose cables are pulled in the middle of the work: a worker, the S3 store, a gateway, Postgres.
 */
import { basename } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openStore, verifyBackup } from '../src/engine/index.ts';
import { until } from './support/gateway.ts';
import { canMakeNetworks } from './support/namespaces.ts';
import { noObjectStore } from './support/object-store.ts';
import { backupIs, childrenOf, createBackup, makeBackup, pause, showBackup, showJob, statusesOf } from './support/site.ts';
import { startSplitNetwork, storeIsReady, type SplitNetwork, type Worker } from './support/split-network.ts';

/** The data of ep1, which is large and has two workers, and of ep2. */
const EP1 = { type: 'DATA', hostId: 2 };
const EP2 = { type: 'DATA', hostId: 3 };

describe.skipIf(!canMakeNetworks() || noObjectStore !== '')(`when a cable is pulled (needs root and ip) ${noObjectStore}`, { timeout: 120_000 }, () => {
  let net: SplitNetwork;
  beforeAll(async () => { net = await startSplitNetwork(); });
  afterAll(() => net?.remove());
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(net.printed());
  });

  const attemptsAt = async (name: string): Promise<number> =>
    (await net.sql`select j.attempt from jobs j join backups b on b.id = j.backup_id where b.name = ${name} and j.operation = 'BACKUP'`)[0]?.['attempt'] as number;
  /** What the store holds below the deployment's prefix, the trial of a look apart. */
  const contents = async (): Promise<string[]> => (await net.store.contents('net/')).map((key) => key.slice('net/'.length)).filter((key) => !key.startsWith('.trial'));
  const dataOf = (path: string): string[] => ['DATA.tar.zst', 'manifest.json', 'manifest.sha256'].map((file) => `${basename(path)}/${file}`);
  const expectWhole = async (path: string): Promise<void> => {
    const files = openStore({ type: 'S3', path: '', s3: net.storeSpec }).open(basename(path));
    expect(await verifyBackup(files, { signal: new AbortController().signal })).toMatchObject({ problems: [], details: [] });
  };
  /** Begins a backup of ep1 whose tar is held in the middle, with parts of its upload in the store. */
  async function holdMidway(name: string): Promise<{ id: string; jobId: string; busy: Worker; idle: Worker }> {
    const pair = net.workers.ep1;
    await Promise.all(pair.map((worker) => worker.hold('midway')));
    const made = await createBackup(net.gateway, { name, ...EP1 });
    const busy = await until('the tar of one is held', () => pair.find((worker) => worker.isHeld()));
    await until('parts have arrived', async () => (await contents()).some((key) => key.endsWith('(part)')));
    return { ...made, busy, idle: pair[0] === busy ? pair[1] : pair[0] };
  }

  // These two at once: both wait for a lease to end.
  test.concurrent('a worker that is cut off in the middle of an upload loses its job to another one of its host, and changes nothing when it is back', async ({ expect }) => {
    const { id, jobId, busy: stale, idle: successor } = await holdMidway('fenced');
    const [tar = 0] = childrenOf(stale.part.process.pid ?? 0, 'tar');
    stale.machine.pullCable();
    await successor.release();
    // It goes on into the void: the next parts are on their way when it gives up.
    await stale.release();
    await until('its tar goes on', () => childrenOf(tar, 'sh').length === 0);
    await stale.hold('midway');
    // Nobody else is concerned.
    await makeBackup(net.gateway, { name: 'of-console' });

    const backup = await backupIs(net.gateway, id, ['SUCCESS', 'FAILED'], 40_000);
    expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true });
    expect(successor.part.printed()).toContain('job completed');
    expect(await attemptsAt('fenced')).toBe(2);
    const ofOthers = async () => (await contents()).filter((key) => key.includes('of-console'));
    const before = await ofOthers();
    const history = () => net.sql`select position, label, to_status from transitions where label = 'fenced'
      or label in (select j.job_id from jobs j join backups b on b.id = j.backup_id where b.name = 'fenced') order by position`;
    const told = await history();
    expect(told).toHaveLength(6);

    // Without a word from anybody it has stopped by its own clock. It says so once it can.
    await until('the stale worker has stopped', () => childrenOf(stale.part.process.pid ?? 0, 'tar').length === 0);
    stale.machine.plugCable();
    await until('the stale worker knows', () => /job lost to another worker|the end of a job could not be written/.test(stale.part.printed()), 40_000);
    expect(await showBackup(net.gateway, id)).toEqual(backup);
    // Nothing of its upload is left, nor of its attempt, and nothing else is gone.
    await expect.poll(async () => (await contents()).filter((key) => key.includes('fenced')), { timeout: 20_000 }).toEqual(dataOf(backup.contentFilePath));
    expect(await ofOthers()).toEqual(before);
    await expectWhole(backup.contentFilePath);
    expect(statusesOf(backup)).toEqual(['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);
    expect(statusesOf(await showJob(net.gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
    expect(await history()).toEqual(told);

    await stale.release();
    // It works again: the other one is away now, and nobody else could do this.
    successor.machine.pullCable();
    await backupIs(net.gateway, (await createBackup(net.gateway, { name: 'after', ...EP1 })).id, ['SUCCESS'], 40_000);
    expect(await attemptsAt('after')).toBe(1);
    successor.machine.plugCable();
  });

  test.concurrent('a worker that is alone and cut off does its job again once it is back', async ({ expect }) => {
    const { ep2 } = net.workers;
    await ep2.hold('before');
    const { id, jobId } = await createBackup(net.gateway, { name: 'alone', ...EP2 });
    await until('its tar is held', () => ep2.isHeld());
    ep2.machine.pullCable();
    await until('it has stopped by its own clock', () => childrenOf(ep2.part.process.pid ?? 0, 'tar').length === 0);
    await ep2.release();
    ep2.machine.plugCable();
    const backup = await backupIs(net.gateway, id, ['SUCCESS', 'FAILED'], 60_000);
    expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true });
    expect(await attemptsAt('alone')).toBe(2);
    expect(statusesOf(await showJob(net.gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
    expect((await contents()).filter((key) => key.includes('alone'))).toEqual(dataOf(backup.contentFilePath));
  });

  test('the S3 store cut off for some seconds in the middle of an upload costs a backup nothing but time', async () => {
    const { id, jobId } = await holdMidway('outage');
    net.storeMachine.pullCable();
    await Promise.all(net.workers.ep1.map((worker) => worker.release()));
    // Longer than a connection is waited for, so that requests fail and are made again.
    await pause(5_500);
    expect(await showBackup(net.gateway, id)).toMatchObject({ status: 'IN_PROGRESS' });
    net.storeMachine.plugCable();
    const backup = await backupIs(net.gateway, id, ['SUCCESS', 'FAILED'], 40_000);
    expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true, job: { error: null } });
    expect(statusesOf(await showJob(net.gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
    expect(await attemptsAt('outage')).toBe(1);
    await expectWhole(backup.contentFilePath);
    // Whoever looked meanwhile found it away.
    await storeIsReady(net);
    const next = await showBackup(net.gateway, await makeBackup(net.gateway, { name: 'after-outage', ...EP1 }));
    await expect.poll(async () => (await contents()).filter((key) => /outage/.test(key))).toEqual([...dataOf(backup.contentFilePath), ...dataOf(next.contentFilePath)].sort());
  });

  test('a gateway that is cut off for a while serves again, and its subscribers have missed nothing', async () => {
    const { ep2 } = net.workers;
    await ep2.hold('before');
    const seen: string[] = [];
    const { feedCursor } = (await net.gateway.query('{ feedCursor }')).data;
    const changes = net.gateway.socket().iterate<any>({ query: `subscription { backupStatusChanged(after: "${feedCursor}") { backupName to } }` });
    void (async () => {
      for await (const { data } of changes) seen.push(`${data.backupStatusChanged.backupName} ${data.backupStatusChanged.to}`);
    })();
    const { id } = await createBackup(net.gateway, { name: 'unwatched', ...EP2 });
    await until('the subscriber sees it at work', () => seen.includes('unwatched IN_PROGRESS'));
    net.gatewayMachine.pullCable();
    await ep2.release();
    await until('it is done', async () => (await net.sql`select from backups where name = 'unwatched' and status = 'SUCCESS'`).length === 1);
    net.gatewayMachine.plugCable();
    expect(await backupIs(net.gateway, id, ['SUCCESS'])).toMatchObject({ isValid: true });
    await until('the subscriber has all', () => seen.includes('unwatched SUCCESS'));
    expect(seen).toEqual(['unwatched INITIALIZING', 'unwatched IN_PROGRESS', 'unwatched SUCCESS']);
  });

  test('Postgres cut off for some seconds in the middle of a backup costs nothing but time', async () => {
    const { ep2 } = net.workers;
    await ep2.hold('before');
    const { id, jobId } = await createBackup(net.gateway, { name: 'patient', ...EP2 });
    await until('its tar is held', () => ep2.isHeld());
    net.databaseMachine.pullCable();
    await pause(4_000);
    net.databaseMachine.plugCable();
    await ep2.release();
    expect(await backupIs(net.gateway, id, ['SUCCESS', 'FAILED'], 40_000)).toMatchObject({ status: 'SUCCESS', isValid: true });
    expect(statusesOf(await showJob(net.gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
    await makeBackup(net.gateway, { name: 'afterwards', ...EP2 });
    expect((await contents()).filter((key) => /partial|removing|\(/.test(key))).toEqual([]);
  });
});
