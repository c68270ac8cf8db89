/**
 * Retention at work: on two gateways and one database, against restores, pins, kills and itself.
 */
import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from './support/database.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from './support/gateway.ts';
import { codesOf, done, finishedBackup, gone, reached, send } from './support/mutations.ts';
import { plantBackups } from './support/records.ts';
import { finishedBackupsOf, makeSchedule, numberOf, runSchedule } from './support/schedules.ts';

let site: GatedSite;
let gateways: GatewayProcess[] = [];
let gateway: GatewayProcess;
let other: GatewayProcess;
let database: TestDatabase;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGatewayProcess(site.options);
  other = await startGatewayProcess(site.options);
  gateways = [gateway, other];
  database = await openGatewayDatabase(site.options.dataDir);
});
afterAll(async () => {
  await site?.release();
  for (const running of gateways) await running.stop();
  await database?.close();
  await site?.remove();
});
afterEach(async () => {
  await site.release();
  const [row] = await database.sql<{ deadlocks: string }[]>`select deadlocks from pg_stat_database where datname = current_database()`;
  expect(row?.deadlocks).toBe('0');
  const lines = gateways.flatMap((running) => running.log().split('\n')).filter((line) => expectedFailure === '' || !line.includes(expectedFailure));
  expect(lines.filter((line) => /deadlock|job failed|retention could not/.test(line))).toEqual([]);
});

/** The job that a test has made fail. */
let expectedFailure = '';

const age = (id: string, days: number) => database.sql`update backups set time_initiated = now() - make_interval(days => ${days}) where id = ${numberOf(id)}`;
/** Its retention date has passed. */
const expire = (id: string) => database.sql`update backups set retention_date = now() - interval '1 minute' where id = ${numberOf(id)}`;

const JOB = 'id jobId status error messages initiatedBy';
async function showJob(id: string): Promise<any> {
  return (await gateway.query(`query ($id: ID!) { job(id: $id) { ${JOB} } }`, { id })).data.job;
}
/** Applies retention to its end; answers the job. */
async function retain(by = gateway): Promise<any> {
  const { job } = await done(by, 'applyRetention', {});
  await reached(gateway, 'job', job.id, 'COMPLETED');
  return showJob(job.id);
}
async function preview(removed?: boolean): Promise<Record<string, string>> {
  const { data, errors } = await gateway.query(`query ($removed: Boolean) { retentionPreview(first: 100, removed: $removed) { totalCount nodes { backup { name } isRemoved reason } } }`, { removed });
  expect(errors).toBeUndefined();
  expect(data.retentionPreview.totalCount).toBe(data.retentionPreview.nodes.length);
  return Object.fromEntries(data.retentionPreview.nodes.map(({ backup, isRemoved, reason }: any) => [backup.name, `${isRemoved ? 'remove' : 'keep'}: ${reason}`]));
}
/** Whether it is there, and not being removed. */
const isThere = async (id: string): Promise<boolean> => (await gateway.query('query ($id: ID!) { backup(id: $id) { status } }', { id })).data.backup?.status === 'SUCCESS';

