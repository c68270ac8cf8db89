/** What a gateway, or what stands between, might do: one that is played. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createGatewayClient, type GatewayClient, type GatewayClientError } from 'backup-gateway/client';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { until } from '../support/gateway.ts';

const WATCH = 'subscription ($after: String) { changed(after: $after) { cursor } }';
interface Watched { changed: { cursor: string } }

/** A subscription as the played gateway has it. */
interface Subscription {
  readonly after: string | undefined;
  readonly token: string;
  readonly socket: WebSocket;
  next(...cursors: string[]): void;
  live(cursor?: string): void;
  fail(code: string): void;
}

let server: WebSocketServer;
let client: GatewayClient;
let token: string;
/** What the played gateway does with each subscription, and whether it says anything at all. */
let answer: (subscription: Subscription) => void;
let isSilent: boolean;
const subscriptions: Subscription[] = [];

beforeEach(async () => {
  [token, isSilent] = ['one', false];
  subscriptions.length = 0;
  server = new WebSocketServer({ port: 0, host: '127.0.0.1', handleProtocols: () => 'graphql-transport-ws' });
  await once(server, 'listening');
  server.on('connection', (socket) => {
    let given = '';
    const send = (message: object) => socket.send(JSON.stringify(message));
    socket.on('message', (data) => {
      if (isSilent) return;
      const { type, id, payload } = JSON.parse((data as Buffer).toString());
      if (type === 'ping') send({ type: 'pong' });
      if (type === 'connection_init') {
        given = payload.authorization;
        send({ type: 'connection_ack' });
      }
      if (type !== 'subscribe') return;
      const subscription: Subscription = {
        after: payload.variables.after, token: given, socket,
        next: (...cursors) => cursors.forEach((cursor) => send({ type: 'next', id, payload: { data: { changed: { cursor } } } })),
        live: (cursor) => send({ type: 'ping', payload: { live: id, cursor } }),
        fail: (code) => send({ type: 'error', id, payload: [{ message: code, extensions: { code } }] }),
      };
      subscriptions.push(subscription);
      answer(subscription);
    });
  });
  client = createGatewayClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: () => token });
});
afterEach(async () => {
  vi.useRealTimers();
  client.dispose();
  for (const socket of server.clients) socket.terminate();
  server.close();
  await once(server, 'close');
});

/** Reads until so many events have come. */
async function read(count: number, after?: string): Promise<string[]> {
  const cursors: string[] = [];
  for await (const { cursor } of client.watch<Watched>(WATCH, { after })) {
    cursors.push(cursor);
    if (cursors.length === count) break;
  }
  return cursors;
}

test('what is sent again is dropped', async () => {
  answer = ({ next, socket }) => {
    next('a', 'b');
    if (subscriptions.length > 1) next('b', 'c', 'a', 'd');
    socket.close(1013);
  };
  expect(await read(4)).toEqual(['a', 'b', 'c', 'd']);
  expect(subscriptions.map(({ after }) => after)).toEqual([undefined, 'b']);
});

test('the cursor of the ping that says live is gone on after, the newest, and it is told once that all has been handled', async () => {
  const log: unknown[] = [];
  answer = ({ live, next, after, socket }) => {
    log.push(after);
    if (subscriptions.length === 1) {
      live('a');
      live('b');
      socket.close(1012);
    } else if (subscriptions.length === 2) {
      next('c');
      live('d');
      // As an older gateway says it.
      live();
      socket.close(1012);
    } else {
      next('e');
    }
  };
  for await (const { cursor } of client.watch<Watched>(WATCH, {}, { onCaughtUp: () => { log.push('caught up'); } })) {
    log.push(`event ${cursor}`);
    if (cursor === 'e') break;
  }
  expect(log).toEqual([undefined, 'caught up', 'b', 'event c', 'caught up', 'd', 'event e']);
});

test('a cursor that a ping brings does not pass what waits for a slow reader', async () => {
  answer = ({ live, next, socket }) => {
    if (subscriptions.length > 1) return next('z');
    next('a', 'b', 'c');
    live('d');
    setTimeout(() => socket.close(1012), 20);
  };
  const events = client.watch<Watched>(WATCH);
  const cursors = [(await events.next()).value?.cursor];
  await until('the socket is closed', () => subscriptions[0]?.socket.readyState === WebSocket.CLOSED);
  while (cursors.length < 4) cursors.push((await events.next()).value?.cursor);
  expect(cursors).toEqual(['a', 'b', 'c', 'z']);
  expect(subscriptions[1]?.after).toBe('d');
});

test('a socket that others close as if all were done is taken up after the last cursor, after a pause', async () => {
  const attempts: number[] = [];
  answer = ({ next, socket, after }) => {
    if (subscriptions.length === 1) next('a');
    if (subscriptions.length < 4) setTimeout(() => socket.close(1000), 20);
    else next(`after ${after}`);
  };
  const events = client.watch<Watched>(WATCH, {}, { onLost: ({ message }, attempt) => { attempts.push(attempt); expect(message).toContain('1000'); } });
  expect((await events.next()).value).toEqual({ cursor: 'a' });
  expect((await events.next()).value).toEqual({ cursor: 'after a' });
  expect(subscriptions.map(({ after }) => after)).toEqual([undefined, 'a', 'a', 'a']);
  expect(attempts).toEqual([1, 2, 3]);
});

