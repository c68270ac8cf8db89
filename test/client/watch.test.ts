import { createGatewayClient, GatewayClientError, type GatewayClient, type GatewayClientOptions } from 'backup-gateway/client';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, cursorAt, endOfFeed, feedCursor, flip, positionOf } from '../support/feed.ts';
import { startGateway, until, type TestGateway } from '../support/gateway.ts';
import { WATCH, type Event, type Watched } from '../support/watching.ts';
import { startWay, type Way } from '../support/way.ts';

let gateway: TestGateway;
let database: TestDatabase;
let way: Way;
const clients: GatewayClient[] = [];
beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  way = await startWay(gateway.url);
});
afterEach(async () => {
  vi.unstubAllGlobals();
  for (const client of clients.splice(0)) client.dispose();
  // What has been disposed of leaves no socket behind.
  await until('no socket is left', () => way.open === 0);
});
afterAll(async () => {
  await way?.close();
  await database?.close();
  await gateway?.stop();
});

function newClient(options: Partial<GatewayClientOptions> = {}): GatewayClient {
  const client = createGatewayClient({ url: `${way.url}/graphql`, token: gateway.token, ...options });
  clients.push(client);
  return client;
}

/** What a promise is rejected with. */
const failureOf = async (promise: Promise<unknown>): Promise<GatewayClientError> => {
  const error = await promise.then(() => null, (error: unknown) => error);
  expect(error).toBeInstanceOf(GatewayClientError);
  return error as GatewayClientError;
};

describe('a watch ends', () => {
  test('with the error of the gateway, which has its code', async () => {
    const client = newClient();
    const { number } = await addBackup(database);
    const cursor = await feedCursor(gateway);
    await flip(database, number, 1);
    const next = (variables: object) => failureOf(client.watch<Watched>(WATCH, { ...variables }).next());
    expect(await next({ after: 'nonsense' })).toMatchObject({ code: 'CURSOR_INVALID', message: expect.stringContaining('exactly as this gateway answered it'), errors: [{ extensions: { code: 'CURSOR_INVALID' } }] });
    expect(await next({ id: '999999' })).toMatchObject({ code: 'NOT_FOUND' });
    await database.sql`update feed set floor = ${await endOfFeed(database)}`;
    expect(await next({ after: cursorAt(cursor, positionOf(cursor)) })).toMatchObject({ code: 'CURSOR_EXPIRED', message: expect.stringContaining('Read the list again') });
    expect(await failureOf(client.watch('subscription ($after: String) { nothing(after: $after) { cursor } }').next())).toMatchObject({ message: expect.stringContaining('nothing') });
  });

  test('when it is aborted, while it waits and while its reader is busy, and others of the same socket go on', async () => {
    const before = way.made;
    const client = newClient();
    const [waiting, busy] = [new AbortController(), new AbortController()];
    const { number, id } = await addBackup(database);
    let caughtUp = 0;
    const onCaughtUp = () => { caughtUp += 1; };
    const idle = client.watch<Watched>(WATCH, {}, { signal: waiting.signal, onCaughtUp }).next();
    const stated = client.watch<Watched>(WATCH, { id }, { signal: busy.signal, onCaughtUp });
    expect((await stated.next()).value).toMatchObject({ from: 'SUCCESS', to: 'SUCCESS' });
    const other = client.watch<Watched>(WATCH, {}, { onCaughtUp });
    const live = other.next();
    await until('both who wait are caught up', () => caughtUp >= 2);
    waiting.abort();
    busy.abort();
    expect(await idle).toEqual({ done: true, value: undefined });
    expect(await stated.next()).toEqual({ done: true, value: undefined });
    await flip(database, number, 1);
    expect((await live).value).toMatchObject({ from: 'SUCCESS', to: 'MISSING' });
    expect(way.made - before, 'all on one socket').toBe(1);
    expect(await client.watch<Watched>(WATCH, {}, { signal: waiting.signal }).next()).toMatchObject({ done: true });
  });

  test('when its iterator is returned while it waits, and closes the socket that nobody else uses', async () => {
    const client = newClient();
    const events = client.watch<Watched>(WATCH);
    const next = events.next();
    await until('it is connected', () => way.open === 1);
    await events.return();
    expect(await next).toEqual({ done: true, value: undefined });
    await until('the socket is closed', () => way.open === 0);
  });

  test('when the client is disposed of, though nobody reads it', async () => {
    const client = newClient();
    const { id } = await addBackup(database);
    const events = client.watch<Watched>(WATCH, { id });
    await events.next();
    client.dispose();
    await until('the socket is closed', () => way.open === 0);
    expect(await events.next()).toMatchObject({ done: true });
    expect(await client.watch<Watched>(WATCH, { id }).next()).toMatchObject({ done: true });
  });

  test('when the record can have no more changes', async () => {
    const client = newClient();
    const { number, id } = await addBackup(database);
    const events: Event[] = [];
    const after = await feedCursor(gateway);
    const watching = (async () => { for await (const event of client.watch<Watched>(WATCH, { id, after })) events.push(event); })();
    await database.sql`update backups set status = 'DELETING' where id = ${number}`;
    await database.sql`delete from backups where id = ${number}`;
    await watching;
    expect(events.map(({ to }) => to)).toEqual(['DELETING', null]);
  });

  test('after as many vain retries as it was allowed', async () => {
    const attempts: number[] = [];
    const client = newClient({ url: 'http://127.0.0.1:1' });
    const events = client.watch<Watched>(WATCH, {}, { retries: 2, onLost: (error, attempt) => { attempts.push(attempt); expect(error.code).toBe('UNREACHABLE'); } });
    expect(await failureOf(events.next())).toMatchObject({ code: 'UNREACHABLE', message: expect.stringMatching(/^There is no connection to the gateway \(.+\)\.$/) });
    expect(attempts).toEqual([1, 2]);
  });
});