test('what the preview says is what the job does, each removal with its reason', async () => {
  const schedule = await makeSchedule(gateway, { name: 'aged', namePattern: 'aged-{n}', keepDays: 3 });
  for (let nth = 0; nth < 4; nth += 1) {
    await runSchedule(gateway, database.sql, schedule);
    await finishedBackupsOf(gateway, schedule);
  }
  const [first, second, third, fourth] = await finishedBackupsOf(gateway, schedule) as any[];
  const [dated, undated] = [await finishedBackup(gateway, 'dated'), await finishedBackup(gateway, 'undated')];
  expect((await done(gateway, 'updateBackup', { id: second.id, keep: true })).backup.id).toBe(second.id);
  for (const [backup, days] of [[first, 10], [second, 9], [third, 8], [fourth, 5]] as const) await age(backup.id, days);
  await age(undated, 900);
  await expire(dated);
  const at = ((await database.sql`select retention_date from backups where id = ${numberOf(dated)}`)[0]?.['retention_date'] as string);
  await plantBackups(database.sql, [{ name: 'failed', store_id: 1, status: 'FAILED', schedule_id: numberOf(schedule), time_initiated: '2026-01-01 00:00:00+00' }]);
  const expected = {
    'aged-1': 'remove: older than the 3 days of schedule aged', 'aged-2': 'keep: pinned', 'aged-3': 'remove: older than the 3 days of schedule aged',
    'aged-4': 'keep: the newest good backup of its schedule', undated: 'keep: made on demand, without a retention date',
    dated: `remove: its retention date ${new Date(at).toISOString()} has passed`, failed: 'remove: older than the 3 days of schedule aged',
  };
  expect(await preview()).toEqual(expected);
  expect(Object.keys(await preview(true)).toSorted()).toEqual(['aged-1', 'aged-3', 'dated', 'failed']);
  expect(Object.keys(await preview(false)).toSorted()).toEqual(['aged-2', 'aged-4', 'undated']);

  const { data: { backup: { contentFilePath } } } = await gateway.query('query ($id: ID!) { backup(id: $id) { contentFilePath } }', { id: first.id });
  expect(existsSync(contentFilePath)).toBe(true);
  const job = await retain();
  expect(job).toMatchObject({ initiatedBy: 'admin', messages: [
    'aged-1: older than the 3 days of schedule aged.', 'aged-3: older than the 3 days of schedule aged.',
    `dated: ${expected.dated.replace('remove: ', '')}.`, 'failed: older than the 3 days of schedule aged.', 'Removed 4 backups, each by a DELETE job of its own.',
  ] });
  for (const { id } of [first, third, { id: dated }]) await gone(gateway, 'backup', id);
  expect(existsSync(contentFilePath)).toBe(false);
  for (const id of [second.id, fourth.id, undated]) expect(await isThere(id)).toBe(true);
  const deletions = await database.sql`select messages, initiated_by from jobs where operation = 'DELETE' order by id`;
  expect(deletions.map((row) => [row['initiated_by'], row['messages']])).toEqual([
    ['retention', '{"Removed by retention: older than the 3 days of schedule aged."}'], ['retention', '{"Removed by retention: older than the 3 days of schedule aged."}'],
    ['retention', `{"Removed by retention: ${expected.dated.replace('remove: ', '')}."}`], ['retention', '{"Removed by retention: older than the 3 days of schedule aged."}'],
  ]);
  expect((await retain()).messages).toEqual(['There was nothing to remove.']);
});

test('the preview pages, newest first', async () => {
  const all = Object.keys(await preview());
  const seen: string[] = [];
  let after: string | null = null;
  do {
    const { data }: any = await gateway.query('query ($after: String) { retentionPreview(first: 2, after: $after) { nodes { backup { name } } pageInfo { hasNextPage endCursor } } }', { after });
    seen.push(...data.retentionPreview.nodes.map(({ backup }: any) => backup.name));
    after = data.retentionPreview.pageInfo.hasNextPage ? data.retentionPreview.pageInfo.endCursor : null;
  } while (after !== null);
  expect(seen).toEqual(all);
  const { data } = await gateway.query('{ last: retentionPreview(last: 1) { nodes { backup { name } } pageInfo { hasPreviousPage hasNextPage } } none: retentionPreview(deploymentId: 99) { totalCount } }');
  expect(data).toEqual({ last: { nodes: [{ backup: { name: all.at(-1) } }], pageInfo: { hasPreviousPage: true, hasNextPage: false } }, none: null });
  expect((await gateway.query('{ retentionPreview(after: "odd") { totalCount nodes { reason } } }')).errors?.[0]?.extensions?.code).toBe('CURSOR_INVALID');
  expect((await gateway.query('{ retentionPreview(first: 101) { totalCount } }')).errors?.[0]?.extensions?.code).toBe('BAD_USER_INPUT');
});

