/**
 * Schedules that run: two gateways on one database, both with a clock.
 */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from './support/database.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from './support/gateway.ts';
import { codesOf, done, finishedBackup, reached, send } from './support/mutations.ts';
import { backupsOf, finishedBackupsOf, makeDue, makeSchedule, numberOf, RARELY, runSchedule, showSchedule } from './support/schedules.ts';

let site: GatedSite;
let gateways: [GatewayProcess, GatewayProcess];
let gateway: GatewayProcess;
let database: TestDatabase;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGatewayProcess(site.options);
  gateways = [gateway, await startGatewayProcess(site.options)];
  database = await openGatewayDatabase(site.options.dataDir);
});
afterAll(async () => {
  await site?.release();
  for (const running of gateways ?? []) await running.stop();
  await database?.close();
  await site?.remove();
});
afterEach(async () => {
  await site.release();
  const [row] = await database.sql<{ deadlocks: string }[]>`select deadlocks from pg_stat_database where datname = current_database()`;
  expect(row?.deadlocks).toBe('0');
  for (const running of gateways) expect(running.log()).not.toMatch(/deadlock|could not be run|could not be looked at/);
});

/** A minute of the hour that is half an hour away: nothing runs by itself while the test does. */
const hourly = (): string => `${(new Date().getUTCMinutes() + 30) % 60} * * * *`;
const run = (id: string, ago?: string) => runSchedule(gateway, database.sql, id, ago);

test('a schedule whose time has come starts a backup under its name, and says when it does so again', async () => {
  const id = await makeSchedule(gateway, { name: 'nightly', namePattern: '{schedule}_{type}_{host}_{n}', description: 'by the clock', timeZone: 'Europe/Berlin' });
  expect(await showSchedule(gateway, id)).toEqual({ name: 'nightly', isPaused: false, nextRun: '2028-02-28T23:00:00.000Z', lastRun: null, lastOutcome: null, lastReason: null });
  expect(await run(id)).toMatchObject({ nextRun: '2028-02-28T23:00:00.000Z', lastOutcome: 'STARTED', lastReason: null });
  expect(await finishedBackupsOf(gateway, id)).toMatchObject([{
    name: 'nightly_config_console_1', type: 'CONFIG', description: 'by the clock', initiatedBy: 'schedule nightly', isEncrypted: false,
    schedule: { id, name: 'nightly' }, host: { databaseId: 1 }, job: { schedule: { id }, initiatedBy: 'schedule nightly' },
  }]);
});

test('a name that is taken gets a suffix', async () => {
  const id = await makeSchedule(gateway, { name: 'plain', namePattern: 'same' });
  for (const names of [['same'], ['same', 'same-2'], ['same', 'same-2', 'same-3']]) {
    await run(id);
    expect((await finishedBackupsOf(gateway, id)).map(({ name }) => name)).toEqual(names);
  }
});

test('a change of the schedules wakes the clocks', async () => {
  const id = await makeSchedule(gateway, { name: 'woken' });
  await database.sql`update schedules set next_run = now() where id = ${numberOf(id)}`;
  await done(gateways[1], 'updateSchedule', { id, description: 'changed' });
  await until('it has run', async () => (await showSchedule(gateway, id)).lastOutcome === 'STARTED', 15_000);
  await finishedBackupsOf(gateway, id);
});

test('runs that were missed are made up for once, not in a burst', async () => {
  const id = await makeSchedule(gateway, { name: 'missed', cron: hourly() });
  const { lastOutcome, nextRun } = await run(id, '3 days');
  expect(lastOutcome).toBe('STARTED');
  const ahead = new Date(nextRun).getTime() - Date.now();
  expect(ahead).toBeGreaterThan(20 * 60_000);
  expect(ahead).toBeLessThanOrEqual(60 * 60_000);
  // Both clocks look again and find nothing.
  const other = await makeSchedule(gateway, { name: 'after-missed', type: 'DATA', hostId: 5 });
  await run(other);
  expect(await finishedBackupsOf(gateway, id)).toHaveLength(1);
  await finishedBackupsOf(gateway, other);
});