describe('the token', () => {
  test('that is wrong is refused, and not tried again', async () => {
    let asked = 0;
    const supplied = newClient({ token: () => { asked += 1; return 'wrong'; } });
    expect(await failureOf(supplied.watch<Watched>(WATCH).next())).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(asked).toBe(1);
    expect(await failureOf(newClient({ token: 'wrong' }).watch<Watched>(WATCH).next())).toMatchObject({ code: 'UNAUTHENTICATED' });
    expect(await failureOf(newClient({ url: gateway.url, token: 'wrong' }).query('{ feedCursor }'))).toMatchObject({ code: 'UNAUTHENTICATED' });
  });

  test('whose supplier fails is asked for again', async () => {
    let asked = 0;
    const losses: string[] = [];
    const client = newClient({
      async token() {
        asked += 1;
        if (asked < 3) throw new Error('The login is away.');
        return gateway.token;
      },
    });
    const { id } = await addBackup(database);
    const events = client.watch<Watched>(WATCH, { id }, { onLost: ({ message }) => { losses.push(message); } });
    expect((await events.next()).value).toMatchObject({ to: 'SUCCESS' });
    expect(losses).toEqual(Array.from({ length: 2 }, () => 'There is no connection to the gateway (The login is away.).'));
  });
});

describe('a token', () => {
  test.each(['aborted', 'disposed of'])('that comes only after its watch was %s is used by nobody', async (end) => {
    let asked = 0;
    const late = Promise.withResolvers<string>();
    const client = newClient({ token: () => (asked += 1) === 1 ? late.promise : gateway.token });
    const abort = new AbortController();
    const first = client.watch<Watched>(WATCH, {}, { signal: abort.signal }).next();
    await until('it is asked for', () => asked === 1);
    // Another one that waits for the same goes on with the one that is asked for then.
    const { id } = await addBackup(database);
    const other = client.watch<Watched>(WATCH, { id }).next();
    if (end === 'aborted') abort.abort();
    else client.dispose();
    expect(await first).toEqual({ done: true, value: undefined });
    late.resolve('old');
    if (end === 'disposed of') {
      expect(await other).toMatchObject({ done: true });
      expect(asked).toBe(1);
      return;
    }
    expect((await other).value).toMatchObject({ to: 'SUCCESS' });
    expect((await client.watch<Watched>(WATCH, { id }).next()).value).toMatchObject({ to: 'SUCCESS' });
    expect(asked).toBe(2);
  });

  test('that was asked for by a watch which is over is asked for anew', async () => {
    let asked = 0;
    const late = Promise.withResolvers<string>();
    const client = newClient({ token: () => (asked += 1) === 1 ? late.promise : gateway.token });
    const abort = new AbortController();
    const first = client.watch<Watched>(WATCH, {}, { signal: abort.signal }).next();
    await until('it is asked for', () => asked === 1);
    abort.abort();
    await first;
    late.resolve('old');
    const { id } = await addBackup(database);
    expect((await client.watch<Watched>(WATCH, { id }).next()).value).toMatchObject({ to: 'SUCCESS' });
    expect(asked).toBe(2);
  });
});

