/**
 * createSchedule, updateSchedule, deleteSchedule and applyRetention held against their rules, and what they write.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from './support/database.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { startGateway, until, type TestGateway } from './support/gateway.ts';
import { done, RuleWitness, send, type Broken, type Input } from './support/mutations.ts';
import { makeSchedule, RARELY } from './support/schedules.ts';

let site: GatedSite;
let gateway: TestGateway;
let database: TestDatabase;
const witness = new RuleWitness();
const statements: string[] = [];
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway({ ...site.options, onStatement: (text) => statements.push(text) });
  database = await openGatewayDatabase(site.options.dataDir);
});
afterAll(async () => {
  await gateway?.stop();
  await database?.close();
  await site?.remove();
});

const VALID = { name: 'nightly', operation: 'BACKUP', cron: RARELY, type: 'CONFIG' };
const count = async (): Promise<number> => (await gateway.query('{ schedules { totalCount } }')).data.schedules.totalCount;
/** What the input breaks; nothing is made. */
async function breaks(input: Input, ...broken: Broken[]): Promise<void> {
  const before = await count();
  await witness.expectBroken(gateway, 'createSchedule', { ...VALID, ...input }, ...broken);
  expect(await count()).toBe(before);
}

test('what the input alone shows is told at once', async () => {
  await breaks({ name: '' }, [1002, 'NAME_REQUIRED', 'name']);
  await breaks({ name: 'a'.repeat(101) }, [1003, 'NAME_TOO_LONG', 'name']);
  await breaks({ name: 'a b' }, [1004, 'NAME_INVALID_CHARACTERS', 'name']);
  await breaks({ description: 'd'.repeat(256) }, [1008, 'DESCRIPTION_TOO_LONG', 'description']);
  await breaks({ passcode: 'short' }, [2003, 'PASSCODE_TOO_SHORT', 'passcode']);
  for (const cron of ['', '@daily', '* * * * * *', '0 0 30 2 *', '61 * * * *']) await breaks({ cron }, [2022, 'CRON_INVALID', 'cron']);
  for (const timeZone of ['', '+02:00', 'Europe/Atlantis']) await breaks({ timeZone }, [2023, 'TIME_ZONE_INVALID', 'timeZone']);
  await breaks({ type: null }, [2025, 'TYPE_REQUIRED', 'type']);
  for (const keepDays of [0, -1, 36_501]) await breaks({ keepDays }, [2027, 'KEEP_DAYS_INVALID', 'keepDays']);
  for (const keepLast of [0, -1, 10_001]) await breaks({ keepLast }, [2028, 'KEEP_LAST_INVALID', 'keepLast']);
  await breaks({ name: '', cron: 'x', timeZone: 'x', keepDays: 0, keepLast: 0, hostId: 99 },
    [1002, 'NAME_REQUIRED', 'name'], [2022, 'CRON_INVALID', 'cron'], [2023, 'TIME_ZONE_INVALID', 'timeZone'], [2027, 'KEEP_DAYS_INVALID', 'keepDays'], [2028, 'KEEP_LAST_INVALID', 'keepLast']);
});

test('a schedule that verifies takes nothing of what backups have', async () => {
  const verify = { operation: 'VERIFY', type: null };
  for (const more of [{ type: 'CONFIG' }, { hostId: 1 }, { namePattern: '{n}' }, { description: 'x' }, { passcode: 'long enough' }, { keepDays: 1 }, { keepLast: 1 }]) {
    await breaks({ ...verify, ...more }, [2026, 'NOT_FOR_VERIFICATION', 'operation']);
  }
  await breaks({ ...verify, storeName: 'none' }, [2001, 'STORE_NOT_FOUND', 'storeName']);
});