test('a run that was due while no gateway ran is made up for by the next start', async () => {
  const id = await makeSchedule(gateway, { name: 'overslept', cron: hourly() });
  for (const running of gateways) await running.stop();
  await database.sql`update schedules set next_run = now() - interval '9 hours' where id = ${numberOf(id)}`;
  gateways = [await startGatewayProcess(site.options), await startGatewayProcess(site.options)];
  [gateway] = gateways;
  await until('it has run', async () => (await showSchedule(gateway, id)).lastOutcome === 'STARTED', 15_000);
  expect(await finishedBackupsOf(gateway, id)).toHaveLength(1);
});

test('of two gateways one starts each run', async () => {
  const ids = await Promise.all([2, 5, 6].map((hostId) => makeSchedule(gateway, { name: `contested-${hostId}`, type: 'DATA', hostId })));
  for (let round = 1; round <= 5; round += 1) {
    const before = await Promise.all(ids.map(async (id) => (await showSchedule(gateway, id)).lastRun));
    await makeDue(database.sql, ids);
    for (const [nth, id] of ids.entries()) {
      await until('it has run', async () => (await showSchedule(gateway, id)).lastRun !== before[nth], 15_000);
      expect(await showSchedule(gateway, id)).toMatchObject({ lastOutcome: 'STARTED', lastReason: null });
      expect(await finishedBackupsOf(gateway, id)).toHaveLength(round);
    }
  }
});

test('a run that a rule refuses says which, is tried again within a minute, and then starts', async () => {
  const id = await makeSchedule(gateway, { name: 'refused', type: 'DATA', hostId: 7, cron: hourly() });
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { name: 'busy', configurationId: 1, type: 'DATA', hostId: 7 });
  const refused = await run(id);
  expect(refused).toMatchObject({ lastOutcome: 'REFUSED', lastReason: 'A backup is already in progress on the host.' });
  const wait = new Date(refused.nextRun).getTime() - new Date(refused.lastRun).getTime();
  expect(wait).toBe(60_000);
  expect(await backupsOf(gateway, id)).toEqual([]);
  await site.release();
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
  const started = await run(id);
  expect(started).toMatchObject({ lastOutcome: 'STARTED', lastReason: null });
  expect(new Date(started.nextRun).getTime() - new Date(started.lastRun).getTime()).toBeGreaterThan(20 * 60_000);
  await finishedBackupsOf(gateway, id);
});

test('undeployed changes refuse a run, as they do createBackup', async () => {
  const id = await makeSchedule(gateway, { name: 'staged' });
  await done(gateway, 'stageBackupConfiguration', { id: 1, retentionPeriodDays: 30 });
  expect(await run(id)).toMatchObject({ lastOutcome: 'REFUSED', lastReason: 'An undeployed configuration change has been detected. Deploy staged changes then try again.' });
  await done(gateway, 'deployStagedChanges', {});
  expect(await run(id)).toMatchObject({ lastOutcome: 'STARTED', lastReason: null });
  await finishedBackupsOf(gateway, id);
});

test('a paused schedule runs nothing, and makes nothing up when it goes on', async () => {
  const id = await makeSchedule(gateway, { name: 'paused', cron: hourly() });
  expect((await done(gateway, 'updateSchedule', { id, paused: true })).schedule).toMatchObject({ isPaused: true, nextRun: null });
  await database.sql`update schedules set next_run = now() - interval '1 hour' where id = ${numberOf(id)}`;
  const other = await makeSchedule(gateway, { name: 'meanwhile', type: 'DATA', hostId: 6 });
  await run(other);
  expect(await showSchedule(gateway, id)).toMatchObject({ lastRun: null });
  const { schedule } = await done(gateway, 'updateSchedule', { id, paused: false });
  expect(new Date(schedule.nextRun).getTime()).toBeGreaterThan(Date.now());
  expect(await showSchedule(gateway, id)).toMatchObject({ lastRun: null, isPaused: false });
  await finishedBackupsOf(gateway, other);
});