describe('a WebSocket that cannot be made', () => {
  test('counts as a failed connection: it is tried again, then told', async () => {
    let made = 0;
    class Refusing extends WebSocket {
      constructor(...[url, protocols]: ConstructorParameters<typeof WebSocket>) {
        made += 1;
        if (made % 4 !== 0) throw new DOMException('The operation is insecure.', 'SecurityError');
        super(url, protocols);
      }
    }
    const losses: string[] = [];
    const client = newClient({ webSocketImpl: Refusing });
    const { id } = await addBackup(database);
    const onLost = ({ code, message }: GatewayClientError) => { losses.push(`${code} ${message}`); };
    expect((await client.watch<Watched>(WATCH, { id }, { onLost }).next()).value).toMatchObject({ to: 'SUCCESS' });
    expect(losses).toEqual(Array.from({ length: 3 }, () => 'UNREACHABLE There is no connection to the gateway (1006 The operation is insecure.).'));
    client.dispose();
    const others = newClient({ webSocketImpl: Refusing }).watch<Watched>(WATCH, { id }, { retries: 1 });
    expect(await failureOf(others.next())).toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('The operation is insecure.') });
    expect(made).toBe(6);
  });
});

describe('what cannot be used is refused at once', () => {
  test('a document that could not be resumed', () => {
    const client = newClient();
    for (const text of ['subscription { backupStatusChanged { cursor } }', 'subscription ($after: String) { backupStatusChanged(after: $after) { to } }']) {
      expect(() => client.watch(text)).toThrow(/declare the variable \$after.*select `cursor`/);
    }
  });

  test('a cursor under another name', async () => {
    const { id } = await addBackup(database);
    const events = newClient().watch('subscription ($id: ID, $after: String) { backupStatusChanged(id: $id, after: $after) { at: cursor } }', { id });
    expect(await failureOf(events.next())).toMatchObject({ code: 'CURSOR_MISSING' });
  });

  test('an address without encryption, on a page with it, but for that of the own machine', () => {
    vi.stubGlobal('location', new URL('https://console.example.org/backups'));
    for (const url of ['http://backups.example.org', 'http://192.0.2.1:4000/graphql']) {
      expect(() => newClient({ url })).toThrow(expect.objectContaining({ code: 'URL_INVALID', message: expect.stringMatching(/^A page of https: cannot reach http:.*https:\.$/) }));
    }
    for (const url of ['/graphql', 'https://backups.example.org', 'http://localhost:4000', 'http://127.0.0.1:4000', 'http://[::1]:4000']) newClient({ url });
    vi.stubGlobal('location', new URL('http://console.example.org/backups'));
    newClient({ url: 'http://backups.example.org' });
  });

  test('an address that is none', () => {
    for (const url of ['nonsense', '127.0.0.1:4000', 'localhost:4000/graphql', '/graphql']) expect(() => newClient({ url })).toThrow(/is not the address of a gateway/);
  });
});

test('a subscription without cursors is begun anew with each connection', async () => {
  const client = newClient({ url: gateway.url });
  const { createBackup } = await client.query<any>('mutation ($input: CreateBackupInput!) { createBackup(input: $input) { ... on CreateBackupPayload { job { jobId } } } }', {
    input: { name: 'progress', type: 'CONFIG', configurationId: '1' },
  });
  const { jobId } = createBackup.job;
  await until('the job has ended', async () => (await client.query<any>('query ($id: ID!) { job(id: $id) { status } }', { id: jobId })).job.status === 'COMPLETED');
  const statuses: string[] = [];
  for await (const { status } of client.watch<{ jobProgressed: { status: string } }>('subscription ($id: ID!) { jobProgressed(id: $id) { status } }', { id: jobId }, { resume: false })) statuses.push(status);
  expect(statuses).toEqual(['COMPLETED']);
});

describe('a query', () => {
  test('answers data, or throws what the gateway says', async () => {
    const client = newClient({ url: gateway.url });
    expect(await client.query('{ feedCursor }')).toEqual({ feedCursor: expect.any(String) });
    expect(await failureOf(client.query('{ nothing }'))).toMatchObject({ message: expect.stringContaining('nothing'), errors: [expect.anything()] });
    const abort = new AbortController();
    const aborted = client.query('{ feedCursor }', {}, { signal: abort.signal });
    abort.abort();
    await expect(aborted).rejects.toMatchObject({ name: 'AbortError' });
  });

  test('tells where no gateway answers', async () => {
    expect(await failureOf(newClient({ url: 'http://127.0.0.1:1' }).query('{ feedCursor }'))).toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('http://127.0.0.1:1/graphql (') });
    expect(await failureOf(newClient({ url: `${gateway.url}/elsewhere` }).query('{ feedCursor }'))).toMatchObject({ code: 'UNREACHABLE' });
  });
});
