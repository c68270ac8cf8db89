/**
 * A process that uses the embedded Postgres and does what its parent tells it over the IPC channel: `query` one
 * statement on a connection of its own, `write` rows until it dies (each is reported once it is committed), `stop`.
 */
import postgres from 'postgres';
import { startEmbeddedPostgres, type Logger } from '../../src/db/embedded/index.ts';
import type { Way } from '../../src/db/embedded/identity.ts';

export type Order = { id: number; query: string } | { id: number; write: string } | { id: number; stop: true };
export type Reply =
  | { up: { host: string } } | { failed: { code: string; message: string; hint: string } }
  | { committed: number }
  | { id: number; rows?: unknown[]; error?: string };

const reply = (message: Reply): void => void process.send?.(message);
const { dataDir, ways } = JSON.parse(process.argv[2] ?? '{}') as { dataDir: string; ways?: Way[] };
const line = (fields: object, message: string): void => void process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
const log: Logger = { debug: line, info: line, warn: line, error: line };
// As a gateway does: Ctrl-C is a request to finish, not an end.
process.on('SIGINT', () => undefined);

try {
  const server = await startEmbeddedPostgres({ dataDir, log, ways });
  const connect = () => postgres({ ...server.connection, max: 1, connect_timeout: 5, fetch_types: false, onnotice: () => undefined });
  process.on('message', (order: Order) => void obey(order));
  reply({ up: { host: server.connection.host } });

  const obey = async (order: Order): Promise<void> => {
    try {
      if ('stop' in order) {
        await server.stop();
        reply({ id: order.id });
        process.disconnect();
        return;
      }
      const client = connect();
      if ('query' in order) {
        const rows = await client.unsafe(order.query).finally(() => client.end({ timeout: 0 }));
        reply({ id: order.id, rows: [...rows] });
        return;
      }
      reply({ id: order.id });
      try {
        for (;;) {
          const [row] = await client.unsafe(`INSERT INTO ${order.write} DEFAULT VALUES RETURNING id`);
          reply({ committed: Number(row?.['id']) });
        }
      } finally {
        await client.end({ timeout: 0 });
      }
    } catch (error) {
      reply({ id: order.id, error: (error as Error).message });
    }
  };
} catch (error) {
  const { code, message, hint } = error as Error & { code: string; hint: string };
  reply({ failed: { code, message, hint } });
  process.disconnect();
}