test('a scheduled backup that succeeds lets the old ones of its schedule go', async () => {
  const schedule = await makeSchedule(gateway, { name: 'rolling', keepDays: 1, keepLast: 1 });
  await runSchedule(gateway, database.sql, schedule);
  const [old] = await finishedBackupsOf(gateway, schedule) as any[];
  await age(old.id, 2);
  await runSchedule(gateway, database.sql, schedule);
  await gone(gateway, 'backup', old.id);
  expect(await finishedBackupsOf(gateway, schedule)).toHaveLength(1);
  const [job] = await database.sql`select initiated_by from jobs where operation = 'RETENTION' order by id desc limit 1`;
  expect(job?.['initiated_by']).toBe('retention');
});

test('a pin keeps a backup whose time has passed, until it is taken away', async () => {
  const id = await finishedBackup(gateway, 'pinned');
  await expire(id);
  const pinned = await gateway.query('mutation ($id: ID!) { updateBackup(input: { id: $id, keep: true }) { ... on UpdateBackupPayload { backup { isKept description } } } }', { id });
  expect(pinned.data.updateBackup.backup).toEqual({ isKept: true, description: null });
  await retain();
  expect(await isThere(id)).toBe(true);
  await done(gateway, 'updateBackup', { id, description: 'still pinned', keep: null });
  await retain();
  expect(await isThere(id)).toBe(true);
  await done(gateway, 'updateBackup', { id, keep: false });
  await retain();
  await gone(gateway, 'backup', id);
});

test('a backup that is being restored outlives its time, and goes when the restore has ended', async () => {
  const backupId = await finishedBackup(gateway, 'in-use');
  const { restore } = await done(gateway, 'createRestore', { backupId, groups: ['USERS_CONFIG'] });
  await expire(backupId);
  expect((await preview())['in-use']).toBe('keep: a restore is using it');
  await site.hold('--extract');
  await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
  await retain();
  expect(await isThere(backupId)).toBe(true);
  await site.release();
  await reached(gateway, 'restore', restore.id, 'SUCCESS');
  await retain();
  await gone(gateway, 'backup', backupId);
});

test('a restore and the retention that meet on a backup: one of them wins, never both', async () => {
  const winners = new Set<string>();
  // Homes in on the moment in which they meet, however fast the machine is.
  let delay = 0;
  for (let round = 0; round < 16; round += 1) {
    const backupId = await finishedBackup(gateway, `met-${round}`);
    await expire(backupId);
    const retention = send(gateway, 'applyRetention', {});
    await new Promise((resolve) => { setTimeout(resolve, delay); });
    const restoring = (async () => {
      const created = await send(other, 'createRestore', { backupId, groups: ['USERS_CONFIG'] });
      return codesOf(created).length > 0 ? created : send(other, 'updateRestore', { id: created.restore.id, status: 'REQUESTING' });
    })();
    const [{ job }, restored] = await Promise.all([retention, restoring]);
    await reached(gateway, 'job', job.id, 'COMPLETED');
    if (codesOf(restored).length === 0) {
      winners.add('restore');
      delay += 6;
      await reached(gateway, 'restore', restored.restore.id, 'SUCCESS');
      expect((await showJob(job.id)).messages).toEqual(['There was nothing to remove.']);
      expect(await isThere(backupId)).toBe(true);
      await retain();
    } else {
      winners.add('retention');
      delay = Math.max(0, delay - 4);
      // The backup does not exist, or is no longer successful.
      expect([[1003], [1005]]).toContainEqual(codesOf(restored));
    }
    await gone(gateway, 'backup', backupId);
  }
  expect([...winners].toSorted()).toEqual(['restore', 'retention']);
});

