/** An HTTP proxy before an object store, which does to single requests what networks and servers do at times. */
import { once } from 'node:events';
import { createServer, request as forward, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Transform } from 'node:stream';

/** What becomes of a request; undefined: it is passed on. */
export type Mischief =
  | { answer: number; code: string }      // the proxy answers itself, with an error of the protocol
  | 'hang'                                // nothing is ever answered
  | 'cut'                                 // the connection ends at once
  | 'lose the answer'                     // the server does it, and the connection ends
  | 'flip a byte'                         // of the request's body, on its way
  | { cutAfter: number }                  // the connection ends after so many bytes of the answer's body
  | undefined;

export interface Proxy {
  readonly url: string;
  /** Every request so far: `METHOD /bucket/key?query`. */
  readonly seen: string[];
  /** Asked before each request is passed on. */
  decide: (request: { line: string; method: string; headers: IncomingMessage['headers'] }) => Mischief | Promise<Mischief>;
  stop(): Promise<void>;
}

export async function startProxy(target: string): Promise<Proxy> {
  const { hostname, port } = new URL(target);
  const server = createServer((request, response) => {
    const line = `${request.method} ${decodeURIComponent(request.url ?? '')}`;
    proxy.seen.push(line);
    void (async () => pass(request, response, await proxy.decide({ line, method: request.method ?? '', headers: request.headers })))();
  });
  const pass = (request: IncomingMessage, response: ServerResponse, mischief: Mischief): void => {
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    if (mischief === 'cut') return void request.socket.destroy();
    if (mischief === 'hang') return void request.resume();
    if (typeof mischief === 'object' && 'answer' in mischief) return refuse(request, response, mischief);
    const onward = forward({ hostname, port, method: request.method, path: request.url, headers: request.headers }, (answer) => {
      answer.on('error', () => response.destroy());
      if (mischief === 'lose the answer') return void answer.resume().on('end', () => request.socket.destroy());
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      if (typeof mischief !== 'object') return void answer.pipe(response);
      let left = mischief.cutAfter;
      answer.on('data', (piece: Buffer) => {
        response.write(piece.subarray(0, Math.max(0, left)));
        left -= piece.length;
        // Later, so that what was written arrives.
        if (left <= 0) setTimeout(() => request.socket.destroy(), 20);
      });
    });
    onward.on('error', () => request.socket.destroy());
    request.on('close', () => { if (!request.complete) onward.destroy(); });
    if (mischief !== 'flip a byte') return void request.pipe(onward);
    let isDone = false;
    request.pipe(new Transform({
      transform(piece: Buffer, _encoding, done) {
        if (!isDone) piece[0]! ^= 1;
        isDone = true;
        done(null, piece);
      },
    })).pipe(onward);
  };
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const proxy: Proxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen: [],
    decide: () => undefined,
    async stop() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
  return proxy;
}

function refuse(request: IncomingMessage, response: ServerResponse, { answer, code }: { answer: number; code: string }): void {
  request.resume().on('end', () => {
    response.writeHead(answer, { 'content-type': 'application/xml' });
    response.end(request.method === 'HEAD' ? '' : `<?xml version="1.0"?><Error><Code>${code}</Code><Message>The proxy says so</Message></Error>`);
  });
}
