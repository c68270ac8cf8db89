/**
 * Gateways that are killed while they make a backup.
 */
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { backupIs, createBackup, isWriting, makeBackup, makeIncompressible, openSite, pause, seeded, showBackup, showJob, statusesOf, type Site } from '../support/site.ts';

/** How often a backup is killed, at moments spread over its whole length; more of them find more. */
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 3);
/** No status may be stuck for longer, in milliseconds. */
const PROMPT = 30_000;

let site: Site;
/** How long an undisturbed backup takes, in milliseconds. */
let whole: number;
const random = seeded(20);

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './big' }], CUSTOM_RULES_CONFIG: [{ directory: './small' }] });
  makeIncompressible(site.at('big'), 100);
  makeIncompressible(site.at('small'), 1);
  const gateway = await site.start();
  const begin = performance.now();
  await makeBackup(gateway, { name: 'timed' });
  whole = performance.now() - begin;
});
// A gateway that did its work serves the next test too.
afterEach(({ task }) => (task.result?.state === 'fail' ? site.killAll() : undefined));
afterAll(() => site?.close());

/** Starts a backup and kills its gateway at a part of the time that it takes. */
async function killed(gateway: GatewayProcess, name: string, part: number): Promise<{ id: string; jobId: string }> {
  const created = await createBackup(gateway, { name });
  await pause(part * whole);
  await gateway.kill();
  return created;
}

/** What must hold whatever became of a backup. */
async function expectCleanEnd(gateway: GatewayProcess, id: string): Promise<string> {
  const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED'], PROMPT);
  expect(backup.job.status).toBe(backup.status === 'SUCCESS' ? 'COMPLETED' : 'FAILED');
  if (backup.status === 'FAILED') expect(backup.job.error).not.toBeNull();
  expect(statusesOf(backup.job).filter((status) => status === 'SUBMITTED')).toHaveLength(1);
  expect(statusesOf(backup.job).filter((status) => status === 'EXECUTING')).toHaveLength(1);
  expect(await site.oddities()).toEqual([]);
  return backup.status;
}

describe('a gateway killed during a backup', () => {
  test('leaves one that ends within 30 seconds of the next start', async () => {
    const { id } = await killed(await site.running(), 'alone', 0.5);
    // The next test waits for the whole lease.
    await site.expireLeases(2);
    const gateway = await site.start();
    expect(await expectCleanEnd(gateway, id)).toBe('SUCCESS');
    await makeBackup(gateway, { name: 'after-alone' });
  });

  test('leaves it to another gateway on the same data, which makes it within 30 seconds', async () => {
    const [first, second] = await Promise.all([site.running(), site.start()]);
    const { id, jobId } = await createBackup(first, { name: 'taken-over' });
    // Either may have claimed it; the partial directory has open files of the one that works.
    const worker = await until('one of them works on it', () => [first, second].find((gateway) => isWriting(gateway)));
    await worker.kill();
    const heir = worker === first ? second : first;
    expect(await showBackup(heir, id)).toMatchObject({ status: 'IN_PROGRESS', job: { status: 'EXECUTING' } });
    expect(await expectCleanEnd(heir, id)).toBe('SUCCESS');
    const [job] = await site.sql`select attempt from jobs order by id desc limit 1`;
    expect(job?.['attempt']).toBe(2);
    expect((await showJob(heir, jobId)).messages).toEqual([expect.stringContaining('attempt 2 of 3')]);
    await makeBackup(heir, { name: 'after-taken-over' });
  });

  test('at any moment leaves nothing half-done', async () => {
    for (let round = 0; round < ROUNDS; round += 1) {
      const part = (round + random()) / ROUNDS;
      const { id } = await killed(await site.running(), `round-${round}`, part);
      await site.expireLeases();
      await expectCleanEnd(await site.start(), id);
    }
  });

  test('three times over the same one lets it fail with that reason, and leaves nothing of it', async () => {
    let gateway = await site.running();
    const { id } = await createBackup(gateway, { name: 'deadly' });
    for (let attempt = 1; attempt <= 3; attempt += 1) {
      await until('it is at work', () => isWriting(gateway));
      await gateway.kill();
      await site.expireLeases();
      gateway = await site.start();
    }
    const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
    expect(backup.status).toBe('FAILED');
    expect(backup.job).toMatchObject({ status: 'FAILED', error: expect.stringContaining('died 3 times') });
    expect(await site.oddities()).toEqual([]);
  });

  test('three times, the last time with the backup in place already, leaves nothing of it either', async () => {
    const gateway = await site.running();
    const { id } = await createBackup(gateway, { name: 'published' });
    await until('it is at work', () => isWriting(gateway));
    await gateway.kill();
    // As if the last of its workers had died after it gave the backup its name, and before it could say so.
    const [row] = await site.sql`update jobs set attempt = 3 where status = 'EXECUTING' returning job_id, backup_id`;
    const [backup] = await site.sql`select directory from backups where id = ${row?.['backup_id']}`;
    const partial = fs.readdirSync(site.at('backups')).find((name) => name.includes(String(row?.['job_id']))) ?? '';
    fs.renameSync(site.at('backups', partial), site.at('backups', String(backup?.['directory'])));
    await site.expireLeases();
    const next = await site.start();
    expect(await backupIs(next, id, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'FAILED' });
    expect(await site.oddities()).toEqual([]);
  });
});

describe('a gateway stopped by SIGTERM during a backup', () => {
  test('ends soon, leaves nothing half-done, and the next start makes the backup at once', async () => {
    const gateway = await site.running();
    const { id } = await createBackup(gateway, { name: 'stopped' });
    await until('it is at work', () => isWriting(gateway));
    const begin = performance.now();
    await gateway.stop();
    expect(performance.now() - begin).toBeLessThan(5_000);
    expect(gateway.process.exitCode).toBe(0);
    expect(await site.oddities()).toEqual([]);
    const [job] = await site.sql`select attempt, status, lease_until from jobs order by id desc limit 1`;
    expect(job).toEqual({ attempt: 0, status: 'EXECUTING', lease_until: null });
    const next = await site.start();
    expect(await backupIs(next, id, ['SUCCESS', 'FAILED'], 6_000)).toMatchObject({ status: 'SUCCESS' });
    expect(await site.oddities()).toEqual([]);
  });
});