test('a next run that a wrong clock has put far ahead is brought forward', async () => {
  const id = await makeSchedule(gateway, { name: 'ahead', cron: hourly() });
  const { nextRun } = await showSchedule(gateway, id);
  await database.sql.begin(async (tx) => {
    await tx`update schedules set next_run = ${nextRun}::timestamptz + interval '10 days', last_run = now() + interval '10 days' where id = ${numberOf(id)}`;
    await tx`select pg_notify('backup_gateway_schedules', '')`;
  });
  await until('the next run is the regular one again', async () => (await showSchedule(gateway, id)).nextRun === nextRun, 15_000);
  expect(await backupsOf(gateway, id)).toEqual([]);
});

test('scheduled backups stop where the volume is 75 percent full; those on demand do not', async () => {
  const id = await makeSchedule(gateway, { name: 'full', storeName: 'default' });
  // What the worker finds the volume to be is made to be this.
  await database.sql.unsafe(`create function made_full() returns trigger language plpgsql as $$ begin new.total_bytes := 1000; new.free_bytes := 240; return new; end $$;
    create trigger made_full before update on stores for each row execute function made_full(); update stores set status = status;`);
  expect(await run(id)).toMatchObject({ lastOutcome: 'SKIPPED', nextRun: '2028-02-29T00:00:00.000Z', lastReason: expect.stringMatching(/^The volume of store default is 76% full; scheduled backups stop at 75%/) });
  await finishedBackup(gateway, 'on-demand');
  await database.sql.unsafe('drop trigger made_full on stores; drop function made_full()');
  await database.sql`update stores set total_bytes = null, free_bytes = null`;
  await database.sql.unsafe(`create function made_unknown() returns trigger language plpgsql as $$ begin new.total_bytes := null; new.free_bytes := null; return new; end $$;
    create trigger made_unknown before update on stores for each row execute function made_unknown(); update stores set status = status;`);
  expect(await run(id)).toMatchObject({ lastOutcome: 'STARTED', lastReason: null });
  await database.sql.unsafe('drop trigger made_unknown on stores; drop function made_unknown()');
  await finishedBackupsOf(gateway, id);
});

test('a deleted schedule leaves its backups, and what it has started goes on', async () => {
  const id = await makeSchedule(gateway, { name: 'deleted' });
  await run(id);
  await finishedBackupsOf(gateway, id);
  await site.hold('--create');
  await run(id);
  const backups = await backupsOf(gateway, id);
  expect(backups).toHaveLength(2);
  expect(await done(gateway, 'deleteSchedule', { id })).toMatchObject({ deletedId: id });
  await site.release();
  for (const backup of backups) {
    await reached(gateway, 'backup', backup.id, 'SUCCESS');
    const { data } = await gateway.query('query ($id: ID!) { backup(id: $id) { schedule { id } initiatedBy job { status schedule { id } } } }', { id: backup.id });
    expect(data.backup).toEqual({ schedule: null, initiatedBy: 'schedule deleted', job: { status: 'COMPLETED', schedule: null } });
  }
  expect(codesOf(await send(gateway, 'deleteSchedule', { id }))).toEqual([2020]);
});

