/**
 * LISTEN with a heartbeat. A notification is only a hint that there is something to read; the tables are the
 * truth. What is sent while the connection is away is lost, so `onWake` is also called after each reconnect.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql as statement } from 'drizzle-orm';
import { GatewayError } from '../domain/errors.ts';
import { postgresClient, type Connection, type Pool } from './client.ts';
import { showMark } from './marks.ts';

export const CHANNELS = {
  /** A transition was committed; payload: its position. */
  feed: 'backup_gateway_feed',
  /** A job can be claimed, or is to be cancelled; payload: its id. */
  jobs: 'backup_gateway_jobs',
  /** A job progressed; payload: its id. */
  progress: 'backup_gateway_progress',
  /** A schedule was made, changed or removed; payload: its id. */
  schedules: 'backup_gateway_schedules',
} as const;
export type Channel = keyof typeof CHANNELS;

const HEARTBEAT = 'backup_gateway_heartbeat';
/** How often the connection must prove that notifications still come through, in milliseconds. */
const HEARTBEAT_INTERVAL = 5_000;
const HEARTBEAT_PATIENCE = 5_000;
/** How many notifications must come back, one after the other, before the connection is trusted at the start. */
const PROOF_ROUNDS = 3;
/** How long a new connection may take until it listens, in milliseconds; that to connect is a part of it. */
const LISTEN_PATIENCE = 15_000;
/** How soon a database that is away is tried again, in milliseconds. */
const RETRY = 500;

export interface Listener {
  /** Calls back for each notification, and with null after each (re)connect. Answers how to stop. */
  on(channel: Channel, wake: (payload: string | null) => void): () => void;
  /** Calls back as for a notification that came by another way. */
  tell(channel: Channel, payload: string | null): void;
  /** Whether notifications come through now. */
  readonly isListening: boolean;
  close(): Promise<void>;
}

export interface ListenerOptions {
  /** Others see it for as long as this process is connected; see `marks.ts`. */
  mark?: number;
  /** What notifies, if it reaches the database by another way than the listener: by that way the proof is sent. */
  notifier?: Pool;
}

const POOLER_HINT = 'Set DATABASE_DIRECT_URL to an address of the same database without a pooler between, or with one that keeps a connection of the server for each client (pool_mode = session); DATABASE_URL may go on leading through the pooler. See "A pooler between" in docs/CONFIGURATION.md.';

const notificationsLost = () => new GatewayError('NOTIFICATIONS_LOST',
  'Notifications of the database do not come back: a pooler swallows them, as PgBouncer does with pool_mode = transaction, or DATABASE_DIRECT_URL leads to another database than DATABASE_URL.', POOLER_HINT);

/** What a pooler says of settings that it can't keep, in words for the operator; anything else stays as it is. */
function readRefusal(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.startsWith('unsupported startup parameter')) return error;
  return new GatewayError('POOLER_BETWEEN', `A pooler stands between this process and its database, and refuses the connection: ${error.message}.`, POOLER_HINT, { cause: error });
}

/**
 * Starts to listen on every channel. Comes back once it is proven that notifications come through.
 * @throws GatewayError NOTIFICATIONS_LOST or POOLER_BETWEEN, and whatever the driver says of a server that is away
 */
