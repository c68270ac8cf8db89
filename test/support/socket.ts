/**
 * One socket that speaks graphql-ws message by message, for what a client library hides.
 */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { TestGateway } from './gateway.ts';

/** What the gateway sends for one operation. */
export interface Message { id: string; type: 'next' | 'error' | 'complete'; payload?: any }

export class RawSocket {
  readonly socket: WebSocket;
  /** With which code the socket was closed. */
  readonly closed: Promise<number>;
  #messages: Message[] = [];
  readonly #live = new Set<string>();
  #arrived = Promise.withResolvers<void>();

  /** Opens and initialises a socket; `params` are its connection parameters. Resolves once it is acknowledged. */
  static async open(gateway: TestGateway, params: unknown = { authorization: `Bearer ${gateway.token}` }): Promise<RawSocket> {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    const raw = new RawSocket(socket);
    await once(socket, 'open');
    const acknowledged = once(socket, 'message');
    socket.send(JSON.stringify({ type: 'connection_init', payload: params }));
    const [message] = await acknowledged as [Buffer];
    if (JSON.parse(message.toString()).type !== 'connection_ack') throw new Error(`not acknowledged: ${message.toString()}`);
    return raw;
  }

  constructor(socket: WebSocket) {
    this.socket = socket;
    this.closed = new Promise((resolve) => {
      socket.once('close', (code) => {
        resolve(code);
        this.#arrived.resolve();
      });
    });
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Message;
      if (message.id !== undefined) this.#messages.push(message);
      else if (message.payload?.live !== undefined) this.#live.add(message.payload.live);
      else return;
      this.#arrived.resolve();
      this.#arrived = Promise.withResolvers();
    });
  }

  get isOpen(): boolean { return this.socket.readyState === WebSocket.OPEN; }

  start(id: string, query: string, variables?: object): void {
    this.socket.send(JSON.stringify({ id, type: 'subscribe', payload: { query, variables } }));
  }

  complete(id: string): void {
    this.socket.send(JSON.stringify({ id, type: 'complete' }));
  }

  /** The next message for an operation. Fails where the socket is closed before one comes. */
  async next(id: string): Promise<Message> {
    for (;;) {
      const index = this.#messages.findIndex((message) => message.id === id);
      const [message] = index === -1 ? [] : this.#messages.splice(index, 1);
      if (message !== undefined) return message;
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`The socket was closed (${await this.closed}) before anything came for ${id}.`);
      await this.#arrived.promise;
    }
  }

  /** Waits until a subscription has been sent everything up to the present. Fails as `next` does. */
  async live(id: string): Promise<void> {
    while (!this.#live.has(id)) {
      if (this.socket.readyState === WebSocket.CLOSED) throw new Error(`The socket was closed (${await this.closed}) before ${id} was live.`);
      await this.#arrived.promise;
    }
  }

  /** Runs a query or mutation to its end. */
  async run(id: string, query: string, variables?: object): Promise<any> {
    this.start(id, query, variables);
    const message = await this.next(id);
    if (message.type === 'next') await this.next(id);
    return message.type === 'next' ? message.payload : { errors: message.payload };
  }
}
