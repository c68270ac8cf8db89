/**
 * LISTEN with a heartbeat. A notification is only a hint that there is something to read; the tables are the
 * truth. What is sent while the connection is away is lost, so `onWake` is also called after each reconnect.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { postgresClient, type Connection } from './client.ts';
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
/** How long a new connection may take until it listens, in milliseconds; that to connect is a part of it. */
const LISTEN_PATIENCE = 15_000;
/** How soon a database that is away is tried again, in milliseconds. */
const RETRY = 500;

export interface Listener {
  /** Calls back for each notification, and with null after each (re)connect. Answers how to stop. */
  on(channel: Channel, wake: (payload: string | null) => void): () => void;
  /** Whether notifications come through now. */
  readonly isListening: boolean;
  close(): Promise<void>;
}

/**
 * Starts to listen on every channel. Comes back once the first connection listens, or rejects if it cannot. Where a
 * mark is given, others see it for as long as this process is connected; see `marks.ts`.
 */
export async function startListener(connection: Connection, mark?: number): Promise<Listener> {
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

  let heartbeatHeard: () => void = () => undefined;
  const listen = async () => {
    const { sql } = client;
    if (mark !== undefined) await showMark(sql, mark);
    await sql.listen(HEARTBEAT, () => heartbeatHeard());
    for (const channel of Object.keys(CHANNELS) as Channel[]) {
      // postgres.js listens again by itself after a lost connection, and then calls the third argument; but it tries
      // only once, so that the heartbeat must show whether it could.
      await sql.listen(CHANNELS[channel], (payload) => tell(channel, payload), () => tell(channel, null));
    }
    // Given up meanwhile for its silence, and replaced.
    if (sql === client.sql) isListening = true;
  };

  /** Waits; false: for nothing, because the connection was lost meanwhile, or the listener stops. */
  const wait = (milliseconds: number) =>
    sleep(milliseconds, true, { signal: AbortSignal.any([stopping.signal, client.lost]) }).catch(() => false);
  const proveAlive = (): Promise<boolean> => {
    const heard = new Promise<true>((resolve) => { heartbeatHeard = () => resolve(true); });
    // On a half-open connection the notification itself is never answered.
    const answered = client.sql.notify(HEARTBEAT, '').then(() => heard).catch(() => false);
    return Promise.race([answered, wait(HEARTBEAT_PATIENCE).then(() => false)]);
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
        const tooLong = sleep(LISTEN_PATIENCE, undefined, { signal: stopping.signal });
        await Promise.race([listen(), tooLong]).catch(() => sleep(RETRY, undefined, { signal: stopping.signal }).catch(() => undefined));
      }
    }
  };

  await listen();
  const watching = watch();
  return {
    on(channel, wake) {
      handlers[channel].add(wake);
      return () => handlers[channel].delete(wake);
    },
    get isListening() { return isListening; },
    async close() {
      stopping.abort();
      await client.sql.end({ timeout: 1 }).catch(() => undefined);
      await watching;
    },
  };
}
