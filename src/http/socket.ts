/**
 * Subscriptions, and any other operation, over graphql-ws on the same port and path.
 */
import type { IncomingMessage, Server } from 'node:http';
import { getOperationAST, GraphQLError, type DocumentNode, type ExecutionArgs, type ExecutionResult } from 'graphql';
import { handleProtocols, makeServer, type SubscribePayload } from 'graphql-ws';
import type { Logger } from 'pino';
import { WebSocketServer } from 'ws';
import { maskError, UNEXPECTED } from '../graphql/errors.ts';
import { tokenOfParams, UNAUTHENTICATED, type Authenticate } from './authentication.ts';
import { serveClient, type Client } from './graphql-ws-server.ts';
import { OperationQueue } from './operation-queue.ts';
import type { PushChannel } from './push-changes.ts';
import { SlowReader } from './slow-reader.ts';
import { targetOf } from './target.ts';
import { textFrame, writeTogether } from './text-frame.ts';
import type { GatewayYoga } from './yoga.ts';

/** Service restart: clients try again, and resume with their last cursor. */
const CLOSE_RESTART = 1012;
/** No operation is longer than this, in bytes. */
const LARGEST_MESSAGE = 1024 * 1024;
/** How long a socket may take to answer its close, in milliseconds; ws would wait for half a minute. */
const CLOSE_PATIENCE = 1_000;

/** Ends the message around an answer. */
const END = Buffer.from('}');

type Enveloped = Pick<ReturnType<GatewayYoga['getEnveloped']>, 'execute' | 'subscribe'>;
/** What an operation is executed with, by what, and where it has its place meanwhile. */
type EnvelopedArgs = ExecutionArgs & { rootValue: Enveloped & { operations: OperationQueue } };

type Result = ExecutionResult | AsyncIterable<ExecutionResult>;

/** Gives a place back once the answer has been handed to the socket, which graphql-ws does before anything else happens. */
const leave = (operations: OperationQueue): void => void setImmediate(() => operations.leave());

export interface Socket {
  /** How many sockets are open. */
  readonly open: number;
  close(): Promise<void>;
}

/**
 * Serves graphql-ws on the server's `/graphql`.
 * @param onTooSlow told of each client that is let go for not reading
 */
export function serveSocket(server: Server, yoga: GatewayYoga, authenticate: Authenticate, log: Logger, onTooSlow: () => void): Socket {
  const sockets = new WebSocketServer({
    noServer: true, maxPayload: LARGEST_MESSAGE, perMessageDeflate: false, handleProtocols: (protocols) => handleProtocols(protocols),
  });

  /** What a client is told of an error that an operation ended with, as over HTTP. */
  const told = (error: unknown): GraphQLError => {
    const masked = maskError(error, UNEXPECTED) as GraphQLError;
    if (masked !== error) log.error({ error }, 'an operation failed');
    return masked;
  };

  /** Reads an operation. @throws GraphQLError, and whatever goes wrong besides */
  const prepare = async (
    { socket, connection, reader, operations }: Client, subscriptions: object, id: string, { query, variables, operationName }: SubscribePayload, token: string | null,
  ): Promise<EnvelopedArgs | readonly GraphQLError[]> => {
    const principal = authenticate(token);
    if (principal === null) throw new GraphQLError(UNAUTHENTICATED.message, { extensions: { code: UNAUTHENTICATED.code } });
    const isAbandoned = () => !(id in subscriptions) || socket.readyState !== socket.OPEN;
    // Nobody is told.
    if (isAbandoned()) throw new GraphQLError('The operation was completed before it began.');
    const head = Buffer.from(`{"id":${JSON.stringify(id)},"type":"next","payload":`);
    const channel: PushChannel = {
      execute: (args) => execute(args),
      // Nothing of the library's waits to be sent on a socket without compression: the order is kept.
      next(answer) {
        if (!isAbandoned()) writeTogether(connection, textFrame(head, answer.json, END));
      },
      // The protocol has no message for it, and lets a ping carry anything; docs/FEED.md, F10.
      live(cursor) {
        if (!isAbandoned()) socket.send(JSON.stringify({ type: 'ping', payload: { live: id, cursor } }));
      },
      isFull: (onRoom) => reader.isFull(onRoom),
      async inTurn(run) {
        await operations.enter(0);
        try {
          return await run();
        } finally {
          leave(operations);
        }
      },
    };
    const { schema, parse, validate, execute, subscribe, contextFactory } = yoga.getEnveloped({ principal, isAbandoned, channel });
    let document: DocumentNode;
    try {
      document = parse(query) as DocumentNode;
    } catch (error) {
      throw error instanceof GraphQLError ? error : new GraphQLError('The operation cannot be read.', { extensions: { code: 'GRAPHQL_PARSE_FAILED' } });
    }
    const errors = validate(schema, document) as readonly GraphQLError[];
    if (errors.length > 0) return errors;
    if (getOperationAST(document, operationName) == null) {
      throw new GraphQLError('Which operation is meant cannot be told: give as operationName the name of one in the document.', { extensions: { code: 'OPERATION_RESOLUTION_FAILURE' } });
    }
    return {
      schema, document, operationName, variableValues: variables, contextValue: await contextFactory(), rootValue: { execute, subscribe, operations },
    };
  };

  /** Executes or subscribes, and gives its place in the queue back; whatever happens is the answer to this operation. */
  const run = async (args: ExecutionArgs, way: keyof Enveloped): Promise<Result> => {
    const { rootValue } = args as EnvelopedArgs;
    try {
      return await rootValue[way](args) as Result;
    } catch (error) {
      return { errors: [told(error)] };
    } finally {
      leave(rootValue.operations);
    }
  };

  const protocol = makeServer<Record<string, unknown>, Client>({
    execute: (args) => run(args, 'execute'),
    subscribe: (args) => run(args, 'subscribe'),
    // What is wrong with one operation is answered to that operation: the socket's others go on. A token is
    // therefore looked at here, and not when the socket opens.
    async onSubscribe({ connectionParams, subscriptions, extra: client }, id, payload) {
      await client.operations.enter(client.received);
      const prepared = await prepare(client, subscriptions, id, payload, tokenOfParams(connectionParams)).catch((error: unknown) => [told(error)]);
      if (Array.isArray(prepared)) leave(client.operations);
      return prepared;
    },
  });

  server.on('upgrade', (request: IncomingMessage, connection, head) => {
    // Node leaves the socket to us, errors included: without a listener one that is reset would end the process.
    connection.on('error', () => connection.destroy());
    if (targetOf(request)?.pathname !== '/graphql') {
      connection.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(request, connection, head, (socket) => {
      const reader = new SlowReader(socket, onTooSlow);
      serveClient(protocol, { socket, connection, reader, operations: new OperationQueue(socket, reader), received: 0 }, log);
    });
  });

  return {
    get open() { return sockets.clients.size; },
    async close() {
      for (const client of sockets.clients) client.close(CLOSE_RESTART, 'Service restart');
      const patience = setTimeout(() => sockets.clients.forEach((client) => client.terminate()), CLOSE_PATIENCE);
      await new Promise<void>((resolve) => { sockets.close(() => resolve()); });
      clearTimeout(patience);
    },
  };
}
