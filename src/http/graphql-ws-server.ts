/**
 * graphql-ws over ws: what the library's own adapter does, but that what goes wrong is logged like all else, that a client
 * that goes away is no error, and that one that does not read is sent no more than there is room for.
 */
import type { Duplex } from 'node:stream';
import { CloseCode, type Server } from 'graphql-ws';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { OperationQueue } from './operation-queue.ts';
import type { SlowReader } from './slow-reader.ts';

/** A socket that answers no ping for this long is gone, in milliseconds. */
const KEEP_ALIVE = 12_000;

/** One socket, and what belongs to it. */
export interface Client {
  readonly socket: WebSocket;
  /** What messages that many are sent are written to. */
  readonly connection: Duplex;
  /** How well it is read. */
  readonly reader: SlowReader;
  readonly operations: OperationQueue;
  /** The length of the message that is being taken, in bytes. */
  received: number;
}

/** Speaks the protocol with a client until it is gone. */
export function serveClient(protocol: Server<Client>, client: Client, log: Logger): void {
  const { socket, reader } = client;
  // Bytes that are no WebSocket messages, or a message that is too long: ws closes it with the code for that.
  socket.on('error', (error) => log.debug({ error }, 'a WebSocket was sent what it cannot read'));

  const send = (message: string) => {
    // Where writing fails the connection is at its end, which is told by its close.
    if (socket.readyState === socket.OPEN) socket.send(message);
  };
  /** The pong that waits until there is room. Only the latest does, however many pings are sent. */
  let owed: string | null = null;
  const pong = () => {
    send(owed!);
    owed = null;
  };
  const fail = (error: unknown) => {
    if (error instanceof Error && error.message.startsWith('Unexpected message of type')) {
      // Which only a server sends.
      socket.close(CloseCode.BadRequest, 'Invalid message received');
      return;
    }
    log.error({ error }, 'a message of a WebSocket could not be handled');
    socket.close(CloseCode.InternalServerError, 'Internal server error');
  };

  const closed = protocol.opened({
    protocol: socket.protocol,
    // Whoever streams goes on once there is room.
    send(message) {
      send(message);
      return reader.room();
    },
    close: (code, reason) => socket.close(code, reason),
    onPing(payload) {
      const isOwed = owed !== null;
      owed = JSON.stringify({ type: 'pong', payload: payload ?? undefined });
      if (!isOwed && !reader.isFull(pong)) pong();
    },
    onMessage(take) {
      socket.on('message', (data: Buffer) => {
        // What comes after its close is of no use to anybody.
        if (socket.readyState !== socket.OPEN) return;
        client.received = data.length;
        take(data.toString()).catch(fail);
      });
    },
  }, client);
  const stop = keepAlive(socket);
  socket.once('close', (code, reason) => {
    stop();
    Promise.resolve(closed(code, reason.toString())).catch((error: unknown) => log.error({ error }, 'the subscriptions of a WebSocket could not be ended'));
  });
}

/** Ends a socket behind which nobody is any more. */
function keepAlive(socket: WebSocket): () => void {
  let isAlive = true;
  socket.on('pong', () => { isAlive = true; });
  const timer = setInterval(() => {
    // Its answer may be among what is not read for now.
    if (!isAlive && !socket.isPaused) {
      socket.terminate();
      return;
    }
    isAlive = socket.isPaused;
    if (socket.readyState === socket.OPEN) socket.ping();
  }, KEEP_ALIVE);
  return () => clearInterval(timer);
}
