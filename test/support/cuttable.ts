/** A database that can be taken away: Postgres behind a TCP proxy, which a test cuts and mends. */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { pino } from 'pino';
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts';

/** `connection` is the same object for everything that is sent on one. */
export type Inspect = (from: 'gateway' | 'server', data: Buffer, connection: object) => 'cut' | void;

export interface CuttableDatabase {
  /** For DATABASE_URL. */
  readonly url: string;
  /** Ends every connection, and refuses new ones. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  /** Looks at all that is sent, before it is passed on; where it answers 'cut', that connection ends instead. null: no more. */
  inspect(look: Inspect | null): void;
  stop(): Promise<void>;
}

export async function startCuttableDatabase(dataDir: string): Promise<CuttableDatabase> {
  const postgres = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) });
  const { host, port, database, username } = postgres.connection;
  const sockets = new Set<Socket>();
  let look: Inspect | null = null;
  const proxy = createServer((client) => {
    const server = connect(join(host, `.s.PGSQL.${port}`));
    for (const [socket, other] of [[client, server], [server, client]] as const) {
      sockets.add(socket);
      socket.on('error', () => undefined).on('close', () => { sockets.delete(socket); other.destroy(); });
    }
    const pass = (from: 'gateway' | 'server', to: Socket) => (data: Buffer) => {
      if (look?.(from, data, client) === 'cut') client.destroy();
      else to.write(data);
    };
    client.on('data', pass('gateway', server));
    server.on('data', pass('server', client));
  });
  const listen = async (at: number): Promise<number> => {
    await once(proxy.listen(at, '127.0.0.1'), 'listening');
    return (proxy.address() as AddressInfo).port;
  };
  const proxyPort = await listen(0);
  const cut = async () => {
    const closed = proxy.listening ? once(proxy, 'close') : undefined;
    proxy.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    url: `postgres://${username}@127.0.0.1:${proxyPort}/${database}`,
    cut,
    async mend() { await listen(proxyPort); },
    inspect(callback) { look = callback; },
    async stop() {
      await cut();
      await postgres.stop();
    },
  };
}
