import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openGatewayDatabase, routeTo, type TestDatabase } from './support/database.ts';
import { addBackup } from './support/feed.ts';
import { newEmptyDataDir, startGateway, startGatewayProcess, until, type GatewayOptions, type GatewayProcess, type TestGateway } from './support/gateway.ts';
import { metricsOf } from './support/metrics.ts';
import { RawSocket } from './support/socket.ts';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';

let gateway: TestGateway;
let database: TestDatabase;
/** What a test started, ended after it whatever happened; the newest first. */
const left: (() => unknown)[] = [];
beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
});
afterEach(async () => {
  for (const end of left.splice(0).reverse()) await end();
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

const WATCH = 'subscription { backupStatusChanged { backupName to } }';
const bearer = () => ({ authorization: `Bearer ${gateway.token}` });

interface Reply { status: number; headers: IncomingHttpHeaders; bytes: Buffer; json: any }

/** A request as it is, without the help of fetch. */
async function send(path: string, options: { method?: string; headers?: Record<string, string>; body?: string | Buffer; to?: TestGateway } = {}): Promise<Reply> {
  const request = httpRequest(`${(options.to ?? gateway).url}${path}`, { method: options.method ?? 'GET', headers: options.headers });
  request.end(options.body);
  const [response] = await once(request, 'response');
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  let json: unknown;
  try { json = JSON.parse(bytes.toString()); } catch { json = undefined; }
  return { status: response.statusCode, headers: response.headers, bytes, json };
}

const post = (body: unknown, headers: Record<string, string> = bearer()): Promise<Reply> =>
  send('/graphql', { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: typeof body === 'string' ? body : JSON.stringify(body) });

const codeOf = (answer: any): string | undefined => answer?.errors?.[0]?.extensions?.code;

async function open(params?: unknown): Promise<RawSocket> {
  const socket = await RawSocket.open(gateway, params);
  left.push(() => socket.socket.terminate());
  return socket;
}

describe('on one socket', () => {
  test('F17 a faulty operation is answered by itself, and the others go on', async () => {
    const socket = await open();
    socket.start('watch', WATCH);
    const nested = (depth: number) => `{${'a{'.repeat(depth)}b${'}'.repeat(depth)}}`;
    const deepValue = `${'['.repeat(200_000)}${']'.repeat(200_000)}`;
    for (const [query, variables] of [
      ['subscription {'],
      [''],
      ['{ unknown }'],
      ['subscription { backupStatusChanged { unknown } }'],
      ['query ($id: ID!) { backup(id: $id) { id } }', {}],
      ['subscription ($id: ID!) { jobProgressed(id: $id) { id } }', { id: { not: 'an id' } }],
      ['query A { feedCursor } query B { feedCursor }'],
      ['fragment F on Query { feedCursor }'],
      ['subscription { jobProgressed(id: "unknown") { id } }'],
      ['subscription { backupStatusChanged(after: "strange") { to } }'],
      ['subscription { a: backupStatusChanged { to } b: backupStatusChanged { to } }'],
      ['subscription ($on: Boolean!) { backupStatusChanged @include(if: $on) { to } }', { on: true }],
      ['subscription { backupStatusChanged @skip(if: true) { to } }'],
      ['query ($on: Boolean!) { feedCursor @include(if: $on) }'],
      ...[1_000, 2_000, 4_000, 8_000, 16_000, 50_000].map((depth) => [nested(depth)]),
    ] as [string, object?][]) {
      const answer = await socket.run('faulty', query, variables);
      expect(answer.errors, query.slice(0, 100)).toEqual(expect.arrayContaining([expect.objectContaining({ message: expect.any(String) })]));
    }
    socket.socket.send(`{"id":"deep","type":"subscribe","payload":{"query":"query ($a: ID) { feedCursor backup(id: $a) { id } }","variables":{"b":${deepValue}}}}`);
    expect((await socket.next('deep')).type).toMatch(/next|error/);
    expect(socket.isOpen).toBe(true);
    const { name } = await addBackup(database);
    expect(await socket.next('watch')).toEqual({ id: 'watch', type: 'next', payload: { data: { backupStatusChanged: { backupName: name, to: 'SUCCESS' } } } });
  });

  test.for([
    ['a wrong token', { authorization: 'Bearer wrong' }], ['no token', {}], ['no parameters', undefined], ['a token that is none', { authorization: 7, sec: null }],
  ] as [string, unknown][])('%s is acknowledged, refused for each operation, and leaves the socket open', async ([, params]) => {
    const socket = await RawSocket.open(gateway, params ?? null);
    left.push(() => socket.socket.terminate());
    for (const query of ['{ feedCursor }', WATCH, 'mutation { cancelJob(input: { id: 1 }) { __typename } }', 'not GraphQL']) {
      expect(codeOf(await socket.run('refused', query))).toBe('UNAUTHENTICATED');
    }
    expect(socket.isOpen).toBe(true);
  });

  test('queries and mutations work as over HTTP', async () => {
    const socket = await open({ SEC: gateway.token });
    expect(await socket.run('query', '{ deployment { name } }')).toEqual({ data: { deployment: { name: expect.any(String) } } });
    const answer = await socket.run('mutation', `mutation ($id: ID!) { deleteBackup(input: { id: $id }) { ... on RuleViolations { violations { rule } } } }`, { id: 'none' });
    expect(answer).toEqual({ data: { deleteBackup: { violations: [{ rule: 'BACKUP_NOT_FOUND' }] } } });
  });
});

describe('over HTTP', () => {
  const body = { query: '{ deployment { name } }' };

  test('a request without a good token is answered 401 UNAUTHENTICATED, as JSON', async () => {
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: gateway.token }, { sec: 'wrong' }, { sec: '' }] as Record<string, string>[]) {
      const reply = await post(body, headers);
      expect(reply.status).toBe(401);
      expect(reply.headers['content-type']).toContain('application/json');
      expect(reply.json).toEqual({ errors: [{ message: expect.stringContaining('token'), extensions: { code: 'UNAUTHENTICATED' } }] });
    }
  });

  test('the token is taken from Authorization or from SEC', async () => {
    for (const headers of [bearer(), { authorization: `bearer  ${gateway.token}` }, { SEC: gateway.token }] as Record<string, string>[]) {
      expect((await post(body, headers)).json).toEqual({ data: { deployment: { name: expect.any(String) } } });
    }
  });

  test('GET serves queries, and refuses mutations', async () => {
    const get = (query: string) => send(`/graphql?query=${encodeURIComponent(query)}`, { headers: { ...bearer(), accept: 'application/json' } });
    expect((await get(body.query)).json).toEqual({ data: { deployment: { name: expect.any(String) } } });
    const reply = await get('mutation { setRebalancing(input: { rebalancing: true }) { __typename } }');
    expect(reply.status).toBe(405);
    expect(reply.json.errors).toHaveLength(1);
    expect((await get('{ deployment { isRebalancing } }')).json).toEqual({ data: { deployment: { isRebalancing: false } } });
  });

  test('what is longer than a request may be is answered 413, whether it says so beforehand or not', async () => {
    const long = JSON.stringify({ query: `{ feedCursor } # ${'x'.repeat(1024 * 1024)}` });
    const declared = await post(long);
    expect([declared.status, codeOf(declared.json)]).toEqual([413, 'REQUEST_TOO_LARGE']);
    const streamed = await send('/graphql', { method: 'POST', headers: { ...bearer(), 'content-type': 'application/json', 'transfer-encoding': 'chunked' }, body: long });
    expect([streamed.status, codeOf(streamed.json)]).toEqual([413, 'REQUEST_TOO_LARGE']);
    const short = await send('/graphql', { method: 'POST', headers: { ...bearer(), 'content-type': 'application/json', 'transfer-encoding': 'chunked' }, body: JSON.stringify(body) });
    expect(short.json).toEqual({ data: { deployment: { name: expect.any(String) } } });
  });

  test('an unknown path is answered 404, and the root leads to the endpoint', async () => {
    expect((await send('/nothing')).status).toBe(404);
    expect((await send('/graphql/more', { headers: bearer() })).status).toBe(404);
    expect(await send('/')).toMatchObject({ status: 302, headers: { location: '/graphql' } });
  });

  test('what is no GraphQL request is answered as a fault of the request', async () => {
    for (const bad of ['', '{', '[]', '"text"', 'null', '{}', '{"query":7}', '{"query":"{ feedCursor }","variables":"text"}', '{"query":"{ feedCursor }","variables":[1]}']) {
      const reply = await post(bad);
      // 200 as well: what is well-formed JSON is so answered to a client that accepts application/json.
      expect([bad, reply.status]).toEqual([bad, expect.toSatisfy((status) => status === 200 || (status >= 400 && status < 500))]);
      expect(reply.json?.errors, bad).toHaveLength(1);
    }
  });

  test('documents and variables nested beyond reason are refused, and the gateway lives on', async () => {
    const deep = await post({ query: `{${'a{'.repeat(100_000)}b${'}'.repeat(100_000)}}` });
    expect(deep.json.errors).toHaveLength(1);
    const value = await post(`{"query":"{ feedCursor }","variables":{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}}`);
    expect(value.json).toBeDefined();
    expect((await post(body)).status).toBe(200);
  });

  test('a page that asks for HTML gets GraphiQL without a token, compressed and cached as the browser asks', async () => {
    const page = await send('/graphql', { headers: { accept: 'text/html,*/*' } });
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toContain('text/html');
    expect(page.bytes.toString()).toContain('GraphiQL');
    expect(page.bytes.toString()).not.toContain(gateway.token);
    const packed = await send('/graphql', { headers: { accept: 'text/html', 'accept-encoding': 'br, gzip' } });
    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(gunzipSync(packed.bytes).equals(page.bytes)).toBe(true);
    const cached = await send('/graphql', { headers: { accept: 'text/html', 'if-none-match': String(page.headers['etag']) } });
    expect([cached.status, cached.bytes.length]).toEqual([304, 0]);
  });

  test('a page from another origin may ask with a token, and may read every answer', async () => {
    const origin = 'https://screen.example';
    const preflight = await send('/graphql', { method: 'OPTIONS', headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,content-type' } });
    expect(preflight.status).toBe(204);
    expect(preflight.headers['access-control-allow-origin']).toBe(origin);
    expect(preflight.headers['access-control-allow-methods']).toContain('POST');
    expect(preflight.headers['access-control-allow-headers']).toContain('authorization');
    const answers = [
      await post(body, { ...bearer(), origin }),
      await post(body, { origin }),
      await post(`${' '.repeat(1024 * 1024)}{}`, { ...bearer(), origin }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 401, 413]);
    for (const { headers } of answers) expect(['*', origin]).toContain(headers['access-control-allow-origin']);
  });

  test('a subscription comes as Server-Sent Events, and is let go when the client is gone', async () => {
    const { name: first } = await addBackup(database);
    const abort = new AbortController();
    left.push(() => abort.abort());
    const response = await fetch(`${gateway.url}/graphql`, {
      method: 'POST', signal: abort.signal, headers: { ...bearer(), accept: 'text/event-stream', 'content-type': 'application/json' },
      body: JSON.stringify({ query: 'subscription ($id: ID!) { backupStatusChanged(id: $id) { backupName from to } }', variables: { id: String(await idOf(first)) } }),
    });
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    let text = '';
    const decoder = new TextDecoder();
    for await (const piece of response.body as ReadableStream<Uint8Array>) {
      text += decoder.decode(piece, { stream: true });
      if (/data: .*\n\n/.test(text)) break;
    }
    expect(text).toContain(`data: ${JSON.stringify({ data: { backupStatusChanged: { backupName: first, from: 'SUCCESS', to: 'SUCCESS' } } })}`);
  });

  test('an unexpected error shows no internals', async () => {
    await database.sql`alter table stores rename to stores_away`;
    left.push(() => database.sql`alter table stores_away rename to stores`);
    const query = '{ backupStores { nodes { name } } }';
    const socket = await open();
    for (const answer of [(await post({ query })).json, await socket.run('query', query)]) {
      expect(answer.errors).toHaveLength(1);
      expect(answer.errors[0]).toMatchObject({ message: 'Something went wrong in the gateway; its log says more.', extensions: { code: 'INTERNAL_SERVER_ERROR' } });
      expect(JSON.stringify(answer)).not.toMatch(/stores_away|relation|select |postgres|node_modules|\.ts/i);
    }
  });
});

const idOf = async (name: string): Promise<number> => Number((await database.sql<{ id: string }[]>`select id from backups where name = ${name}`)[0]?.id);

describe('on both transports', () => {
  const both = async (query: string, variables?: object) => {
    const socket = await open();
    return [(await post({ query, variables })).json, await socket.run('both', query, variables)];
  };
  const byName = 'query ($name: String!) { backupByName(name: $name) { id } }';

  test('the character NUL is refused as bad input, in variables and in literals', async () => {
    for (const [query, variables] of [
      [byName, { name: 'a\0b' }],
      ['query ($filter: BackupFilter) { backups(filter: $filter) { totalCount } }', { filter: { nameContains: '\0' } }],
      ['{ backupByName(name: "a\\u0000b") { id } }'],
      ['{ backupByName(name: "a\\u{0}b") { id } }'],
      ['subscription { backupStatusChanged(after: "\\u0000") { to } }'],
      ['subscription ($id: ID) { jobStatusChanged(id: $id) { to } }', { id: '\0' }],
    ] as [string, object?][]) {
      for (const answer of await both(query, variables)) expect([query, codeOf(answer)]).toEqual([query, 'BAD_USER_INPUT']);
    }
  });

  test('a text that only looks like the escape of NUL is taken', async () => {
    for (const query of ['{ backupByName(name: "a\\\\u0000b") { id } }', '{ backupByName(name: """a\\u0000b""") { id } }']) {
      for (const answer of await both(query)) expect(answer).toEqual({ data: { backupByName: null } });
    }
  });
});

describe('what is no good HTTP', () => {
  /** Sends bytes and gives what comes back until the connection ends. */
  const exchange = async (text: string): Promise<string> => {
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    left.push(() => socket.destroy());
    socket.write(text);
    let answer = '';
    for await (const piece of socket.setEncoding('utf8')) {
      answer += piece;
      if (answer.includes('\r\n\r\n')) break;
    }
    return answer;
  };

  test.for(['//', '///graphql', 'http://[', '/graphql?%', '\\\\'])('the target %s harms neither a request nor an upgrade', async (target) => {
    const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
    expect(await exchange(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`)).toMatch(/^HTTP\/1\.1 4\d\d/);
    expect(await exchange(`GET ${target} HTTP/1.1\r\nHost: x\r\n${upgrade}\r\n`)).toMatch(/^HTTP\/1\.1 (400|404|101)/);
    expect((await send('/healthz')).status).toBe(200);
  });

  test('a strange Host header is answered', async () => {
    for (const host of ['a b', '[', 'x:y', '']) {
      const answer = await exchange(`POST /graphql HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${gateway.token}\r\nContent-Type: application/json\r\nContent-Length: 24\r\n\r\n{"query":"{feedCursor}"}`);
      expect([host, answer]).toEqual([host, expect.stringMatching(/^HTTP\/1\.1 (200|400)/)]);
    }
  });

  test('a client that leaves in the middle of an upgrade harms nobody', async () => {
    const { hostname, port } = new URL(gateway.url);
    for (const path of ['/nothing', '/graphql']) {
      const socket = connect(Number(port), hostname);
      await once(socket, 'connect');
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`, () => socket.resetAndDestroy());
      await once(socket, 'close');
    }
    expect((await send('/healthz')).status).toBe(200);
  });
});

describe('health', () => {
  test('readyz tells when the database is away and when it is back, healthz stays', async () => {
    const route = await routeTo(database);
    const dataDir = await newEmptyDataDir();
    left.push(() => rm(dataDir, { recursive: true, force: true }), () => route.close());
    const routed = await startGateway({ dataDir, env: { DATABASE_URL: route.url, SECRET_KEY: (await readFile(join(gateway.dataDir, 'secret-key'), 'utf8')).trim() } });
    left.push(() => routed.stop());
    expect((await send('/readyz', { to: routed })).json).toEqual({ status: 'ready' });
    route.cut();
    const away = await send('/readyz', { to: routed });
    expect([away.status, away.json]).toEqual([503, { status: 'not ready', reason: expect.any(String) }]);
    expect((await send('/healthz', { to: routed })).json).toEqual({ status: 'alive' });
    const scraped = new Map(await metricsOf(routed));
    expect([scraped.get('backup_gateway_database_up'), scraped.get('backup_gateway_websockets')]).toEqual([0, 0]);
    const answer = await routed.query('{ backups { totalCount } }');
    expect(answer.errors).toMatchObject([{ message: 'Something went wrong in the gateway; its log says more.' }]);
    await route.mend();
    await until('it is ready again', async () => (await send('/readyz', { to: routed })).status === 200);
    expect((await routed.query('{ backups { totalCount } }')).errors).toBeUndefined();
  });
});

describe('SIGTERM', () => {
  const startProcess = async (options?: GatewayOptions): Promise<GatewayProcess> => {
    const process = await startGatewayProcess(options);
    left.push(() => process.stop());
    return process;
  };

  test('F15 closes sockets with 1012, lets requests end, stops Postgres and exits 0 within seconds', async () => {
    const child = await startProcess();
    const socket = await RawSocket.open(child);
    socket.start('watch', WATCH);
    await socket.run('sync', '{ feedCursor }');
    // A client that never answers the close, and one that reads Server-Sent Events, hold nothing up.
    const deaf = await RawSocket.open(child);
    deaf.start('watch', WATCH);
    deaf.socket.pause();
    const events = await fetch(`${child.url}/graphql`, {
      method: 'POST', headers: { authorization: `Bearer ${child.token}`, accept: 'text/event-stream', 'content-type': 'application/json' }, body: JSON.stringify({ query: WATCH }),
    });
    const db = await openGatewayDatabase(child.dataDir);
    left.push(() => db.close());
    // A request that waits for a lock is running when the signal comes, and has its answer afterwards.
    const lock = db.session();
    await lock`begin`;
    await lock`lock table stores in access exclusive mode`;
    const running = child.query('{ backupStores { nodes { name } } }');
    await until('the request waits', async () => (await db.sql`select from pg_stat_activity where wait_event_type = 'Lock' and query like '%from "stores"%'`).length > 0);
    const exited = once(child.process, 'exit');
    const began = performance.now();
    child.process.kill('SIGTERM');
    expect(await socket.closed).toBe(1012);
    await lock`rollback`;
    expect((await running).data.backupStores.nodes.length).toBeGreaterThan(0);
    const [pid] = await db.sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await db.close();
    expect(await exited).toEqual([0, null]);
    expect(performance.now() - began).toBeLessThan(4_000);
    expect(() => process.kill(pid?.pid ?? 0, 0)).toThrow('ESRCH');
    await events.text().catch(() => undefined);
    deaf.socket.terminate();
  });
});
