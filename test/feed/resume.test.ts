import { rm } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import {
  addBackup, changesInPages, changesInTable, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo, type Change, type Kind,
} from '../support/feed.ts';
import { newDataDir, startGateway, until, type TestGateway } from '../support/gateway.ts';
import { RawSocket } from '../support/socket.ts';

let dataDir: string;
let gateway: TestGateway;
let other: TestGateway;
let database: TestDatabase;
const sockets: RawSocket[] = [];
beforeAll(async () => {
  dataDir = await newDataDir();
  gateway = await startGateway({ dataDir });
  other = await startGateway({ dataDir });
  database = await openGatewayDatabase(dataDir);
});
afterEach(() => sockets.splice(0).forEach(({ socket }) => socket.terminate()));
afterAll(async () => {
  await database?.close();
  await other?.stop();
  await gateway?.stop();
  await rm(dataDir, { recursive: true, force: true });
});

async function open(to = gateway): Promise<RawSocket> {
  const socket = await RawSocket.open(to);
  sockets.push(socket);
  return socket;
}

/** Numbers from 0 to 1, the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** What a client got between two drops of its connection. */
interface Session { kind: Kind; after: number; changes: Change[] }

/**
 * Watches over connections that are dropped after a few changes, or none, and resumed after the last cursor, until the
 * last change has come. `end` resolves with the position of that one.
 */
async function watchWithDrops(random: () => number, kinds: readonly Kind[], id: string | undefined, start: string, end: Promise<number>): Promise<Session[]> {
  const sessions: Session[] = [];
  let last = Infinity;
  const ended = end.then((position) => { last = position; return null; });
  for (let after = start; positionOf(after) < last;) {
    const kind = kinds[Math.floor(random() * kinds.length)] as Kind;
    const socket = await open(random() < 0.5 ? gateway : other);
    const session: Session = { kind, after: positionOf(after), changes: [] };
    sessions.push(session);
    socket.start('watch', subscriptionTo(kind), { id, after });
    for (let wanted = Math.floor(random() * 5); wanted > 0; wanted -= 1) {
      const next = socket.next('watch');
      next.catch(() => undefined);
      let message = await Promise.race([next, ended]);
      if (message === null && (positionOf(after) >= last || kinds.length > 1)) break;
      message ??= await next;
      if (message.type === 'complete') return sessions;
      const { cursor, ...change } = readChange(message);
      after = cursor;
      session.changes.push(change);
    }
    socket.socket.terminate();
    if (last !== Infinity && kinds.length > 1) break;
  }
  return sessions;
}

const CREATE = 'mutation ($name: String!, $type: BackupType!, $host: ID!) { createBackup(input: { name: $name, type: $type, configurationId: 1, hostId: $host }) { ... on CreateBackupPayload { backup { id } job { jobId } } ... on RuleViolations { message } } }';
const DELETE = 'mutation ($id: ID!) { deleteBackup(input: { id: $id }) { ... on DeleteBackupPayload { job { jobId } } ... on RuleViolations { message } } }';

async function createBackup(name: string, type: 'CONFIG' | 'DATA' = 'CONFIG'): Promise<{ id: string; jobId: string }> {
  const { data } = await gateway.query(CREATE, { name, type, host: type === 'CONFIG' ? 1 : 2 });
  if (data.createBackup.backup === undefined) throw new Error(data.createBackup.message);
  return { id: data.createBackup.backup.id, jobId: data.createBackup.job.jobId };
}

const ended = (jobId: string) => until(`${jobId} has ended`, async () => {
  const { data } = await other.query('query ($id: ID!) { job(id: $id) { timeEnded } }', { id: jobId });
  return data.job.timeEnded;
});
const remove = async (id: string): Promise<string> => (await other.query(DELETE, { id })).data.deleteBackup.job.jobId;

