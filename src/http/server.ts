/**
 * The HTTP server: GraphQL, GraphiQL for a browser, health.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { GatewayError } from '../domain/errors.ts';
import type { GatewayServices } from '../graphql/context.ts';
import { tokenOfHeaders, UNAUTHENTICATED, type Authenticate } from './authentication.ts';
import { graphiqlHeaders, graphiqlPage } from './graphiql.ts';
import { serveSocket } from './socket.ts';
import { createGatewayYoga } from './yoga.ts';

/** No request is longer than this, in bytes. */
const LARGEST_REQUEST = 1024 * 1024;
/** How long requests under way may take once the server stops, in milliseconds. */
const GRACE = 5_000;

export interface GatewayServer {
  readonly port: number;
  close(): Promise<void>;
}

export interface ServerOptions {
  host: string;
  port: number;
  authenticate: Authenticate;
  /** Why the gateway can't serve now; null: it can. */
  unready: () => Promise<string | null>;
}

/** Starts to serve. @throws GatewayError where the address can't be had. */
export async function startServer(services: GatewayServices, options: ServerOptions): Promise<GatewayServer> {
  const yoga = createGatewayYoga(services);
  const server = createServer((request, response) => {
    void answer(request, response).catch((error: unknown) => {
      services.log.error({ error }, 'a request failed');
      if (!response.headersSent) sendJson(response, 500, { message: 'Something went wrong in the gateway; its log says more.' });
      else response.destroy();
    });
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://gateway');
    if (pathname === '/healthz') return sendJson(response, 200, { status: 'alive' });
    if (pathname === '/readyz') {
      const reason = await options.unready();
      return sendJson(response, reason === null ? 200 : 503, reason === null ? { status: 'ready' } : { status: 'not ready', reason });
    }
    if (pathname === '/') return void response.writeHead(302, { location: '/graphql' }).end();
    if (pathname !== '/graphql') return sendJson(response, 404, { message: 'Nothing is here. The endpoint is /graphql.' });
    if (request.method === 'GET' && !searchParams.has('query') && request.headers.accept?.includes('text/html') === true) {
      return sendGraphiql(request, response);
    }
    if (Number(request.headers['content-length'] ?? 0) > LARGEST_REQUEST) {
      return sendGraphqlError(response, 413, `The request is longer than ${LARGEST_REQUEST} bytes.`, 'REQUEST_TOO_LARGE');
    }
    // A preflight carries no token; what it allows still needs one.
    const principal = request.method === 'OPTIONS' ? { name: '', tokenId: '' } : options.authenticate(tokenOfHeaders(request.headers));
    if (principal === null) return sendGraphqlError(response, 401, UNAUTHENTICATED.message, UNAUTHENTICATED.code);
    await yoga.handle(request, response, { principal });
  }

  const socket = serveSocket(server, yoga, options.authenticate);
  await listen(server, options);
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = new Promise<void>((resolve) => { server.close(() => resolve()); });
      await socket.close();
      server.closeIdleConnections();
      const grace = setTimeout(() => server.closeAllConnections(), GRACE);
      await closed;
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

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' }).end(`${JSON.stringify(body)}\n`);
}

const sendGraphqlError = (response: ServerResponse, status: number, message: string, code: string): void =>
  sendJson(response, status, { errors: [{ message, extensions: { code } }] });

let compressedPage: Promise<Buffer> | undefined;

async function sendGraphiql(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const headers = graphiqlHeaders();
  const etag = Object.entries(headers).find(([name]) => name.toLowerCase() === 'etag')?.[1];
  if (etag !== undefined && request.headers['if-none-match'] === etag) return void response.writeHead(304, headers).end();
  if (!/\bgzip\b/.test(String(request.headers['accept-encoding']))) return void response.writeHead(200, headers).end(graphiqlPage());
  compressedPage ??= promisify(gzip)(graphiqlPage()) as Promise<Buffer>;
  response.writeHead(200, { ...headers, 'content-encoding': 'gzip' }).end(await compressedPage);
}
