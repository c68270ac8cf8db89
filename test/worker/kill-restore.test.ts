/**
 * Gateways that are killed while they restore: each group is wholly old or wholly new afterwards.
 */
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { GatewayProcess } from '../support/gateway.ts';
import { createRestore, makeBackup, openSite, pause, requestRestore, restoreIs, seeded, statusesOf, type Content, type Site } from '../support/site.ts';
import { describeTree } from '../support/tree.ts';

/** How often a restore is killed, at moments spread over its whole length, and how often right in its swap. */
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 3);
const SWAP_ROUNDS = Number(process.env['KILL_SWAP_ROUNDS'] ?? 2);
const PROMPT = 30_000;
/** So many targets that the swap, a rename after the other, lasts long enough to be hit. */
const TARGETS = 24;
const FILES = 8;

const names = Array.from({ length: TARGETS }, (_, nth) => `users-${nth}`);
const random = seeded(7);
let site: Site;
let backupId: string;
let whole: number;
let fresh: Record<string, string>[];
let old: Record<string, string>[];
let others: Record<string, string>;

beforeAll(async () => {
  const content: Content = {
    USERS_CONFIG: names.map((name) => ({ directory: `./site/${name}` })), CUSTOM_RULES_CONFIG: [{ directory: './site/rules' }],
  };
  site = await openSite(content);
  for (const name of [...names, 'rules']) {
    fs.mkdirSync(site.at('site', name), { recursive: true });
    for (let nth = 0; nth < FILES; nth += 1) fs.writeFileSync(site.at('site', name, `file-${nth}`), `${name} as it was backed up`.repeat(100));
  }
  const gateway = await site.start();
  backupId = await makeBackup(gateway, { name: 'source' });
  fresh = now();
  fs.writeFileSync(site.at('site/rules/file-0'), 'altered, and not restored');
  others = describeTree(site.at('site/rules'));
  spoil();
  const begin = performance.now();
  const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
  await requestRestore(gateway, id);
  expect(await restoreIs(gateway, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  whole = performance.now() - begin;
  expect(now()).toEqual(fresh);
});
// A gateway that did its work serves the next test too.
afterEach(({ task }) => (task.result?.state === 'fail' ? site.killAll() : undefined));
afterAll(() => site?.close());

const now = (): Record<string, string>[] => names.map((name) => describeTree(site.at('site', name)));

/** Alters every target: content, names, one removed, one added. */
function spoil(): void {
  for (const name of names) {
    for (let nth = 1; nth < FILES; nth += 3) fs.writeFileSync(site.at('site', name, `file-${nth}`), `altered ${random()}`);
    fs.rmSync(site.at('site', name, 'file-0'), { force: true });
    fs.writeFileSync(site.at('site', name, 'added'), 'added');
  }
  old = now();
}

/** What must hold once the next gateway has taken care of the restore. */
async function expectWhole(gateway: GatewayProcess, id: string): Promise<'old' | 'new'> {
  const restore = await restoreIs(gateway, id, ['SUCCESS', 'FAILED'], PROMPT);
  expect(restore.job.status).toBe(restore.status === 'SUCCESS' ? 'COMPLETED' : 'FAILED');
  const found = now();
  const state = JSON.stringify(found) === JSON.stringify(fresh) ? 'new' : JSON.stringify(found) === JSON.stringify(old) ? 'old' : 'mixed';
  expect(state).toBe(restore.status === 'SUCCESS' ? 'new' : 'old');
  expect(site.restoreLeftovers('site')).toEqual([]);
  expect(describeTree(site.at('site/rules'))).toEqual(others);
  expect(statusesOf(restore).filter((status) => status === 'REQUESTING')).toHaveLength(1);
  return state as 'old' | 'new';
}

/** Whether the journal says that targets are being replaced. */
const isSwapping = (): boolean => {
  try {
    return fs.readdirSync(site.at('restores')).some((name) => name.endsWith('.json') && fs.readFileSync(site.at('restores', name), 'utf8').includes('"SWAPPING"'));
  } catch {
    return false;
  }
};

describe('a gateway killed during a restore', () => {
  test('leaves one that ends within 30 seconds of the next start', async () => {
    spoil();
    const gateway = await site.running();
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    await pause(whole * 0.4);
    await gateway.kill();
    // The tests of killed backups wait for a whole lease.
    await site.expireLeases(2);
    await expectWhole(await site.start(), id);
  });

  test('at any moment leaves each group wholly old or wholly new', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      spoil();
      const gateway = await site.running();
      const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
      await requestRestore(gateway, id);
      await pause(whole * ((round + random()) / ROUNDS));
      await gateway.kill();
      await site.expireLeases();
      await expectWhole(await site.start(), id);
    }
  });

  test('right after the journal says that the swap begins, and at moments of the swap, leaves each group wholly new', async () => {
    for (let round = 0; round < SWAP_ROUNDS; round += 1) {
      spoil();
      const gateway = await site.running();
      const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
      await requestRestore(gateway, id);
      await spinUntil(isSwapping);
      if (round > 0) await pause(random() * 40);
      await gateway.kill();
      await site.expireLeases();
      expect(await expectWhole(await site.start(), id)).toBe('new');
    }
  });

  test('in the swap, with no attempt left, is not told to have failed', async () => {
    spoil();
    const gateway = await site.running();
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    await spinUntil(isSwapping);
    await gateway.kill();
    await site.sql`update jobs set attempt = 3 where status = 'EXECUTING'`;
    await site.expireLeases();
    expect(await expectWhole(await site.start(), id)).toBe('new');
  });

  test('while it unpacked, with no attempt left, leaves the group old and says why', async () => {
    spoil();
    const gateway = await site.running();
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    await spinUntil(() => site.restoreLeftovers('site').length > 1);
    await gateway.kill();
    await site.sql`update jobs set attempt = 3 where status = 'EXECUTING'`;
    await site.expireLeases();
    const next = await site.start();
    expect(await expectWhole(next, id)).toBe('old');
    expect((await restoreIs(next, id, ['FAILED'])).job.error).toContain('died 3 times');
  });
});