test('a pin and the retention that meet on a backup: it is pinned and stays, or it goes', async () => {
  for (let round = 0; round < 10; round += 1) {
    const id = await finishedBackup(gateway, `pinned-${round}`);
    await expire(id);
    const [{ job }, pinned] = await Promise.all([
      send(gateway, 'applyRetention', {}),
      new Promise((resolve) => { setTimeout(resolve, round * 3); }).then(() => other.query('mutation ($id: ID!) { updateBackup(input: { id: $id, keep: true }) { ... on UpdateBackupPayload { backup { status isKept } } } }', { id })),
    ]);
    await reached(gateway, 'job', job.id, 'COMPLETED');
    // Pinned before the deletion began: it stays.
    if (pinned.data.updateBackup.backup?.status === 'SUCCESS') expect(await isThere(id)).toBe(true);
    await done(gateway, 'updateBackup', { id, keep: false }).catch(() => undefined);
    await retain();
    await gone(gateway, 'backup', id);
  }
});

/** Keeps a transaction open that holds a backup's row; answers how to end it. */
async function holdRow(id: string): Promise<() => Promise<void>> {
  const session = database.session();
  await session.unsafe('begin');
  await session.unsafe(`select from backups where id = ${numberOf(id)} for update`);
  return async () => void await session.unsafe('commit');
}

test('retention is under way once, however often it is asked for', async () => {
  const { sql } = database;
  const [last] = await sql`select coalesce(max(position), 0) as position from transitions`;
  const asked = await Promise.all(Array.from({ length: 30 }, (_, nth) => send(gateways[nth % 2] as GatewayProcess, 'applyRetention', {})));
  for (const { job } of asked) await reached(gateway, 'job', job.id, 'COMPLETED');
  const changes = await sql`select t.to_status from transitions t join jobs j on j.id = t.record_id where t.kind = 'JOB' and j.operation = 'RETENTION' and t.position > ${last?.['position']} order by t.position`;
  let underWay = 0;
  for (const { to_status } of changes) {
    underWay += to_status === 'SUBMITTED' ? 1 : to_status === 'COMPLETED' ? -1 : 0;
    expect(underWay).toBeLessThanOrEqual(1);
  }
  // One that another worker is at is answered to everybody.
  await sql`insert into jobs (job_id, deployment_id, operation, status, initiated_by, lease_until) values ('j1', 1, 'RETENTION', 'SUBMITTED', 'a test', now() + interval '15 seconds')`;
  const answers = await Promise.all(Array.from({ length: 10 }, (_, nth) => done(gateways[nth % 2] as GatewayProcess, 'applyRetention', {})));
  const ids = [...new Set(answers.map(({ job }) => job.id))];
  expect(ids).toHaveLength(1);
  await sql`update jobs set lease_until = null where job_id = 'j1'`;
  await reached(gateway, 'job', ids[0], 'COMPLETED');
});

test('a retention that is cancelled in the middle of a removal removes nothing more', async () => {
  const [one, two] = [await finishedBackup(gateway, 'cancelled-1'), await finishedBackup(gateway, 'cancelled-2')];
  await expire(one);
  await expire(two);
  const release = await holdRow(one);
  try {
    const { job } = await done(gateway, 'applyRetention', {});
    await until('it has begun', async () => (await showJob(job.id)).status === 'EXECUTING');
    expect((await done(gateway, 'cancelJob', { id: job.id })).job.status).toBe('CANCELLING');
    await release();
    await reached(gateway, 'job', job.id, 'CANCELLED');
    expect(await isThere(one) && await isThere(two)).toBe(true);
    await retain();
    await gone(gateway, 'backup', one);
    await gone(gateway, 'backup', two);
  } finally {
    await release();
  }
});