test('host, store and pattern are looked at as createBackup would', async () => {
  await breaks({ deploymentId: 99 }, [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
  await breaks({ hostId: 99 }, [1009, 'HOST_NOT_FOUND', 'hostId']);
  await breaks({ hostId: 3 }, [1010, 'HOST_NOT_ACTIVE', 'hostId'], [1012, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId']);
  await breaks({ type: 'DATA', hostId: 4 }, [1013, 'HOST_STORES_NO_DATA', 'hostId'], [1014, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId']);
  await breaks({ type: 'DATA', hostId: 9 }, [1014, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId']);
  await breaks({ storeName: 'none' }, [2001, 'STORE_NOT_FOUND', 'storeName']);
  await breaks({ storeName: 'vault' }, [2002, 'PASSCODE_REQUIRED', 'passcode']);
  for (const namePattern of ['', '{weekday}', 'a/b', 'x'.repeat(101)]) await breaks({ namePattern }, [2024, 'NAME_PATTERN_INVALID', 'namePattern']);
  // The pattern that it would have by itself is too long with this name.
  await breaks({ name: 'n'.repeat(100) }, [2024, 'NAME_PATTERN_INVALID', 'namePattern']);
});

test('a schedule is made as it was asked for, and shown so', async () => {
  const id = await makeSchedule(gateway, { name: 'whole', cron: ' 30 2 * * 1-5 ', timeZone: 'Europe/Berlin', type: 'DATA', hostId: 5, storeName: 'default', namePattern: '{host}.{n}',
    description: 'why', keepDays: 30, keepLast: 5, paused: true });
  const { data } = await gateway.query(`query ($id: ID!) { schedule(id: $id) { id databaseId deployment { name } name operation cron timeZone isPaused nextRun upcomingRuns lastRun lastOutcome lastReason
    type host { databaseId } store { name } namePattern description isEncrypted keepDays keepLast createdBy } node(id: $id) { __typename id } }`, { id });
  expect(data.node).toEqual({ __typename: 'Schedule', id });
  expect(data.schedule).toEqual({
    id, databaseId: expect.any(Number), deployment: { name: 'test' }, name: 'whole', operation: 'BACKUP', cron: '30 2 * * 1-5', timeZone: 'Europe/Berlin', isPaused: true,
    nextRun: null, upcomingRuns: [], lastRun: null, lastOutcome: null, lastReason: null, type: 'DATA', host: { databaseId: 5 }, store: { name: 'default' },
    namePattern: '{host}.{n}', description: 'why', isEncrypted: false, keepDays: 30, keepLast: 5, createdBy: 'admin',
  });
  await breaks({ name: 'whole' }, [2021, 'SCHEDULE_NAME_NOT_UNIQUE', 'name']);
});

test('the runs to come are shown in time, as many as are asked for', async () => {
  const id = await makeSchedule(gateway, { name: 'plotted', timeZone: 'Asia/Kolkata' });
  const runs = async (first: number | null) => (await gateway.query('query ($id: ID!, $first: Int) { schedule(id: $id) { nextRun upcomingRuns(first: $first) } }', { id, first }));
  expect((await runs(2)).data.schedule).toEqual({ nextRun: '2028-02-28T18:30:00.000Z', upcomingRuns: ['2028-02-28T18:30:00.000Z', '2032-02-28T18:30:00.000Z'] });
  expect((await runs(0)).data.schedule.upcomingRuns).toEqual([]);
  expect((await runs(null)).data.schedule.upcomingRuns).toHaveLength(5);
  for (const first of [-1, 101]) expect((await runs(first)).errors?.[0]?.extensions?.code).toBe('BAD_USER_INPUT');
});

test('schedules are listed in the order of their making, page by page', async () => {
  const { data } = await gateway.query('{ all: schedules { totalCount nodes { name } } first: schedules(first: 1) { pageInfo { hasNextPage endCursor } nodes { name } } }');
  expect(data.all).toEqual({ totalCount: 2, nodes: [{ name: 'whole' }, { name: 'plotted' }] });
  const rest = await gateway.query('query ($after: String) { schedules(after: $after) { nodes { name } } }', { after: data.first.pageInfo.endCursor });
  expect([data.first, rest.data.schedules.nodes]).toMatchObject([{ pageInfo: { hasNextPage: true }, nodes: [{ name: 'whole' }] }, [{ name: 'plotted' }]]);
});

test('a change is held against the same rules, and against what there is', async () => {
  const id = await makeSchedule(gateway, { name: 'changing', type: 'DATA', hostId: 5 });
  const check = await makeSchedule(gateway, { name: 'checking', operation: 'VERIFY' });
  const broken = (input: Input, ...rules: Broken[]) => witness.expectBroken(gateway, 'updateSchedule', { id, ...input }, ...rules);
  for (const unknown of ['99', 'garbage']) await broken({ id: unknown, paused: true }, [2020, 'SCHEDULE_NOT_FOUND', 'id']);
  await broken({ name: '' }, [1002, 'NAME_REQUIRED', 'name']);
  await broken({ name: 'a'.repeat(101) }, [1003, 'NAME_TOO_LONG', 'name']);
  await broken({ name: 'ä' }, [1004, 'NAME_INVALID_CHARACTERS', 'name']);
  await broken({ description: 'd'.repeat(256) }, [1008, 'DESCRIPTION_TOO_LONG', 'description']);
  await broken({ hostId: 99 }, [1009, 'HOST_NOT_FOUND', 'hostId']);
  await broken({ hostId: 3 }, [1010, 'HOST_NOT_ACTIVE', 'hostId'], [1013, 'HOST_STORES_NO_DATA', 'hostId'], [1014, 'HOST_NOT_CONFIGURED_FOR_DATA', 'hostId']);
  await broken({ storeName: 'none' }, [2001, 'STORE_NOT_FOUND', 'storeName']);
  await broken({ storeName: 'vault' }, [2002, 'PASSCODE_REQUIRED', 'passcode']);
  await broken({ passcode: 'short' }, [2003, 'PASSCODE_TOO_SHORT', 'passcode']);
  await broken({ name: 'whole' }, [2021, 'SCHEDULE_NAME_NOT_UNIQUE', 'name']);
  await broken({ cron: 'never' }, [2022, 'CRON_INVALID', 'cron']);
  await broken({ timeZone: 'here' }, [2023, 'TIME_ZONE_INVALID', 'timeZone']);
  await broken({ namePattern: '{nothing}' }, [2024, 'NAME_PATTERN_INVALID', 'namePattern']);
  await broken({ name: 'n'.repeat(100) }, [2024, 'NAME_PATTERN_INVALID', 'namePattern']);
  await broken({ keepDays: 0 }, [2027, 'KEEP_DAYS_INVALID', 'keepDays']);
  await broken({ keepLast: 0 }, [2028, 'KEEP_LAST_INVALID', 'keepLast']);
  for (const more of [{ hostId: 5 }, { namePattern: '{n}' }, { passcode: 'long enough' }, { keepDays: 1 }]) await broken({ id: check, ...more }, [2026, 'NOT_FOR_VERIFICATION']);
  const console = await makeSchedule(gateway, { name: 'console' });
  await broken({ id: console, hostId: 5 }, [1012, 'CONFIG_BACKUP_NEEDS_CONSOLE', 'hostId']);
  // Its own name is free for it.
  await done(gateway, 'updateSchedule', { id, name: 'changing' });
});

test('a change leaves what it does not name, and null clears', async () => {
  const id = await makeSchedule(gateway, { name: 'partly', cron: '0 2 29 2 *', timeZone: 'UTC', type: 'DATA', hostId: 5, storeName: 'default', namePattern: '{n}', description: 'd', keepDays: 9, keepLast: 3 });
  const change = async (input: Input) => (await done(gateway, 'updateSchedule', { id, ...input })).schedule;
  const before = await change({});
  expect(before).toMatchObject({ name: 'partly', nextRun: '2028-02-29T02:00:00.000Z', namePattern: '{n}', description: 'd', keepDays: 9, keepLast: 3, isEncrypted: false, host: { databaseId: 5 }, store: { name: 'default' } });
  expect(await change({ name: null, cron: null, timeZone: null, paused: null })).toEqual(before);
  expect(await change({ timeZone: 'Asia/Kolkata' })).toEqual({ ...before, timeZone: 'Asia/Kolkata', nextRun: '2028-02-28T20:30:00.000Z' });
  expect(await change({ cron: '0 3 29 2 *' })).toMatchObject({ cron: '0 3 29 2 *', nextRun: '2028-02-28T21:30:00.000Z' });
  expect(await change({ passcode: 'long enough', storeName: 'vault' })).toMatchObject({ isEncrypted: true, store: { name: 'vault' } });
  await witness.expectBroken(gateway, 'updateSchedule', { id, passcode: null }, [2002, 'PASSCODE_REQUIRED', 'passcode']);
  expect(await change({ passcode: null, storeName: null, description: null, keepDays: null, keepLast: null, namePattern: null, hostId: 2 }))
    .toMatchObject({ isEncrypted: false, store: null, description: null, keepDays: null, keepLast: null, namePattern: '{schedule}-{date}-{time}', host: { databaseId: 2 } });
});

test('a schedule whose host is out of service for a time can be paused and renamed', async () => {
  const id = await makeSchedule(gateway, { name: 'waiting', type: 'DATA', hostId: 6 });
  await done(gateway, 'stageHost', { id: 6, status: 'NEW' });
  await done(gateway, 'deployStagedChanges', {});
  expect((await done(gateway, 'updateSchedule', { id, paused: true, name: 'waiting-still' })).schedule).toMatchObject({ isPaused: true, name: 'waiting-still' });
  await done(gateway, 'stageHost', { id: 6, status: 'ACTIVE' });
  await done(gateway, 'deployStagedChanges', {});
});

test('of ten schedules of one name made at once one is, and a deleted one is deleted once', async () => {
  const results = await Promise.all(Array.from({ length: 10 }, () => send(gateway, 'createSchedule', { ...VALID, name: 'raced' })));
  expect(results.filter((result) => result.violations === undefined)).toHaveLength(1);
  const id = results.find((result) => result.violations === undefined).schedule.id;
  const deletions = await Promise.all(Array.from({ length: 10 }, () => send(gateway, 'deleteSchedule', { id })));
  expect(deletions.filter((result) => result.violations === undefined)).toEqual([expect.objectContaining({ deletedId: id })]);
  await witness.expectBroken(gateway, 'deleteSchedule', { id }, [2020, 'SCHEDULE_NOT_FOUND', 'id']);
  await witness.expectBroken(gateway, 'updateSchedule', { id, paused: true }, [2020, 'SCHEDULE_NOT_FOUND', 'id']);
  expect((await gateway.query('query ($id: ID!) { schedule(id: $id) { id } node(id: $id) { id } }', { id })).data).toEqual({ schedule: null, node: null });
});

test('retention of a deployment that does not exist is refused', async () => {
  for (const deploymentId of ['99', 'garbage']) await witness.expectBroken(gateway, 'applyRetention', { deploymentId }, [2012, 'DEPLOYMENT_NOT_FOUND', 'deploymentId']);
});

test('a clock whose next run is far away asks the database for nothing while the worker looks for jobs', async () => {
  const looks = () => statements.filter((text) => text.includes('from "schedules"')).length;
  const claims = () => statements.filter((text) => text.startsWith('update "jobs"')).length;
  // What the tests before have changed has been looked at.
  await until('the clocks have looked', () => looks() > 0);
  statements.length = 0;
  // Three rounds of four lanes each, a second apart.
  await until('the worker has looked for jobs', () => claims() >= 12);
  // The look that comes every minute may fall into them.
  expect(looks()).toBeLessThanOrEqual(2);
});

test('every rule of these mutations has been seen', () => {
  witness.expectAllSeen('createSchedule', 'updateSchedule', 'deleteSchedule', 'applyRetention');
});
