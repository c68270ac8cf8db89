/**
 * A load generator that does little itself: prepared bytes out, lengths counted in.
 */
import { connect } from 'node:net';
import { parentPort, workerData } from 'node:worker_threads';

export interface Load { url: string; token: string; bodies: string[]; connections: number; seconds: number }
export interface LoadResult { requests: number; failures: number; seconds: number }

const { url, token, bodies, connections, seconds } = workerData as Load;
const { hostname, port, pathname, host } = new URL(url);
const requests = bodies.map((body) => Buffer.from([
  `POST ${pathname} HTTP/1.1`, `host: ${host}`, `authorization: Bearer ${token}`, 'content-type: application/json', 'accept: application/json',
  `content-length: ${Buffer.byteLength(body)}`, '', body,
].join('\r\n')));

let [done, failures, next] = [0, 0, 0];
const began = performance.now();
const end = began + seconds * 1000;

/** One connection: the next request goes out when an answer is whole. */
function send(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const write = () => socket.write(requests[next++ % requests.length] as Buffer);
    let answer = Buffer.alloc(0);
    socket.on('connect', write).on('error', reject);
    socket.on('data', (chunk) => {
      answer = answer.length === 0 ? chunk : Buffer.concat([answer, chunk]);
      const head = answer.indexOf('\r\n\r\n');
      if (head === -1) return;
      const length = /content-length: (\d+)/i.exec(answer.toString('latin1', 0, head))?.[1];
      const isWhole = length === undefined ? answer.subarray(-5).equals(Buffer.from('0\r\n\r\n')) : answer.length >= head + 4 + Number(length);
      if (!isWhole) return;
      done += 1;
      if (!answer.subarray(9, 12).equals(Buffer.from('200')) || answer.includes('"errors"') || !answer.includes('"name"')) failures += 1;
      answer = Buffer.alloc(0);
      if (performance.now() < end) return void write();
      socket.destroy();
      resolve();
    });
  });
}

await Promise.all(Array.from({ length: connections }, send));
parentPort?.postMessage({ requests: done, failures, seconds: (performance.now() - began) / 1000 } satisfies LoadResult, []);