test('of more removals than a job can tell, it tells the first and the number of the others', async () => {
  const schedule = await makeSchedule(gateway, { name: 'many' });
  await plantBackups(database.sql, Array.from({ length: 7 }, (_, nth) => ({ name: `many-${nth}`, store_id: 1, status: 'FAILED', schedule_id: numberOf(schedule), time_initiated: '2026-01-01 00:00:00+00' })));
  // An attempt that died has removed most already.
  const told = Array.from({ length: 88 }, (_, nth) => `gone-${nth}: told.`);
  await database.sql`insert into jobs (job_id, deployment_id, operation, status, initiated_by, messages, result)
    values ('j2', 1, 'RETENTION', 'SUBMITTED', 'a test', ${`{${told.map((text) => `"${text}"`).join()}}`}::text[], '{"removed": 88}'::jsonb)`;
  const [row] = await database.sql`select id from jobs where job_id = 'j2'`;
  const id = Buffer.from(`Job:${row?.['id']}`).toString('base64url');
  await reached(gateway, 'job', id, 'COMPLETED');
  const { messages } = await showJob(id);
  expect(messages).toHaveLength(92);
  expect(messages.slice(0, 88)).toEqual(told);
  expect(messages.slice(88)).toEqual([
    'many-0: older than the 7 days of the backup configuration.', 'many-1: older than the 7 days of the backup configuration.',
    '… and 5 more; the message of each DELETE job says why.', 'Removed 95 backups, each by a DELETE job of its own.',
  ]);
  await until('all are gone', async () => (await database.sql`select from backups where schedule_id = ${numberOf(schedule)}`).length === 0);
});

test('a backup that cannot be removed does not keep the others, and the job says so', async () => {
  const schedule = await makeSchedule(gateway, { name: 'stuck' });
  const rows = ['stuck-0', 'stuck-1', 'stuck-2'].map((name) => ({ name, store_id: 1, status: 'FAILED', schedule_id: numberOf(schedule), time_initiated: '2026-01-01 00:00:00+00' }));
  await plantBackups(database.sql, rows);
  await database.sql.unsafe(`create function stuck() returns trigger language plpgsql as $$ begin raise exception 'stuck'; end $$;
    create trigger stuck before update on backups for each row when (old.name = 'stuck-1') execute function stuck()`);
  const { job } = await done(gateway, 'applyRetention', {});
  await reached(gateway, 'job', job.id, 'FAILED');
  const failed = await showJob(job.id);
  expectedFailure = failed.jobId;
  expect(failed.error).toBe("1 of the backups to remove could not be removed, for an unexpected reason; the worker's log says more. The next RETENTION job tries again.");
  await until('the others are gone', async () => (await database.sql`select from backups where schedule_id = ${numberOf(schedule)}`).length === 1);
  await database.sql.unsafe('drop trigger stuck on backups; drop function stuck()');
  await retain();
  await until('it is gone, too', async () => (await database.sql`select from backups where schedule_id = ${numberOf(schedule)}`).length === 0);
});

test('killed in the middle, it goes on, and removes nothing twice', async () => {
  const schedule = await makeSchedule(gateway, { name: 'killed' });
  const ids = await plantBackups(database.sql, Array.from({ length: 12 }, (_, nth) => ({ name: `killed-${nth}`, store_id: 1, status: 'FAILED', schedule_id: numberOf(schedule), time_initiated: '2026-01-01 00:00:00+00' })));
  await other.stop();
  // One in the middle holds it up.
  const held = Buffer.from(`Backup:${ids[6]}`).toString('base64url');
  const release = await holdRow(held);
  const { job } = await done(gateway, 'applyRetention', {});
  await until('it is in the middle', async () => (await showJob(job.id)).messages.length === 6);
  await gateway.kill();
  await release();
  gateway = await startGatewayProcess(site.options);
  gateways = [gateway];
  await database.sql`update jobs set lease_until = now() - interval '1 second' where lease_until is not null`;
  await reached(gateway, 'job', job.id, 'COMPLETED');
  const { messages } = await showJob(job.id);
  expect(messages).toHaveLength(14);
  expect(messages.filter((text: string) => text.startsWith('killed-'))).toHaveLength(12);
  expect(messages.at(-1)).toBe('Removed 12 backups, each by a DELETE job of its own.');
  await until('all are gone', async () => (await database.sql`select from backups where schedule_id = ${numberOf(schedule)}`).length === 0);
  const [twice] = await database.sql`select count(*)::int as count from transitions where kind = 'BACKUP' and to_status = 'DELETING' and record_id = any(${`{${ids.join()}}`}::bigint[])`;
  expect(twice?.['count']).toBe(12);
});
