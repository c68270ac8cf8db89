import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import {
  addBackup, changesInTable, cursorAt, endOfFeed, feedCursor, flip, positionOf, readChange, readUntil, subscriptionTo, type Kind,
} from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { RawSocket, type Message } from '../support/socket.ts';

let gateway: TestGateway;
let database: TestDatabase;
const sockets: RawSocket[] = [];
/** What has run to its end before the tests. */
const over = { backupId: '', jobId: '', restoreId: '', restoreJobId: '', goneId: '', goneNumber: 0, beginning: '' };

const CREATE = 'mutation ($name: String!) { createBackup(input: { name: $name, type: CONFIG, configurationId: 1 }) { ... on CreateBackupPayload { backup { id } job { id jobId } } } }';
const NEW_RESTORE = 'mutation ($id: ID!) { createRestore(input: { backupId: $id, groups: [CUSTOM_RULES_CONFIG] }) { ... on CreateRestorePayload { restore { id } } } }';
const RUN_RESTORE = 'mutation ($id: ID!) { updateRestore(input: { id: $id, status: REQUESTING }) { ... on UpdateRestorePayload { job { jobId } } } }';

const hasEnded = (jobId: string) => until('the job has ended', async () => (await gateway.query('query ($id: ID!) { job(id: $id) { timeEnded } }', { id: jobId })).data.job.timeEnded);
const createBackup = async (name: string) => (await gateway.query(CREATE, { name })).data.createBackup;
const newRestore = async () => (await gateway.query(NEW_RESTORE, { id: over.backupId })).data.createRestore.restore.id;

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  over.beginning = await feedCursor(gateway);
  const { backup, job } = await createBackup('over');
  Object.assign(over, { backupId: backup.id, jobId: job.jobId });
  await hasEnded(over.jobId);
  over.restoreId = await newRestore();
  over.restoreJobId = (await gateway.query(RUN_RESTORE, { id: over.restoreId })).data.updateRestore.job.jobId;
  await hasEnded(over.restoreJobId);
  const gone = await addBackup(database);
  Object.assign(over, { goneId: gone.id, goneNumber: gone.number });
  await database.sql`update backups set status = 'DELETING' where id = ${gone.number}`;
  await database.sql`delete from backups where id = ${gone.number}`;
});
afterEach(() => sockets.splice(0).forEach(({ socket }) => socket.terminate()));
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

async function watch(kind: Kind, variables: { id?: unknown; after?: string } = {}): Promise<RawSocket> {
  const socket = await RawSocket.open(gateway);
  sockets.push(socket);
  socket.start('watch', subscriptionTo(kind), variables);
  return socket;
}

/** Everything that an operation answers until it is over. */
async function all(socket: RawSocket): Promise<Message[]> {
  const messages: Message[] = [];
  for (;;) {
    const message = await socket.next('watch');
    messages.push(message);
    if (message.type !== 'next') return messages;
  }
}

async function changesOf(socket: RawSocket) {
  const messages = await all(socket);
  expect(messages.at(-1)).toEqual({ id: 'watch', type: 'complete' });
  return messages.slice(0, -1).map((message) => readChange(message));
}

/** With which error an operation ended, which delivered nothing else. */
async function errorOf(socket: RawSocket): Promise<string | undefined> {
  const [first, ...rest] = await all(socket);
  expect(rest.every(({ type }) => type !== 'next')).toBe(true);
  expect(first?.payload?.data ?? null).toBeNull();
  const errors = first?.type === 'error' ? first.payload : first?.payload?.errors;
  expect(errors).toHaveLength(1);
  return errors[0].extensions?.code;
}

const steps = (changes: { from: string | null; to: string | null }[]) => changes.map(({ from, to }) => [from, to]);