export async function startListener(connection: Connection, { mark, notifier }: ListenerOptions = {}): Promise<Listener> {
  const handlers: Record<Channel, Set<(payload: string | null) => void>> = {
    feed: new Set(), jobs: new Set(), progress: new Set(), schedules: new Set(),
  };
  const stopping = new AbortController();
  let isListening = false;
  // The connection that sends the heartbeats has gone: the one that listens may have gone with it. It has no end of
  // its own, so that it goes only when something is wrong.
  const connect = () => {
    const lost = new AbortController();
    return { sql: postgresClient(connection, { max: 1, max_lifetime: null, onclose: () => lost.abort() }), lost: lost.signal };
  };
  let client = connect();
  const tell = (channel: Channel, payload: string | null) => {
    for (const handler of handlers[channel]) handler(payload);
  };

  let heartbeatHeard: (word: string) => void = () => undefined;
  let isProven = false;
  const listen = async () => {
    const { sql } = client;
    await sql.listen(HEARTBEAT, (word) => heartbeatHeard(word));
    for (const channel of Object.keys(CHANNELS) as Channel[]) {
      // postgres.js listens again by itself after a lost connection, and then calls the third argument; but it tries
      // only once, so that the heartbeat must show whether it could.
      await sql.listen(CHANNELS[channel], (payload) => tell(channel, payload), () => tell(channel, null));
    }
    if (!isProven) await prove();
    // Not before: taken through a pooler, the lock behind it would stay on a connection of the pooler's.
    if (mark !== undefined) await showMark(sql, mark);
    // Given up meanwhile for its silence, and replaced.
    if (sql === client.sql) isListening = true;
  };

  /** Waits; false: for nothing, because the connection was lost meanwhile, or the listener stops. */
  const wait = (milliseconds: number) =>
    sleep(milliseconds, true, { signal: AbortSignal.any([stopping.signal, client.lost]) }).catch(() => false);
  /** A statement that notifies, as a plain text since a prepared one may fail through a pooler; and that very one's coming back. */
  const newEcho = () => {
    const sent = randomUUID();
    const heard = new Promise<true>((resolve) => {
      heartbeatHeard = (word) => { if (word === sent) resolve(true); };
    });
    return { text: `select pg_notify('${HEARTBEAT}', '${sent}')`, heard };
  };
  const tooLong = () => wait(HEARTBEAT_PATIENCE).then(() => false);
  const proveAlive = (): Promise<boolean> => {
    const { text, heard } = newEcho();
    // On a half-open connection the notification itself is never answered.
    return Promise.race([client.sql.unsafe(text).then(() => heard).catch(() => false), tooLong()]);
  };
  /** The listening connection sends nothing meanwhile, so that a pooler has no occasion to hand it a notification by chance. */
  const prove = async () => {
    for (let round = 0; round < PROOF_ROUNDS; round += 1) {
      const { text, heard } = newEcho();
      // A server that is slow to answer is none that loses notifications: the patience begins with its answer.
      if (notifier === undefined) await client.sql.unsafe(text);
      else await notifier.execute(statement.raw(text)).catch((error: Error) => { throw error.cause ?? error; });
      if (await Promise.race([heard, tooLong()])) continue;
      if (client.lost.aborted) throw new GatewayError('CONNECTION_LOST', 'The connection to the database was lost at once.', 'Look at the log of the server, and start again.');
      throw notificationsLost();
    }
    isProven = true;
  };

  const watch = async () => {
    while (!stopping.signal.aborted) {
      if (await proveAlive() && await wait(HEARTBEAT_INTERVAL)) continue;
      isListening = false;
      while (!isListening && !stopping.signal.aborted) {
        // Half-open, or the server is away: a new client, since the old one may wait for ever.
        void client.sql.end({ timeout: 0 }).catch(() => undefined);
        client = connect();
        // It may fall silent here, too.
        const limit = sleep(LISTEN_PATIENCE, undefined, { signal: stopping.signal });
        await Promise.race([listen(), limit]).catch(() => sleep(RETRY, undefined, { signal: stopping.signal }).catch(() => undefined));
      }
    }
  };

  try {
    await listen();
  } catch (error) {
    stopping.abort();
    await client.sql.end({ timeout: 0 }).catch(() => undefined);
    throw readRefusal(error);
  }
  const watching = watch();
  return {
    on(channel, wake) {
      handlers[channel].add(wake);
      return () => handlers[channel].delete(wake);
    },
    tell,
    get isListening() { return isListening; },
    async close() {
      stopping.abort();
      await client.sql.end({ timeout: 1 }).catch(() => undefined);
      await watching;
    },
  };
}