test('schedules that run, change and go at once never lock each other out', async () => {
  for (let round = 0; round < 10; round += 1) {
    const ids = await Promise.all([5, 6, 7].map((hostId) => makeSchedule(gateway, { name: `rush-${round}-${hostId}`, type: 'DATA', hostId })));
    await makeDue(database.sql, ids);
    await Promise.all(ids.flatMap((id, nth) => [
      send(gateways[0], 'updateSchedule', { id, keepDays: 3 }), send(gateways[1], 'createBackup', { name: `rush-${round}-${nth}`, configurationId: 1, type: 'DATA', hostId: 5 + nth }),
      send(gateways[nth % 2] as GatewayProcess, 'deleteSchedule', { id }),
    ]));
    await until('nothing runs any more', async () => (await database.sql`select from backups where status in ('INITIALIZING', 'IN_PROGRESS')`).length === 0);
  }
  const [row] = await database.sql`select count(*)::int as count from schedules where name like 'rush-%'`;
  expect(row?.['count']).toBe(0);
});

test('a verification schedule reads those backups that were not read for the longest time, ten at a time', async () => {
  const { sql } = database;
  const rows = await sql`select id from backups where status = 'SUCCESS' order by id`;
  expect(rows.length).toBeGreaterThan(12);
  const ids = rows.map(({ id }) => Number(id));
  // The later made, the longer unread; two were never read.
  for (const [nth, id] of ids.entries()) await sql`update backups set time_verified = ${nth < 2 ? null : new Date(Date.UTC(2026, 0, 100 - nth)).toISOString()} where id = ${id}`;
  const id = await makeSchedule(gateway, { name: 'weekly-check', operation: 'VERIFY' });
  expect(await run(id)).toMatchObject({ lastOutcome: 'STARTED', lastReason: null });
  const jobs = async () => (await sql`select backup_id, status, initiated_by from jobs where operation = 'VERIFY' and schedule_id = ${numberOf(id)} order by backup_id`)
    .map((job) => ({ backup: Number(job['backup_id']), status: job['status'], by: job['initiated_by'] }));
  const expected = [...ids.slice(0, 2), ...ids.slice(-8)];
  expect((await jobs()).map(({ backup, by }) => ({ backup, by }))).toEqual(expected.map((backup) => ({ backup, by: 'schedule weekly-check' })));
  await until('all have ended', async () => (await jobs()).every(({ status }) => status === 'COMPLETED'));
  const [unread] = await sql`select count(*)::int as count from backups where id = any(${expected.join().replace(/^(.*)$/, '{$1}')}::bigint[]) and time_verified < now() - interval '1 hour'`;
  expect(unread?.['count']).toBe(0);
});

test('a verification that has not ended keeps the next from being queued', async () => {
  const id = await makeSchedule(gateway, { name: 'overlapping', operation: 'VERIFY' });
  // Another worker has it, which never ends it.
  await database.sql`insert into jobs (job_id, deployment_id, host_id, operation, status, schedule_id, initiated_by, lease_until)
    values ('j0', 1, null, 'VERIFY', 'SUBMITTED', ${numberOf(id)}, 'a test', now() + interval '15 seconds')`;
  expect(await run(id)).toMatchObject({ lastOutcome: 'SKIPPED', lastReason: 'Of the verifications of an earlier run, 1 has not ended.' });
});

test('the schedule of a host that has left the deployment is refused, and can be paused and deleted', async () => {
  const id = await makeSchedule(gateway, { name: 'orphan', type: 'DATA', hostId: 8, cron: RARELY });
  await site.edit((file) => {
    file.hosts = file.hosts.filter((host) => host.id !== 8);
    file.backupConfiguration.dataBackupHosts = [2, 5, 6, 7];
  });
  await gateways[1].stop();
  gateways[1] = await startGatewayProcess({ ...site.options, env: { ...site.options.env, DEPLOY_ON_START: 'true' } });
  expect(await run(id)).toMatchObject({ lastOutcome: 'REFUSED', lastReason: expect.stringContaining('a host that is currently not active') });
  expect(await backupsOf(gateway, id)).toEqual([]);
  expect((await done(gateway, 'updateSchedule', { id, paused: true })).schedule.isPaused).toBe(true);
  await done(gateway, 'deleteSchedule', { id });
});
