/**
 * Thousands of subscribers in a thread of their own: what each gets is counted, and timed against the moment at which it was
 * sent. Each subscriber has a socket of its own.
 */
import { connect, type Socket } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';
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
export interface Report { deliveries: number; latencies: Float64Array; problems: string[] }

const { url, token, query, variables, sent, isOwn, isCut } = workerData as AudienceOptions;
const times = new Float64Array(sent);
const count = variables.length;

/** How many changes each subscriber has got, and where its last one was in the feed. */
const got = new Uint32Array(count);
const cursors: (string | undefined)[] = variables.map(({ after }) => after as string | undefined);
let sockets: Socket[] = [];
let latencies: number[] = [];
let deliveries = 0;
const problems: string[] = [];

/** Calls back with each message of a WebSocket's bytes. The library's own client would take more time than the servers do. */
function readFrames(onText: (frame: Buffer, from: number, to: number) => void, onPing: (payload: Buffer) => void): (data: Buffer) => void {
  let rest: Buffer | null = null;
  return (data) => {
    let bytes = rest === null ? data : Buffer.concat([rest, data]);
    let at = 0;
    while (bytes.length - at >= 2) {
      const short = bytes[at + 1]!;
      if (short === 126 && bytes.length - at < 4) break;
      const start = at + (short === 126 ? 4 : 2);
      const end = start + (short === 126 ? bytes.readUInt16BE(at + 2) : short);
      if (end > bytes.length) break;
      if (bytes[at] === 0x89) onPing(bytes.subarray(start, end));
      else onText(bytes, start, end);
      at = end;
    }
    rest = at === bytes.length ? null : Buffer.from(bytes.subarray(at));
  };
}

/** Frames of a client, which must be masked; a mask of zeros leaves them as they are. */
function frame(opcode: number, payload: Buffer): Buffer {
  const header = payload.length < 126 ? Buffer.from([0x80 | opcode, 0x80 | payload.length]) : Buffer.from([0x80 | opcode, 0x80 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([header, Buffer.alloc(4), payload]);
}

function subscribe(subscriber: number): Promise<void> {
  return new Promise((resolve) => {
    const { hostname, port, pathname } = new URL(url);
    const socket = connect(Number(port), hostname).setNoDelay(true);
    sockets[subscriber] = socket;
    const send = (message: object) => socket.write(frame(1, Buffer.from(JSON.stringify(message))));
    const read = readFrames((bytes, from, to) => {
      // Begins with `{"id":"1","type":"n`, unlike all others.
      if (bytes[from + 2] === 0x69 && bytes[from + 18] === 0x6e) {
        const nth = isOwn ? subscriber + count * got[subscriber]! : got[subscriber]!;
        got[subscriber]! += 1;
        deliveries += 1;
        latencies.push(clock() - times[nth]!);
        if (!isCut) return;
        const at = bytes.indexOf('"cursor":"', from) + 10;
        cursors[subscriber] = bytes.toString('latin1', at, bytes.indexOf('"', at));
        return;
      }
      const { type, payload } = JSON.parse(bytes.toString('utf8', from, to));
      if (type === 'connection_ack') {
        send({ id: '1', type: 'subscribe', payload: { query, variables: { ...variables[subscriber], after: cursors[subscriber] } } });
        // A server without a feed, and a stream that is not shared, do not say when it has begun.
        if (!query.includes('StatusChanged') || query.includes('@include')) resolve();
      } else if (type === 'ping' && payload?.live !== undefined) {
        resolve();
      } else {
        problems.push(bytes.toString('utf8', from, to));
      }
    }, (payload) => socket.write(frame(10, payload)));
    socket.on('error', (error) => problems.push(error.message));
    socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${hostname}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\nSec-WebSocket-Key: ${Buffer.alloc(16, 'bench').toString('base64')}\r\n\r\n`);
    socket.once('data', (answer: Buffer) => {
      if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) problems.push(answer.toString('latin1').slice(0, 80));
      socket.on('data', read);
      send({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } });
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
    say({ deliveries, latencies: Float64Array.from(latencies), problems } satisfies Report);
    latencies = [];
  } else if (command === 'cut') {
    for (const socket of sockets) socket.destroy();
    sockets = [];
    say('cut');
  } else {
    void subscribeAll(count).then(() => say('resumed'));
  }
});

await subscribeAll(100);
say('all have subscribed');
