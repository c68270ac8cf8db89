/**
 * A gateway's database, reached past the gateway: what another gateway, the retention or an administrator does to it.
 */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import type postgres from 'postgres';
import { postgresClient, type Connection } from '../../src/db/client.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts';
import { until } from './gateway.ts';

export interface TestDatabase {
  readonly sql: postgres.Sql;
  /** One more connection, for a transaction that stays open; ended with the others. */
  session(): postgres.Sql;
  readonly connection: Exclude<Connection, string>;
  /** SIGKILL of the server; whoever uses it starts it again. Resolves when that is done; `sql` is another one then. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** Joins the embedded server of a data directory, or starts it. */
export async function openGatewayDatabase(dataDir: string): Promise<TestDatabase> {
  const server = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) });
  let sql = postgresClient(server.connection, { max: 4 });
  const sessions: postgres.Sql[] = [];
  const serverStart = async () => (await sql<{ at: string }[]>`select pg_postmaster_start_time()::text as at`)[0]?.at;
  return {
    get sql() { return sql; },
    session() {
      const session = postgresClient(server.connection, { max: 1 });
      sessions.push(session);
      return session;
    },
    connection: server.connection,
    async kill() {
      const before = await serverStart();
      const [pid] = (await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(pid), 'SIGKILL');
      // Its sessions notice only a moment later.
      await until('the server is back', async () => {
        await sql.end({ timeout: 0 });
        sql = postgresClient(server.connection, { max: 4 });
        return (await serverStart().catch(() => before)) !== before;
      });
    },
    async close() {
      await Promise.all([sql, ...sessions].map((session) => session.end({ timeout: 1 })));
      await server.stop();
    },
  };
}

/** A TCP way to an embedded server, which can be cut or fall silent as a network does. */
export interface DatabaseRoute {
  readonly url: string;
  /** Nothing goes through any more, and nobody is told; new connections work. */
  freeze(): void;
  /** Refuses all, and ends what there is. */
  cut(): void;
  mend(): Promise<void>;
  close(): Promise<void>;
}

export async function routeTo(database: TestDatabase): Promise<DatabaseRoute> {
  const pairs = new Set<[Socket, Socket]>();
  const route = createServer((outer) => {
    const inner = connect(join(database.connection.host, '.s.PGSQL.5432'));
    const pair: [Socket, Socket] = [outer, inner];
    pairs.add(pair);
    outer.pipe(inner);
    inner.pipe(outer);
    const end = () => {
      pairs.delete(pair);
      outer.destroy();
      inner.destroy();
    };
    for (const socket of pair) socket.on('error', end).on('close', end);
  });
  const listen = (at: number) => once(route.listen(at, '127.0.0.1'), 'listening');
  await listen(0);
  const { port } = route.address() as AddressInfo;
  return {
    url: `postgres://backup_gateway@127.0.0.1:${port}/backup_gateway`,
    freeze() {
      for (const [outer, inner] of pairs) {
        outer.unpipe();
        inner.unpipe();
        outer.pause();
        inner.pause();
      }
    },
    cut() {
      route.close();
      for (const [outer] of pairs) outer.resetAndDestroy();
    },
    async mend() { await listen(port); },
    close: () => new Promise((resolve) => {
      route.close(() => resolve());
      for (const [outer] of pairs) outer.destroy();
    }),
  };
}
