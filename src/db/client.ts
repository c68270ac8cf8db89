/**
 * Connections to Postgres through postgres.js and Drizzle.
 */
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js';
import type { PgDatabase } from 'drizzle-orm/pg-core';
import type { PostgresJsQueryResultHKT } from 'drizzle-orm/postgres-js';
import postgres from 'postgres';
import { ConnectionPool, STATEMENT_LIMIT } from './pool.ts';
import * as schema from './schema.ts';
import { isWake, readWake, WAKES_AS_NOTICES, type Wake } from './wakes.ts';

/** Where Postgres is: a `DATABASE_URL`, or what the embedded server listens on. */
export type Connection = string | { host: string; port: number; database: string; username: string };

/** What a query runs on: the pool, or one transaction. */
export type Db = PgDatabase<PostgresJsQueryResultHKT, typeof schema>;

/** The pool, from which transactions start. */
export type Pool = PostgresJsDatabase<typeof schema>;

/** A pool of connections. */
export interface Database {
  readonly db: Pool;
  /** Ends the pool; statements under way get five seconds. */
  close(): Promise<void>;
}

/** How long statements under way may take once the pool is closed, in milliseconds. */
const GRACE = 5_000;

/**
 * Settings of every connection: instants are read and written as text with an offset, so UTC keeps them short. The
 * server looks after half a minute whether a silent client is still there: one whose network or machine has gone would
 * otherwise keep its locks for hours.
 */
const SESSION = {
  TimeZone: 'UTC', application_name: 'backup-gateway',
  tcp_keepalives_idle: 10, tcp_keepalives_interval: 5, tcp_keepalives_count: 4, tcp_user_timeout: 30_000,
};

/**
 * What of that a pooler takes: of any other setting it says that it does not know it, since the next transaction on the
 * same connection of its own may be somebody else's.
 */
const POOLED_SESSION = { TimeZone: SESSION.TimeZone, application_name: SESSION.application_name };

/**
 * Of the pool's connections: no request takes so long, and what hangs must not keep its locks. The server's limit comes
 * first, so that its answer says what happened.
 */
const limits = (statementLimit: number) => ({
  statement_timeout: Math.round(statementLimit * 0.8), idle_in_transaction_session_timeout: statementLimit,
});

/** Transactions have settings with them, where the connection can't. */
const beginWith = (settings: object): string =>
  ['begin', ...Object.entries(settings).map(([name, value]) => `set local ${name} = ${value}`)].join('; ');

/** What a client can be given, besides. */
type ClientOptions = Pick<postgres.Options<{}>, 'max' | 'max_lifetime' | 'onclose' | 'onnotice' | 'connection'> & {
  /** A pooler stands between: nothing may rest on two transactions having the same connection of the server. */
  isPooled?: boolean;
};

/** A postgres.js client with the project's settings. */
export function postgresClient(connection: Connection, { isPooled = false, ...options }: ClientOptions): postgres.Sql {
  const common = {
    onnotice: () => undefined,
    ...options,
    // A named statement would be there on one of the pooler's connections, and asked for on another.
    ...(isPooled ? { prepare: false } : {}),
    // A database that is away must be told as such, and soon: a request waits for its answer.
    connect_timeout: 5,
    // Each connection that an outage ends counts as an attempt: with a long pause at the end of the scale the first
    // request after it would wait that long to hear of it.
    backoff: (attempt: number) => Math.min(0.1 * 2 ** attempt, 0.5),
    connection: isPooled ? POOLED_SESSION : { ...SESSION, ...options.connection },
    // Seconds after which a silent server is asked whether it is still there.
    keep_alive: 10,
    // Asking for the types of arrays on connect would be a query whose failure nobody can catch; arrays are
    // passed as text instead.
    fetch_types: false,
  };
  return typeof connection === 'string' ? postgres(connection, common) : postgres({ ...common, ...connection });
}

export interface DatabaseOptions extends Pick<ClientOptions, 'isPooled'> {
  /** The most connections. */
  max?: number;
  /** In milliseconds. */
  statementLimit?: number;
  /** Is told of every statement before it is sent: for logs, and for the test that counts them. */
  onStatement?: (text: string) => void;
  /** Is told what to wake once it is committed, in place of notifications; see `wakes.ts`. */
  onWakes?: (wakes: readonly Wake[]) => void;
}

/** Opens a pool. */
export function openDatabase(connection: Connection, options: DatabaseOptions = {}): Database {
  const { onStatement, onWakes, max = 10, statementLimit = STATEMENT_LIMIT, isPooled = false } = options;
  const settings = { ...limits(statementLimit), ...(onWakes === undefined ? {} : WAKES_AS_NOTICES) };
  const pool = new ConnectionPool(({ onclose, onnotice }) => {
    const client = postgresClient(connection, {
      max: 1, max_lifetime: null, onclose, isPooled, connection: settings,
      ...(onWakes === undefined ? {} : { onnotice: (notice) => { if (isWake(notice)) onnotice(notice); } }),
    });
    // Makes the client read and write instants as Drizzle expects them.
    drizzle(client);
    return client;
  }, max, statementLimit, isPooled ? beginWith(settings) : 'begin', (notices) => onWakes?.(notices.map(readWake)));
  const db = drizzle(pool as unknown as postgres.Sql, {
    schema,
    casing: 'snake_case',
    logger: onStatement === undefined ? false : { logQuery: (text) => onStatement(text) },
  });
  return { db, close: () => pool.end(GRACE) };
}