test('F4 F9 F18 whoever drops its connection at any point and resumes with its last cursor gets exactly the rows of the table', async () => {
  const start = await feedCursor(gateway);
  const first = await createBackup('first');
  const finished = Promise.withResolvers<void>();
  const lastOf = async (kind: Kind, record?: string) => {
    await finished.promise;
    return (await changesInTable(database, kind)).findLast((change) => record === undefined || change.record === record)?.position ?? 0;
  };
  const random = seeded(20261121);
  const mixed: Kind[] = ['BACKUP', 'RESTORE', 'JOB'];
  const watchers = {
    backups: watchWithDrops(random, ['BACKUP'], undefined, start, lastOf('BACKUP')),
    restores: watchWithDrops(random, ['RESTORE'], undefined, start, lastOf('RESTORE')),
    jobs: watchWithDrops(random, ['JOB'], undefined, start, lastOf('JOB')),
    mixed: watchWithDrops(random, mixed, undefined, start, lastOf('JOB')),
    oneBackup: watchWithDrops(random, ['BACKUP'], first.id, start, lastOf('BACKUP', first.id)),
    oneJob: watchWithDrops(random, ['JOB'], first.jobId, start, lastOf('JOB', first.jobId)),
  };

  const flipped = await addBackup(database);
  const flipping = flip(database, flipped.number, 60, { together: false });
  await ended(first.jobId);
  for (const group of ['CUSTOM_RULES_CONFIG', 'USERS_CONFIG']) {
    const { data } = await other.query('mutation ($id: ID!, $groups: [ContentGroup!]!) { createRestore(input: { backupId: $id, groups: $groups }) { ... on CreateRestorePayload { restore { id } } } }', { id: first.id, groups: [group] });
    const { id } = data.createRestore.restore;
    const requested = await gateway.query('mutation ($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { ... on UpdateRestorePayload { job { jobId } } } }', { id });
    await ended(requested.data.updateRestore.job.jobId);
  }
  for (let round = 1; round <= 3; round += 1) {
    const [config, data] = await Promise.all([createBackup(`config-${round}`), createBackup(`data-${round}`, 'DATA')]);
    // The first is deleted while it runs, or when it has just ended.
    const removal = await remove(config.id);
    await Promise.all([ended(removal), ended(config.jobId), ended(data.jobId)]);
    await ended(await remove(data.id));
  }
  await ended(await remove(first.id));
  await flipping;
  finished.resolve();

  const after = positionOf(start);
  const table = { BACKUP: await changesInTable(database, 'BACKUP', after), RESTORE: await changesInTable(database, 'RESTORE', after), JOB: await changesInTable(database, 'JOB', after) };
  expect(table.BACKUP.length).toBeGreaterThan(80);
  expect(table.RESTORE.length).toBeGreaterThanOrEqual(8);
  const got = async (sessions: Promise<Session[]>) => (await sessions).flatMap(({ changes }) => changes);
  expect(await got(watchers.backups)).toEqual(table.BACKUP);
  expect(await got(watchers.restores)).toEqual(table.RESTORE);
  expect(await got(watchers.jobs)).toEqual(table.JOB);
  expect(await got(watchers.oneBackup)).toEqual(table.BACKUP.filter(({ record }) => record === first.id));
  expect(await got(watchers.oneJob)).toEqual(table.JOB.filter(({ record }) => record === first.jobId));
  expect((await watchers.backups).length).toBeGreaterThan(10);
  // A cursor of one kind serves the others: each session begins with the next row of its own kind.
  for (const session of await watchers.mixed) {
    const expected = table[session.kind].filter(({ position }) => position > session.after).slice(0, session.changes.length);
    expect(session.changes).toEqual(expected);
  }
  for (const kind of mixed) expect(await changesInPages(other, kind, 7, start)).toEqual(table[kind]);
});