test('a watch that begins while the socket of the last one is being closed has one of its own, and has lost nothing', async () => {
  answer = ({ next }) => next('a');
  const losses: unknown[] = [];
  for (let round = 1; round <= 5; round += 1) {
    const events = client.watch<Watched>(WATCH, {}, { onLost: (error) => { losses.push(error); } });
    expect((await events.next()).value).toEqual({ cursor: 'a' });
    await events.return();
    if (round % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(losses).toEqual([]);
});

test('a reader that is slower than the gateway gets everything, and has only so much waiting for it', async () => {
  const all = Array.from({ length: 7_000 }, (_, index) => String(index + 1));
  answer = ({ after, next, live, socket }) => {
    // In pieces, as a network would bring them.
    const send = (from: number) => {
      if (socket.readyState !== socket.OPEN) return;
      next(...all.slice(from, from + 100));
      if (from < all.length) setImmediate(send, from + 100);
      else live();
    };
    send(Number(after));
  };
  const [cursors, notices]: [string[], string[]] = [[], []];
  for await (const { cursor } of client.watch<Watched>(WATCH, { after: '0' }, { onLost: () => { notices.push('lost'); }, onCaughtUp: () => { notices.push(`caught up at ${cursors.length}`); client.dispose(); } })) {
    cursors.push(cursor);
    // A reader that stops until it is sent nothing more.
    if (cursors.length === 1) await until('the subscription has been let go', () => subscriptions[0]?.socket.readyState === WebSocket.CLOSED);
  }
  expect(cursors).toEqual(all);
  expect(notices).toEqual(['caught up at 7000']);
  expect(subscriptions.length).toBeGreaterThan(1);
});

test('an outage within the gateway is waited for, and the change that it could not tell is told then', async () => {
  answer = ({ next, fail, after, socket }) => {
    if (subscriptions.length === 1) next('a');
    // As where a field of one event could not be read.
    if (subscriptions.length === 1) socket.send(JSON.stringify({ type: 'next', id: '1', payload: { data: null, errors: [{ message: 'x', extensions: { code: 'INTERNAL_SERVER_ERROR' } }] } }));
    else if (subscriptions.length === 2) fail('INTERNAL_SERVER_ERROR');
    else next(`after ${after}`);
  };
  expect(await read(2)).toEqual(['a', 'after a']);
  expect(subscriptions.length).toBe(3);
});

test('a refusal by a close code ends the watch', async () => {
  answer = ({ socket }) => socket.close(4400, 'Invalid message');
  const events = client.watch<Watched>(WATCH);
  await expect(events.next()).rejects.toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('4400 Invalid message') } satisfies Partial<Record<keyof GatewayClientError, unknown>>);
});

test('a socket whose token has expired is replaced: the newcomer is served, the others are resumed', async () => {
  let caughtUp = 0;
  answer = ({ token: given, after, next, live, fail }) => {
    if (given !== `Bearer ${token}`) return fail('UNAUTHENTICATED');
    if (after === '0') next('1');
    if (after === 'x') next('y');
    live();
  };
  const first = client.watch<Watched>(WATCH, { after: '0' }, { onCaughtUp: () => { caughtUp += 1; } });
  expect((await first.next()).value).toEqual({ cursor: '1' });
  const second = first.next();
  await until('it is caught up', () => caughtUp === 1);
  token = 'two';
  expect(await read(1, 'x')).toEqual(['y']);
  await until('the first is resumed', () => caughtUp === 2);
  expect(subscriptions.map(({ after, token }) => [token, after])).toEqual(expect.arrayContaining([['Bearer one', '0'], ['Bearer one', 'x'], ['Bearer two', 'x'], ['Bearer two', '1']]));
  subscriptions.at(-1)?.next('2');
  subscriptions.findLast(({ after }) => after === '1')?.next('2');
  expect((await second).value).toEqual({ cursor: '2' });
});

test('a token that is refused on a new socket ends the watch', async () => {
  answer = ({ fail }) => fail('UNAUTHENTICATED');
  await expect(client.watch<Watched>(WATCH).next()).rejects.toMatchObject({ code: 'UNAUTHENTICATED' });
  expect(subscriptions.length).toBe(1);
});

/** Lets faked time pass, with what comes over the socket meanwhile. */
async function advanceUntil(isDone: () => boolean): Promise<void> {
  for (let step = 0; !isDone() && step < 5_000; step += 1) {
    await vi.advanceTimersByTimeAsync(10);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(isDone()).toBe(true);
}

test.each(['before it has opened the socket', 'while a watch waits'])('a gateway that falls silent %s is left, and found again', async (moment) => {
  answer = ({ live }) => live();
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const losses: string[] = [];
  let caughtUp = 0;
  isSilent = moment.startsWith('before');
  const events = client.watch<Watched>(WATCH, {}, { onLost: ({ message }) => { losses.push(message); }, onCaughtUp: () => { caughtUp += 1; } });
  const next = events.next();
  if (!isSilent) await advanceUntil(() => caughtUp === 1);
  isSilent = true;
  await advanceUntil(() => losses.length > 0);
  expect(losses[0]).toContain('4499');
  isSilent = false;
  await advanceUntil(() => caughtUp === (moment.startsWith('before') ? 1 : 2));
  subscriptions.at(-1)?.next('found');
  expect((await next).value).toEqual({ cursor: 'found' });
});

test('a gateway that has nothing to tell, but answers, is kept', async () => {
  let pings = 0;
  answer = ({ live, socket }) => {
    live();
    socket.on('message', (data) => { if ((data as Buffer).includes('"ping"')) pings += 1; });
  };
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const losses: unknown[] = [];
  const next = client.watch<Watched>(WATCH, {}, { onLost: (error) => { losses.push(error); } }).next();
  await advanceUntil(() => pings === 4);
  subscriptions[0]?.next('at last');
  expect((await next).value).toEqual({ cursor: 'at last' });
  expect({ losses, subscriptions: subscriptions.length }).toEqual({ losses: [], subscriptions: 1 });
});