describe('a start', () => {
  test('brings an interrupted restore to its end although its job has ended, and removes what lies beside the targets', async () => {
    spoil();
    const gateway = await site.running();
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    await spinUntil(isSwapping);
    await gateway.kill();
    expect(isSwapping()).toBe(true);
    // As if the recovery had failed until the attempts ran out.
    await site.sql`update restores set status = 'FAILED', backup_id = null where status = 'IN_PROGRESS'`;
    const [job] = await site.sql`update jobs set status = 'FAILED', lease_until = null where status = 'EXECUTING' returning job_id`;
    const old = site.at('site', `.backup-gateway-restore-${job?.['job_id']}-99-0`);
    fs.mkdirSync(`${old}/old`, { recursive: true });
    const foreign = site.at('site/.backup-gateway-restore-j00000000-1-0');
    fs.mkdirSync(`${foreign}/new`, { recursive: true });
    await site.start();
    expect(now()).toEqual(fresh);
    expect(fs.existsSync(old)).toBe(false);
    // Of a job not known here: another installation may be at work.
    expect(fs.existsSync(foreign)).toBe(true);
    fs.rmSync(foreign, { recursive: true });
    expect(site.restoreLeftovers('site')).toEqual([]);
  });
});

describe('a restore that can be brought to no end', () => {
  test('fails with that reason once its attempts have run out, and the next start that can brings it to one', async () => {
    spoil();
    const gateway = await site.running();
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    await spinUntil(isSwapping);
    await gateway.kill();
    const journal = site.at('restores', fs.readdirSync(site.at('restores')).find((name) => name.endsWith('.json')) ?? '');
    const content = fs.readFileSync(journal);
    fs.writeFileSync(journal, 'cannot be read');
    await site.sql`update jobs set attempt = 3 where status = 'EXECUTING'`;
    await site.expireLeases();
    const next = await site.start();
    const restore = await restoreIs(next, id, ['SUCCESS', 'FAILED']);
    expect(restore).toMatchObject({ status: 'FAILED', job: { status: 'FAILED', error: expect.stringMatching(/neither old nor new.*journal/s) } });
    await next.stop();
    fs.writeFileSync(journal, content);
    await site.start();
    expect(now()).toEqual(fresh);
    expect(site.restoreLeftovers('site')).toEqual([]);
  });
});

/** Asks every millisecond, since what is waited for is over soon; without a break it would keep the gateway from a core. */
async function spinUntil(check: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!check()) {
    if (performance.now() > end) throw new Error('Waited in vain.');
    await pause(1);
  }
}
