/**
 * A bare WebSocket server, for comparison: it sends what it is told to all who are connected, and nothing else happens.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer } from 'ws';

const server = createServer();
const sockets = new WebSocketServer({ server });
sockets.on('connection', (socket) => socket.on('message', (data: Buffer) => {
  if (data.includes('connection_init')) socket.send('{"type":"connection_ack"}');
}));
process.on('message', (message: string) => {
  for (const client of sockets.clients) client.send(message);
});
server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
