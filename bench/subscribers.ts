/**
 * Subscribers that only note when a message came.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { WebSocket } from 'ws';

export interface Audience { url: string; token: string; subscribers: number }

const { url, token, subscribers } = workerData as Audience;
const query = 'subscription { backupStatusChanged { cursor backupName from to at } }';

let times: bigint[] = [];

function subscribe(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, 'graphql-transport-ws');
    socket.on('error', reject);
    socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}` } })));
    socket.on('message', (data) => {
      const now = process.hrtime.bigint();
      const text = String(data);
      if (text.includes('"connection_ack"')) {
        socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
        // An answer to a ping on the same socket comes after what was sent before it.
        socket.send(JSON.stringify({ type: 'ping' }));
      } else if (text.includes('"pong"')) resolve();
      else if (text.includes('"next"')) {
        times.push(now);
        if (times.length < subscribers) return;
        parentPort?.postMessage(times, []);
        times = [];
      } else if (!text.includes('"ping"')) reject(new Error(text));
    });
  });
}

for (let opened = 0; opened < subscribers; opened += 50) {
  await Promise.all(Array.from({ length: Math.min(50, subscribers - opened) }, subscribe));
}
parentPort?.postMessage('all have subscribed', []);
