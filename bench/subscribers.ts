/**
 * Subscribers that only note when a message came.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { WebSocket } from 'ws';

export interface Audience { url: string; token: string; subscribers: number; after: string }

const { url, token, subscribers, after } = workerData as Audience;
// After a cursor, so that nothing is missed by one whose subscription has not begun yet when the first change comes.
const query = 'subscription ($after: String!) { backupStatusChanged(after: $after) { cursor backupName from to at } }';

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
        socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query, variables: { after } } }));
        resolve();
      } else if (text.includes('"next"')) {
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