describe('F10 with an id and no cursor', () => {
  test('the first event states the present status with a cursor from which one can go on', async () => {
    const backup = await addBackup(database);
    const socket = await watch('BACKUP', { id: backup.id });
    const present = readChange(await socket.next('watch'));
    expect(present).toMatchObject({ record: backup.id, from: 'SUCCESS', to: 'SUCCESS' });
    expect(present.cursor).toBe(await feedCursor(gateway));
    await flip(database, backup.number, 2);
    const later = [readChange(await socket.next('watch')), readChange(await socket.next('watch'))];
    expect(steps(later)).toEqual([['SUCCESS', 'MISSING'], ['MISSING', 'SUCCESS']]);
    const again = await watch('BACKUP', { after: present.cursor });
    expect(await readUntil(again, 'watch', later[1]?.position ?? 0)).toEqual(later.map(({ cursor: _cursor, ...change }) => change));
  });

  test('it names the record as the other events do', async () => {
    expect(await changesOf(await watch('JOB', { id: over.jobId }))).toMatchObject([{ record: over.jobId, from: 'COMPLETED', to: 'COMPLETED' }]);
    const socket = await RawSocket.open(gateway);
    sockets.push(socket);
    socket.start('watch', 'subscription ($id: ID!) { backupStatusChanged(id: $id) { backupId backupName at backup { id status } } }', { id: over.backupId });
    expect((await socket.next('watch')).payload.data.backupStatusChanged).toEqual({
      backupId: over.backupId, backupName: 'over', at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/), backup: { id: over.backupId, status: 'SUCCESS' },
    });
  });

  test('a record is found by its global id, its number, and a job by its jobId', async () => {
    const number = (id: string) => Number(Buffer.from(id, 'base64url').toString().split(':')[1]);
    const [job] = await database.sql<{ id: string }[]>`select id from jobs where job_id = ${over.jobId}`;
    for (const id of [over.jobId, Number(job?.id), String(job?.id), Buffer.from(`Job:${job?.id}`).toString('base64url')]) {
      expect(await changesOf(await watch('JOB', { id }))).toMatchObject([{ record: over.jobId }]);
    }
    for (const id of [over.restoreId, number(over.restoreId)]) expect(await changesOf(await watch('RESTORE', { id }))).toMatchObject([{ record: over.restoreId, to: 'SUCCESS' }]);
  });

  test('an unknown id, a malformed one and one of another type are NOT_FOUND', async () => {
    const strange = ['', ' ', '0', '-1', '1.5', '1e3', 'unknown', '99999999999999999999', '999999999999999', Buffer.from('Backup:9999999999999999').toString('base64url'),
      Buffer.from('Host:1').toString('base64url'), 'j00000000-0000-0000-0000-000000000000', '__proto__'];
    for (const kind of ['BACKUP', 'RESTORE', 'JOB'] as const) {
      for (const id of strange) expect([kind, id, await errorOf(await watch(kind, { id }))]).toEqual([kind, id, 'NOT_FOUND']);
    }
    expect(await errorOf(await watch('BACKUP', { id: over.restoreId }))).toBe('NOT_FOUND');
    expect(await errorOf(await watch('RESTORE', { id: over.backupId }))).toBe('NOT_FOUND');
    expect(await errorOf(await watch('JOB', { id: over.backupId }))).toBe('NOT_FOUND');
    expect(await errorOf(await watch('BACKUP', { id: over.jobId }))).toBe('NOT_FOUND');
    expect(await errorOf(await watch('BACKUP', { id: over.goneId }))).toBe('NOT_FOUND');
    expect(await errorOf(await watch('BACKUP', { id: 'unknown', after: over.beginning }))).toBe('NOT_FOUND');
    expect(await errorOf(await watch('BACKUP', { id: 999_999, after: over.beginning }))).toBe('NOT_FOUND');
  });
});

