/**
 * A gateway's database, reached past the gateway: what another gateway, the retention or an administrator does to it.
 */
import { connect, createServer, type Socket } from 'node:net';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import type postgres from 'postgres';
import { postgresClient } from '../../src/db/client.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded/index.ts';

export interface TestDatabase {
  readonly sql: postgres.Sql;
  /** One more connection, for a transaction that stays open; ended with the others. */
  session(): postgres.Sql;
  /** The directory of the server's socket. */
  readonly host: string;
  /** SIGKILL of the server; whoever uses it starts it again. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/** Joins the embedded server of a data directory, or starts it. */
export async function openGatewayDatabase(dataDir: string): Promise<TestDatabase> {
  const server = await startEmbeddedPostgres({ dataDir, log: pino({ level: 'silent' }) });
  const sql = postgresClient(server.connection, { max: 4 });
  const sessions = [sql];
  return {
    sql,
    session() {
      const session = postgresClient(server.connection, { max: 1 });
      sessions.push(session);
      return session;
    },
    host: server.connection.host,
    async kill() {
      const [pid] = (await readFile(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n');
      process.kill(Number(pid), 'SIGKILL');
    },
    async close() {
      await Promise.all(sessions.map((session) => session.end({ timeout: 1 })));
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
  mend(): void;
  close(): Promise<void>;
}

export async function routeTo(database: TestDatabase): Promise<DatabaseRoute> {
  const pairs = new Set<[Socket, Socket]>();
  let isCut = false;
  const route = createServer((outer) => {
    if (isCut) return void outer.resetAndDestroy();
    const inner = connect(join(database.host, '.s.PGSQL.5432'));
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
  await new Promise<void>((resolve) => { route.listen(0, '127.0.0.1', resolve); });
  const address = route.address();
  const port = typeof address === 'object' ? address?.port : 0;
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
      isCut = true;
      for (const [outer] of pairs) outer.resetAndDestroy();
    },
    mend() { isCut = false; },
    close: () => new Promise((resolve) => {
      route.close(() => resolve());
      for (const [outer] of pairs) outer.destroy();
    }),
  };
}
