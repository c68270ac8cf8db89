/** The line between a worker and its object store, which can be cut, be silent, or lead nowhere. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface Line {
  readonly url: string;
  /** Ends all connections, in the middle of whatever they carry. */
  cut(): void;
  /** Lets nothing through any more, in either direction, until `speak`; then goes on as if nothing had been. */
  silence(): void;
  speak(): void;
  /** Refuses connections, after it has cut those there are. */
  refuse(): void;
  /** Takes connections again, at the same address. */
  accept(): Promise<void>;
  close(): void;
}

/** @param target a URL on loopback */
export async function openLine(target: string): Promise<Line> {
  const { hostname, port: targetPort } = new URL(target);
  const sockets = new Set<Socket>();
  let isSilent = false;
  const join = (outer: Socket): void => {
    const inner = connect(Number(targetPort), hostname);
    for (const [socket, other] of [[outer, inner], [inner, outer]] as const) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.on('data', (piece) => {
        if (!other.write(piece)) socket.pause();
      });
      socket.on('end', () => other.end());
      other.on('drain', () => {
        if (!isSilent) socket.resume();
      });
      if (isSilent) socket.pause();
    }
  };
  const listen = async (port: number): Promise<Server> => {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, join);
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return server;
  };
  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const cut = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${port}`,
    cut,
    silence() {
      isSilent = true;
      for (const socket of sockets) socket.pause();
    },
    speak() {
      isSilent = false;
      for (const socket of sockets) socket.resume();
    },
    refuse() {
      server.close();
      cut();
    },
    async accept() {
      if (!server.listening) server = await listen(port);
    },
    close() {
      server.close();
      cut();
    },
  };
}
