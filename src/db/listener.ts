/**
 * LISTEN with a heartbeat. A notification is only a hint that there is something to read; the tables are the
 * truth. What is sent while the connection is away is lost, so `onWake` is also called after each reconnect.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type postgres from 'postgres';
import { postgresClient, type Connection } from './client.ts';

export const CHANNELS = {
  /** A transition was committed; payload: its position. */
  feed: 'backup_gateway_feed',
  /** A job can be claimed, or is to be cancelled; payload: its id. */
  jobs: 'backup_gateway_jobs',
  /** A job progressed; payload: its id. */
  progress: 'backup_gateway_progress',
} as const;
export type Channel = keyof typeof CHANNELS;

const HEARTBEAT = 'backup_gateway_heartbeat';
/** How often the connection must prove that notifications still come through, in milliseconds. */
const HEARTBEAT_INTERVAL = 5_000;
const HEARTBEAT_PATIENCE = 5_000;
/** How soon a database that is away is tried again, in milliseconds. */
const RETRY = 500;

export interface Listener {
  /** Calls back for each notification, and with null after each (re)connect. Answers how to stop. */
  on(channel: Channel, wake: (payload: string | null) => void): () => void;
  /** Whether notifications come through now. */
  readonly isListening: boolean;
  close(): Promise<void>;
}

/** Starts to listen on every channel. Comes back once the first connection listens, or rejects if it cannot. */
export async function startListener(connection: Connection): Promise<Listener> {
  const handlers: Record<Channel, Set<(payload: string | null) => void>> = {
    feed: new Set(), jobs: new Set(), progress: new Set(),
  };
  const stopping = new AbortController();
  let isListening = false;
  /** Resolved when the connection that sends the heartbeats is gone: the one that listens may be gone with it. */
  let lost = Promise.withResolvers<void>();
  const connect = () => postgresClient(connection, { max: 1, onclose: () => lost.resolve() });
  let client: postgres.Sql = connect();
  const tell = (channel: Channel, payload: string | null) => {
    for (const handler of handlers[channel]) handler(payload);
  };

  let heartbeatHeard: () => void = () => undefined;
  const listen = async () => {
    await client.listen(HEARTBEAT, () => heartbeatHeard());
    for (const channel of Object.keys(CHANNELS) as Channel[]) {
      // postgres.js listens again by itself after a lost connection, and then calls the third argument; but it tries
      // only once, so that the heartbeat must see whether it could.
      await client.listen(CHANNELS[channel], (payload) => tell(channel, payload), () => tell(channel, null));
    }
    isListening = true;
  };

  const proveAlive = async (): Promise<boolean> => {
    const heard = new Promise<true>((resolve) => { heartbeatHeard = () => resolve(true); });
    // On a half-open connection the notification itself is never answered.
    const answered = client.notify(HEARTBEAT, '').then(() => heard).catch(() => false);
    const patience = new AbortController();
    const silence = sleep(HEARTBEAT_PATIENCE, false, { signal: AbortSignal.any([patience.signal, stopping.signal]) }).catch(() => false);
    const alive = await Promise.race([answered, silence]);
    patience.abort();
    return alive;
  };

  const watch = async () => {
    while (!stopping.signal.aborted) {
      lost = Promise.withResolvers();
      isListening = await proveAlive();
      if (stopping.signal.aborted) return;
      const pause = new AbortController();
      const paused = sleep(isListening ? HEARTBEAT_INTERVAL : RETRY, undefined, { signal: AbortSignal.any([pause.signal, stopping.signal]) }).catch(() => undefined);
      if (isListening) await Promise.race([paused, lost.promise]);
      else {
        // Half-open, or the server is away: a new client, since the old one may wait for ever.
        void client.end({ timeout: 0 }).catch(() => undefined);
        client = connect();
        await listen().catch(() => paused);
      }
      pause.abort();
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
      await client.end({ timeout: 1 }).catch(() => undefined);
      await watching;
    },
  };
}
