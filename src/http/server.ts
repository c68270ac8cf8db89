/**
 * The HTTP server: GraphQL, GraphiQL for a browser, health, metrics.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { GatewayError } from '../domain/errors.ts';
import type { GatewayServices } from '../graphql/context.ts';
import { UNEXPECTED } from '../graphql/errors.ts';
import { tokenOfHeaders, UNAUTHENTICATED, type Authenticate } from './authentication.ts';
import { graphiqlHeaders, graphiqlPage } from './graphiql.ts';
import { serveSocket } from './socket.ts';
import { targetOf } from './target.ts';
import { createGatewayYoga } from './yoga.ts';

/** No request is longer than this, in bytes. */
const LARGEST_REQUEST = 1024 * 1024;
/** How long requests under way may take once the server stops, in milliseconds. */
const GRACE = 5_000;
/** How often connections that have become idle are looked for meanwhile, in milliseconds. */
const IDLE_CHECK = 50;

export interface GatewayServer {
  readonly port: number;
  readonly openSockets: number;
  /** How many clients were let go because they did not read. */
  readonly clientsLetGo: number;
  close(): Promise<void>;
}

export interface ServerOptions {
  host: string;
  port: number;
  authenticate: Authenticate;
  /** Why the gateway can't serve now; null: it can. */
  unready: () => Promise<string | null>;
  /** What `/metrics` answers. */
  scrape: () => Promise<{ type: string; text: string }>;
}

/** Starts to serve. @throws GatewayError where the address can't be had. */
export async function startServer(services: GatewayServices, options: ServerOptions): Promise<GatewayServer> {
  const yoga = createGatewayYoga(services);
  /** Answers that may go on for ever: Server-Sent Events. */
  const eventStreams = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) => {
      services.log.error({ error }, 'a request failed');
      if (!response.headersSent) sendJson(response, 500, { message: UNEXPECTED });
      else response.destroy();
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = targetOf(request);
    if (target === null) return sendJson(response, 400, { message: 'The request target or the Host header is no address.' });
    const { pathname, searchParams } = target;
    if (pathname === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (pathname === '/readyz') {
      const reason = await options.unready();
      return sendJson(response, reason === null ? 200 : 503, reason === null ? { status: 'ready' } : { status: 'not ready', reason });
    }
    if (pathname === '/metrics') {
      if (options.authenticate(tokenOfHeaders(request.headers)) === null) return sendJson(response, 401, { message: UNAUTHENTICATED.message });
      const { type, text } = await options.scrape();
      return void response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' }).end(text);
    }
    if (pathname === '/') return void response.writeHead(302, { location: '/graphql' }).end();
    if (pathname !== '/graphql') return sendJson(response, 404, { message: 'Nothing is here. The endpoint is /graphql.' });
    if (request.method === 'GET' && !searchParams.has('query') && request.headers.accept?.includes('text/html') === true) {
      return sendGraphiql(request, response);
    }
    if (Number(request.headers['content-length'] ?? 0) > LARGEST_REQUEST) return refuseLength(request, response);
    // A preflight carries no token; what it allows still needs one.
    const principal = request.method === 'OPTIONS' ? { name: '', tokenId: '' } : options.authenticate(tokenOfHeaders(request.headers));
    if (principal === null) return sendGraphqlError(request, response, 401, UNAUTHENTICATED.message, UNAUTHENTICATED.code);
    if (request.headers['transfer-encoding'] !== undefined) {
      const body = await readBody(request);
      if (body === null) return refuseLength(request, response);
      // Where Yoga looks for what has been read already.
      Object.assign(request, { body: Readable.from(body) });
    }
    if (request.headers.accept?.includes('text/event-stream') === true) {
      eventStreams.add(response);
      response.once('close', () => eventStreams.delete(response));
    }
    request.url = pathname + target.search;
    await yoga.handle(request, response, { principal, isAbandoned: () => response.destroyed });
  }

  let clientsLetGo = 0;
  const socket = serveSocket(server, yoga, options.authenticate, services.log, () => {
    clientsLetGo += 1;
    services.log.warn({ clientsLetGo }, 'a client that does not read what it is sent was let go; it can resume with its last cursor');
  });
  await listen(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    get openSockets() { return socket.open; },
    get clientsLetGo() { return clientsLetGo; },
    async close() {
      const closed = new Promise<void>((resolve) => { server.close(() => resolve()); });
      await socket.close();
      for (const response of eventStreams) if (response.headersSent) response.destroy();
      // A connection that is kept alive becomes idle when its request has been answered.
      const idle = setInterval(() => server.closeIdleConnections(), IDLE_CHECK);
      const grace = setTimeout(() => server.closeAllConnections(), GRACE);
      await closed;
      clearInterval(idle);
      clearTimeout(grace);
      await yoga.dispose();
    },
  };
}

function listen(server: Server, { host, port }: ServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const reason = cause.code === 'EADDRINUSE' ? `Port ${port} is in use on ${host}.` : `Port ${port} on ${host} cannot be opened: ${cause.message}.`;
      reject(new GatewayError('PORT_UNAVAILABLE', reason, 'Stop what uses it, or set PORT and HOST to something else.', { cause }));
    });
    server.listen(port, host, () => resolve());
  });
}

/** The body of a request that does not say beforehand how long it is; null: too long. */
async function readBody(request: IncomingMessage): Promise<Buffer[] | null> {
  const pieces: Buffer[] = [];
  let length = 0;
  // Destroyed, it could not be answered any more.
  for await (const piece of request.iterator({ destroyOnReturn: false })) {
    length += (piece as Buffer).length;
    if (length > LARGEST_REQUEST) return null;
    pieces.push(piece as Buffer);
  }
  return pieces;
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }).end(`${JSON.stringify(body)}\n`);
}

function sendGraphqlError({ headers: { origin } }: IncomingMessage, response: ServerResponse, status: number, message: string, code: string): void {
  // As Yoga has it for all other answers: a page of another origin may read why it was refused.
  if (origin !== undefined) {
    response.setHeader('access-control-allow-origin', origin).setHeader('access-control-allow-credentials', 'true').setHeader('vary', 'Origin');
  }
  sendJson(response, status, { errors: [{ message, extensions: { code } }] });
}

function refuseLength(request: IncomingMessage, response: ServerResponse): void {
  // What is still to come of it is not worth reading.
  response.setHeader('connection', 'close');
  sendGraphqlError(request, response, 413, `The request is longer than ${LARGEST_REQUEST} bytes.`, 'REQUEST_TOO_LARGE');
}

let compressedPage: Promise<Buffer> | undefined;

async function sendGraphiql(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const headers = graphiqlHeaders();
  const etag = Object.entries(headers).find(([name]) => name.toLowerCase() === 'etag')?.[1];
  if (etag !== undefined && request.headers['if-none-match'] === etag) return void response.writeHead(304, headers).end();
  if (!/\bgzip\b/.test(String(request.headers['accept-encoding']))) return void response.writeHead(200, headers).end(graphiqlPage());
  compressedPage ??= promisify(gzip)(graphiqlPage()) as Promise<Buffer>;
  response.writeHead(200, { ...headers, 'content-encoding': 'gzip' }).end(await compressedPage);
}