describe('transactions that are open at the same time', () => {
  test('F2 are seen in the order of their commits, by who is there and by who comes back', async () => {
    const [one, two] = [await addBackup(database), await addBackup(database)];
    const start = await feedCursor(gateway);
    const live = await open();
    live.start('watch', subscriptionTo('BACKUP'), { after: start });
    const [early, late] = [database.session(), database.session()];
    await early`begin`;
    await early`update backups set status = 'MISSING' where id = ${one.number}`;
    await late`begin`;
    await late`update backups set status = 'MISSING' where id = ${two.number}`;
    await late`commit`;
    const first = readChange(await live.next('watch'));
    expect(first).toMatchObject({ record: two.id, to: 'MISSING' });
    const back = await open(other);
    back.start('watch', subscriptionTo('BACKUP'), { after: first.cursor });
    await early`commit`;
    for (const socket of [live, back]) expect(readChange(await socket.next('watch'))).toMatchObject({ record: one.id, to: 'MISSING' });
    const again = await open();
    again.start('watch', subscriptionTo('BACKUP'), { after: start });
    expect((await readUntil(again, 'watch', await endOfFeed(database))).map(({ record }) => record)).toEqual([two.id, one.id]);
  });

  test('a subscription that begins between them states the present, and misses neither', async () => {
    const one = await addBackup(database);
    const early = database.session();
    await early`begin`;
    await early`update backups set status = 'MISSING' where id = ${one.number}`;
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { id: one.id });
    expect(readChange(await socket.next('watch'))).toMatchObject({ from: 'SUCCESS', to: 'SUCCESS' });
    await early`commit`;
    expect(readChange(await socket.next('watch'))).toMatchObject({ from: 'SUCCESS', to: 'MISSING' });
  });

  test('many at once are numbered as they commit, and a reader meets no smaller number later', async () => {
    const backups = await Promise.all(Array.from({ length: 8 }, () => addBackup(database)));
    const start = await feedCursor(gateway);
    const watching = await Promise.all([open(gateway), open(other)]);
    for (const socket of watching) socket.start('watch', subscriptionTo('BACKUP'), { after: start });
    const writers = backups.map((backup) => ({ sql: database.session(), backup }));
    await Promise.all(writers.map(({ sql, backup }) => flip({ sql }, backup.number, 100, { together: false })));
    const table = await changesInTable(database, 'BACKUP', positionOf(start));
    expect(table).toHaveLength(800);
    for (const socket of watching) expect(await readUntil(socket, 'watch', await endOfFeed(database))).toEqual(table);
    await Promise.all(writers.map(({ sql }) => sql.end()));
  });
});

describe('a list with feedCursor, then a subscription after it', () => {
  const LIST = '{ backups(first: 100, orderBy: { field: ID, direction: DESC }) { nodes { id status } } feedCursor }';

  test('F5 misses nothing while records are added', async () => {
    const adding = (async () => { for (let count = 0; count < 80; count += 1) await addBackup(database); })();
    const sights: { known: Set<string>; socket: RawSocket }[] = [];
    for (let count = 0; count < 12; count += 1) {
      const { data } = await (count % 2 === 0 ? gateway : other).query(LIST);
      const socket = await open(count % 3 === 0 ? gateway : other);
      socket.start('watch', subscriptionTo('BACKUP'), { after: data.feedCursor });
      sights.push({ known: new Set(data.backups.nodes.map(({ id }: { id: string }) => id)), socket });
    }
    await adding;
    const last = await addBackup(database);
    const end = await endOfFeed(database);
    const all = (await database.sql<{ id: string }[]>`select id from backups order by id desc limit 81`).map(({ id }) => Buffer.from(`Backup:${id}`).toString('base64url'));
    for (const { known, socket } of sights) {
      for (const { record } of await readUntil(socket, 'watch', end)) known.add(record);
      expect(known).toContain(last.id);
      expect(all.filter((id) => !known.has(id))).toEqual([]);
    }
  });

  test('misses no change that is committed while the two are read', async () => {
    const backup = await addBackup(database);
    const lock = database.session();
    await lock`begin`;
    await lock`lock table feed in access exclusive mode`;
    const asked = gateway.query(LIST);
    await until('the cursor waits', async () => (await database.sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like '%from feed%'`).length > 0);
    // Whatever of the list does not wait for the cursor has been read when a second request for it is answered.
    await gateway.query('{ backups { nodes { id } } }');
    await flip(database, backup.number, 1);
    await lock`commit`;
    const { data } = await asked;
    const { status } = data.backups.nodes.find(({ id }: { id: string }) => id === backup.id);
    if (status === 'MISSING') return;
    await flip(database, backup.number, 1);
    const socket = await open();
    socket.start('watch', subscriptionTo('BACKUP'), { after: data.feedCursor });
    expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id, to: 'MISSING' });
  });
});

test('F20 what one gateway changes is watched on the other, at once', async () => {
  const socket = await open(other);
  socket.start('watch', subscriptionTo('BACKUP'));
  await socket.live('watch');
  const began = performance.now();
  const backup = await createBackup('on-the-other');
  expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id, from: null, to: 'INITIALIZING' });
  expect(performance.now() - began).toBeLessThan(900);
  await ended(backup.jobId);
});
