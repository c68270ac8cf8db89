/**
 * Thousands of subscribers in a thread of their own: what each gets is counted, and timed against the moment at which it was
 * sent. Each subscriber has a socket of its own.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { WebSocket } from 'ws';
import { clock } from './clock.ts';

export interface AudienceOptions {
  url: string;
  token: string;
  query: string;
  /** Variables of each subscriber, in turn; as many as there are subscribers. */
  variables: Record<string, unknown>[];
  /** When the n-th change of all was sent, by `clock`. */
  sent: SharedArrayBuffer;
  /** Whether subscriber s gets the changes s, s + number of subscribers and so on; else each gets all. */
  isOwn: boolean;
  /** Whether its sockets will be cut, so that each must know its last cursor. */
  isCut: boolean;
}

export type Command = 'report' | 'cut' | 'resume';
export interface Report { deliveries: number; latencies: Float64Array; live: number; problems: string[] }

const { url, token, query, variables, sent, isOwn, isCut } = workerData as AudienceOptions;
const times = new Float64Array(sent);
const count = variables.length;

/** How many changes each subscriber has got, and where its last one was in the feed. */
const got = new Uint32Array(count);
const cursors: (string | undefined)[] = variables.map(({ after }) => after as string | undefined);
let sockets: WebSocket[] = [];
let latencies: number[] = [];
let [deliveries, live] = [0, 0];
const problems: string[] = [];

/** Begins with `{"id":"1","type":"n`; read byte by byte, since it is the audience that is busiest. */
const isNext = (data: Buffer): boolean => data[2] === 0x69 && data[18] === 0x6e;
const isPing = (data: Buffer): boolean => data.toString('latin1', 0, 14) === '{"type":"ping"';

function subscribe(subscriber: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, 'graphql-transport-ws', { perMessageDeflate: false });
    sockets[subscriber] = socket;
    socket.on('error', (error) => problems.push(error.message));
    socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })));
    socket.on('message', (data: Buffer) => {
      if (isNext(data)) {
        const now = clock();
        const nth = isOwn ? subscriber + count * got[subscriber]! : got[subscriber]!;
        got[subscriber]! += 1;
        deliveries += 1;
        latencies.push(now - times[nth]!);
        if (!isCut) return;
        const at = data.indexOf('"cursor":"') + 10;
        if (at > 10) cursors[subscriber] = data.toString('latin1', at, data.indexOf('"', at));
      } else if (isPing(data)) {
        if (data.includes('"live"')) {
          live += 1;
          resolve();
        }
      } else if (data.includes('"connection_ack"')) {
        socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query, variables: { ...variables[subscriber], after: cursors[subscriber] } } }));
        // A server without a feed, and one that shares nothing, do not say when it has begun.
        if (!query.includes('StatusChanged') || query.includes('@include')) resolve();
      } else {
        problems.push(data.toString());
      }
    });
  });
}

async function subscribeAll(atOnce: number): Promise<void> {
  for (let opened = 0; opened < count; opened += atOnce) {
    await Promise.all(Array.from({ length: Math.min(atOnce, count - opened) }, (_, index) => subscribe(opened + index)));
  }
}

const say = (report: unknown): void => parentPort?.postMessage(report, []);

parentPort?.on('message', (command: Command) => {
  if (command === 'report') {
    say({ deliveries, latencies: Float64Array.from(latencies), live, problems } satisfies Report);
    latencies = [];
  } else if (command === 'cut') {
    for (const socket of sockets) socket.terminate();
    sockets = [];
    live = 0;
    say('cut');
  } else {
    void subscribeAll(count).then(() => say('resumed'));
  }
});

await subscribeAll(100);
say('all have subscribed');