describe('F11 with an id the stream completes', () => {
  test('when the backup is gone', async () => {
    const backup = await addBackup(database, 'default');
    const socket = await watch('BACKUP', { id: backup.id });
    await socket.next('watch');
    await gateway.query('mutation ($id: ID!) { deleteBackup(input: { id: $id }) { __typename } }', { id: backup.id });
    expect(steps(await changesOf(socket))).toEqual([['SUCCESS', 'DELETING'], ['DELETING', null]]);
  });

  test('when the restore has succeeded, or its record was deleted', async () => {
    const deleted = await newRestore();
    const gone = await watch('RESTORE', { id: deleted });
    await gone.next('watch');
    await gateway.query('mutation ($id: ID!) { deleteRestore(input: { id: $id }) { __typename } }', { id: deleted });
    expect(steps(await changesOf(gone))).toEqual([['PENDING', null]]);
    expect(await errorOf(await watch('RESTORE', { id: deleted }))).toBe('NOT_FOUND');
    expect(steps(await changesOf(await watch('RESTORE', { id: deleted, after: over.beginning })))).toEqual([[null, 'PENDING'], ['PENDING', null]]);

    const run = await newRestore();
    const socket = await watch('RESTORE', { id: run });
    await gateway.query(RUN_RESTORE, { id: run });
    expect((await changesOf(socket)).map(({ to }) => to)).toEqual(['PENDING', 'REQUESTING', 'INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);
  });

  test('when the job has ended', async () => {
    const { job } = await createBackup('to-the-end');
    const changes = await changesOf(await watch('JOB', { id: job.jobId }));
    expect(changes.at(-1)).toMatchObject({ to: 'COMPLETED' });
    expect(changes.every(({ record }) => record === job.jobId)).toBe(true);
  });

  test('at once when all was over before, after the present status or what the cursor has not seen', async () => {
    expect(steps(await changesOf(await watch('JOB', { id: over.jobId })))).toEqual([['COMPLETED', 'COMPLETED']]);
    expect(steps(await changesOf(await watch('RESTORE', { id: over.restoreId })))).toEqual([['SUCCESS', 'SUCCESS']]);
    for (const [kind, id, to] of [['JOB', over.jobId, 'COMPLETED'], ['RESTORE', over.restoreId, 'SUCCESS'], ['BACKUP', over.goneId, null]] as const) {
      const whole = await changesOf(await watch(kind, { id, after: over.beginning }));
      expect(whole.at(0)?.from).toBeNull();
      expect(whole.at(-1)?.to).toBe(to);
      expect(whole.map(({ cursor: _cursor, ...change }) => change)).toEqual((await changesInTable(database, kind)).filter(({ record }) => record === id));
      for (const [seen, { cursor }] of whole.entries()) expect(await changesOf(await watch(kind, { id, after: cursor }))).toEqual(whole.slice(seen + 1));
    }
    expect(await changesOf(await watch('BACKUP', { id: over.goneId, after: await feedCursor(gateway) }))).toEqual([]);
  });
});

test('F10 without id and cursor the stream starts with the next change', async () => {
  const socket = await watch('BACKUP');
  await socket.live('watch');
  const backup = await addBackup(database);
  expect(readChange(await socket.next('watch'))).toMatchObject({ record: backup.id, from: null, to: 'SUCCESS' });
});

describe('jobProgressed', () => {
  const progress = async (id: unknown) => {
    const socket = await RawSocket.open(gateway);
    sockets.push(socket);
    socket.start('watch', 'subscription ($id: ID!) { jobProgressed(id: $id) { jobId status timeEnded progress { bytesDone filesDone percent } backup { status } } }', { id });
    return socket;
  };

  test('states the present, then each move, and completes after the end of the job', async () => {
    const { job } = await createBackup('progressing');
    const messages = await all(await progress(job.id));
    expect(messages.at(-1)?.type).toBe('complete');
    const states = messages.slice(0, -1).map(({ payload }) => payload.data.jobProgressed);
    expect(states[0]).toMatchObject({ jobId: job.jobId, status: expect.stringMatching(/SUBMITTED|EXECUTING/), timeEnded: null });
    expect(states.at(-1)).toMatchObject({ status: 'COMPLETED', timeEnded: expect.any(String), progress: { percent: 100 }, backup: { status: 'SUCCESS' } });
    const done = states.map((state: any) => state.progress?.bytesDone ?? 0);
    expect(done).toEqual(done.toSorted((a: number, b: number) => a - b));
    for (const key of [job.jobId, job.id]) {
      const after = await all(await progress(key));
      expect(after.map(({ type }) => type)).toEqual(['next', 'complete']);
      expect(after[0]?.payload.data.jobProgressed).toEqual(states.at(-1));
    }
  });

  test('an unknown job, a malformed id and one of another type are NOT_FOUND', async () => {
    for (const id of ['unknown', '', 999_999, over.backupId, 'j00000000-0000-0000-0000-000000000000']) expect(await errorOf(await progress(id))).toBe('NOT_FOUND');
  });
});

// Last, because it prunes.
describe('a cursor', () => {
  const LIST = 'query ($after: String) { backupTransitions(first: 1, after: $after) { nodes { cursor } } }';
  const refused = async (cursor: string) => {
    const codes = await Promise.all([
      ...(['BACKUP', 'RESTORE', 'JOB'] as const).map(async (kind) => errorOf(await watch(kind, { after: cursor }))),
      errorOf(await watch('BACKUP', { id: over.backupId, after: cursor })),
      gateway.query(LIST, { after: cursor }).then(({ errors }) => errors?.[0]?.extensions?.code),
    ]);
    expect(new Set(codes).size).toBe(1);
    return codes[0];
  };

  test('F6 that is none of this feed is CURSOR_INVALID', async () => {
    const present = await feedCursor(gateway);
    const text = Buffer.from(present, 'base64url').toString();
    const write = (changed: string) => Buffer.from(changed).toString('base64url');
    for (const cursor of [
      '', ' ', 'garbage', '1', present.slice(1), `${present}=`, `${present}!`, ` ${present}`, present.toLowerCase(), `${present}${present}`,
      write(text.replace(/\/[0-9a-f]{8}\//, '/00000000/')), write(text.replace('feed', 'food')), write(text.replace(/\d+$/, '')), write(text.replace(/\d+$/, '-1')),
      write(text.replace(/\d+$/, '1.5')), write(text.replace(/\d+$/, '01')), write(`${text}\n`), write(text.replace(/\d+$/, '99999999999999999999')),
      cursorAt(present, positionOf(present) + 1), cursorAt(present, Number.MAX_SAFE_INTEGER), (await gateway.query('{ backups(first: 1) { edges { cursor } } }')).data.backups.edges[0].cursor,
    ]) expect([cursor, await refused(cursor)]).toEqual([cursor, 'CURSOR_INVALID']);
  });

  test('F7 from before what is kept is CURSOR_EXPIRED, the last one that is not kept still serves', async () => {
    const backup = await addBackup(database);
    await flip(database, backup.number, 10);
    const end = await endOfFeed(database);
    const present = await feedCursor(gateway);
    const prune = (floor: number) => database.sql.begin(async (sql) => {
      await sql`update feed set floor = ${floor}`;
      await sql`delete from transitions where position <= ${floor}`;
    });
    const floor = end - 4;
    await prune(floor);
    for (const position of [0, 1, floor - 1]) expect([position, await refused(cursorAt(present, position))]).toEqual([position, 'CURSOR_EXPIRED']);
    const socket = await watch('BACKUP', { after: cursorAt(present, floor) });
    expect(await readUntil(socket, 'watch', end)).toEqual(await changesInTable(database, 'BACKUP'));
    expect(await changesInTable(database, 'BACKUP')).toHaveLength(4);

    // Nothing is kept at all: the cursor of the end serves all the same.
    await prune(end);
    expect(await feedCursor(gateway)).toBe(present);
    const atEnd = await watch('BACKUP', { after: present });
    const present2 = await watch('BACKUP', { id: backup.id });
    expect(readChange(await present2.next('watch'))).toMatchObject({ cursor: present, from: 'SUCCESS', to: 'SUCCESS' });
    await flip(database, backup.number, 1);
    expect(readChange(await atEnd.next('watch'))).toMatchObject({ from: 'SUCCESS', to: 'MISSING', position: end + 1 });
    expect(readChange(await present2.next('watch'))).toMatchObject({ from: 'SUCCESS', to: 'MISSING' });
  });
});
