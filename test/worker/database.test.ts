/**
 * A database that dies while jobs run.
 */
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { until } from '../support/gateway.ts';
import { createBackup, isWriting, makeBackup, makeIncompressible, openSite, pause, showBackup, type Site } from '../support/site.ts';

let site: Site;

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './big' }] });
  makeIncompressible(site.at('big'), 150);
});
afterEach(() => site.killAll());
afterAll(() => site?.close());

test.each([0, 300])('a backup whose database is killed after %i ms of it succeeds once the database is back', async (delay) => {
  const gateway = await site.start();
  const { id } = await createBackup(gateway, { name: `killed-${delay}` });
  await until('it is at work', () => isWriting(gateway));
  await pause(delay);
  const [postmaster] = fs.readFileSync(site.at('postgres/postmaster.pid'), 'utf8').split('\n');
  process.kill(Number(postmaster), 'SIGKILL');
  const backup = await until('the backup has ended', async () => {
    const shown = await showBackup(gateway, id).catch(() => null);
    return ['SUCCESS', 'FAILED'].includes(shown?.status) && shown;
  });
  expect(backup).toMatchObject({ status: 'SUCCESS', job: { status: 'COMPLETED', error: null } });
  expect(await site.oddities()).toEqual([]);
  await makeBackup(gateway, { name: `after-${delay}` });
});

test('a connection that ends under the last statement of a backup costs an attempt, not the backup', async () => {
  const gateway = await site.start();
  const { id } = await createBackup(gateway, { name: 'interrupted' });
  await until('it is at work', () => isWriting(gateway));
  await site.sql.begin(async (sql) => {
    // Whoever ends the backup waits for its row.
    await sql`select from backups where name = 'interrupted' for update`;
    const blocked = await until('its end waits', async () => {
      const rows = await site.sql`select pid from pg_stat_activity where wait_event_type = 'Lock' and query ilike '%backups%'`;
      return rows[0];
    });
    await sql`select pg_terminate_backend(${blocked['pid'] as number})`;
  });
  const backup = await until('the backup has ended', async () => {
    const shown = await showBackup(gateway, id).catch(() => null);
    return ['SUCCESS', 'FAILED'].includes(shown?.status) && shown;
  });
  expect(backup).toMatchObject({ status: 'SUCCESS', job: { status: 'COMPLETED', error: null } });
  expect((await site.sql`select attempt from jobs j join backups b on b.id = j.backup_id where b.name = 'interrupted'`)[0]).toEqual({ attempt: 2 });
  expect(await site.oddities()).toEqual([]);
});
