/**
 * Subscriptions, and any other operation, over graphql-ws on the same port and path.
 */
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { GraphQLError, type DocumentNode, type ExecutionArgs } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer, type WebSocket } from 'ws';
import { tokenOfParams, UNAUTHENTICATED, type Authenticate } from './authentication.ts';
import type { PushChannel } from './push-changes.ts';
import { SlowReader } from './slow-reader.ts';
import { targetOf } from './target.ts';
import { textFrame, writeTogether } from './text-frame.ts';
import type { GatewayYoga } from './yoga.ts';

/** Service restart: clients try again, and resume with their last cursor. */
const CLOSE_RESTART = 1012;
/** No operation is longer than this, in bytes. */
const LARGEST_MESSAGE = 1024 * 1024;
/** A socket that answers no ping for this long is gone, in milliseconds. */
const KEEP_ALIVE = 12_000;
/** How long a socket may take to answer its close, in milliseconds; ws would wait for half a minute. */
const CLOSE_PATIENCE = 1_000;

/** Ends the message around an answer. */
const END = Buffer.from('}');

type EnvelopedArgs = ExecutionArgs & { rootValue: { execute: typeof import('graphql').execute; subscribe: typeof import('graphql').subscribe } };

export interface Socket {
  /** How many sockets are open. */
  readonly open: number;
  close(): Promise<void>;
}

/**
 * Serves graphql-ws on the server's `/graphql`.
 * @param onTooSlow told of each client that is let go for not reading
 */
export function serveSocket(server: Server, yoga: GatewayYoga, authenticate: Authenticate, onTooSlow: () => void): Socket {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: LARGEST_MESSAGE, perMessageDeflate: false });
  /** What each socket's messages that many are sent are written to, and how well it is read. */
  const clients = new WeakMap<WebSocket, { connection: Duplex; reader: SlowReader }>();
  server.on('upgrade', (request: IncomingMessage, socket, head) => {
    // Node leaves the socket to us, errors included: without a listener one that is reset would end the process.
    socket.on('error', () => socket.destroy());
    if (targetOf(request)?.pathname !== '/graphql') {
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(request, socket, head, (client) => {
      clients.set(client, { connection: socket, reader: new SlowReader(client, onTooSlow) });
      sockets.emit('connection', client, request);
    });
  });

  const protocol = useServer({
    execute: (args) => (args as EnvelopedArgs).rootValue.execute(args),
    subscribe: (args) => (args as EnvelopedArgs).rootValue.subscribe(args),
    // What is wrong with one operation is answered to that operation: the socket's others go on. A token is
    // therefore looked at here, and not when the socket opens.
    async onSubscribe({ connectionParams, subscriptions, extra: { socket } }, id, { query, variables, operationName }) {
      const principal = authenticate(tokenOfParams(connectionParams));
      if (principal === null) return [new GraphQLError(UNAUTHENTICATED.message, { extensions: { code: UNAUTHENTICATED.code } })];
      const isAbandoned = () => !(id in subscriptions) || socket.readyState !== socket.OPEN;
      const { connection, reader } = clients.get(socket as WebSocket)!;
      const head = Buffer.from(`{"id":${JSON.stringify(id)},"type":"next","payload":`);
      const channel: PushChannel = {
        execute: (args) => execute(args),
        // Nothing of the library's waits to be sent on a socket without compression: the order is kept.
        next(answer) {
          if (!isAbandoned()) writeTogether(connection, textFrame(head, answer.json, END));
        },
        // The protocol has no message for it, and lets a ping carry anything; docs/FEED.md, F10.
        live() {
          if (!isAbandoned()) socket.send(JSON.stringify({ type: 'ping', payload: { live: id } }));
        },
        isFull: (onRoom) => reader.isFull(onRoom),
      };
      const { schema, parse, validate, execute, subscribe, contextFactory } = yoga.getEnveloped({ principal, isAbandoned, channel });
      let document: DocumentNode;
      try {
        document = parse(query) as DocumentNode;
      } catch (error) {
        return [error instanceof GraphQLError ? error : new GraphQLError('The operation cannot be read.', { extensions: { code: 'GRAPHQL_PARSE_FAILED' } })];
      }
      const errors = validate(schema, document) as readonly GraphQLError[];
      if (errors.length > 0) return errors;
      return {
        schema, document, operationName, variableValues: variables,
        contextValue: await contextFactory(), rootValue: { execute, subscribe },
      } as EnvelopedArgs;
    },
  }, sockets, KEEP_ALIVE);

  return {
    get open() { return sockets.clients.size; },
    async close() {
      for (const client of sockets.clients) client.close(CLOSE_RESTART, 'Service restart');
      const patience = setTimeout(() => sockets.clients.forEach((client) => client.terminate()), CLOSE_PATIENCE);
      await protocol.dispose();
      clearTimeout(patience);
    },
  };
}
