/**
 * A Redis that carries wake-ups in place of notifications, where WAKE_BUS_URL names one. What it carries is a hint as well,
 * and it may go away at any time: then wake-ups are notified as without it, since everybody goes on listening, and each
 * process looks for itself until the bus is back.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'drizzle-orm';
import { GatewayError } from '../domain/errors.ts';
import type { Pool } from './client.ts';
import type { Logger } from './embedded/index.ts';
import { CHANNELS, type Channel, type Listener } from './listener.ts';
import { openRedis, reasonOf, type RedisConnection } from './redis.ts';
import type { Wake } from './wakes.ts';

/** How long a connection may take until it is proven that messages come back by it, in milliseconds. */
const CONNECT_PATIENCE = 5_000;
/** How often it must prove that again, and how long that may take, in milliseconds. */
const HEARTBEAT_INTERVAL = 5_000;
const HEARTBEAT_PATIENCE = 5_000;
/** After how long a message that the Redis has not taken is notified, too, in milliseconds. */
const SEND_PATIENCE = 1_000;
/** How soon a Redis that is away is tried again, in milliseconds. Each time everybody looks whether there is something to read. */
const RETRY = 1_000;

export interface WakeBus {
  /** Passes on what has been committed: all that comes in one turn of the event loop together, to this process as well. */
  publish(wakes: readonly Wake[]): void;
  close(): Promise<void>;
}

export interface WakeBusOptions {
  /** Of the installation: others may use the same Redis. */
  id: string;
  /** Its callbacks are called. */
  listener: Pick<Listener, 'tell'>;
  /** Notifies where the bus can't. */
  db: Pool;
  log: Pick<Logger, 'info' | 'warn'>;
}

const CHANNEL_OF = new Map(Object.entries(CHANNELS).map(([channel, name]) => [name as string, channel as Channel]));

/** Of the feed's wake-ups the last one says it all; of the others each is of another record. */
const keyOf = ({ channel, payload }: Wake): string => (channel === CHANNELS.feed ? channel : `${channel} ${payload}`);

/**
 * Starts to publish and to be subscribed. Comes back once it is proven that messages come through.
 * @throws GatewayError WAKE_BUS_UNREACHABLE
 */
export async function startWakeBus(url: string, { id, listener, db, log }: WakeBusOptions): Promise<WakeBus> {
  const topic = `backup-gateway:${id}`;
  /** Tells the own messages from others'. */
  const self = randomUUID();
  const stopping = new AbortController();
  let onOwn: () => void = () => undefined;

  const tell = (wakes: readonly Wake[]) => {
    for (const { channel, payload } of wakes) {
      const known = CHANNEL_OF.get(channel);
      if (known !== undefined) listener.tell(known, payload);
    }
  };
  const tellAll = () => {
    for (const channel of CHANNEL_OF.values()) listener.tell(channel, null);
  };
  const receive = (text: string) => {
    const message = readMessage(text);
    // Of another version, perhaps.
    if (message === null) tellAll();
    else if (message.from === self) onOwn();
    else tell(message.wakes);
  };
  const messageOf = (wakes: readonly Wake[]) => JSON.stringify({ from: self, wakes });

  /** Sends a message, and waits until one of the own has come back. */
  const prove = async (connection: RedisConnection) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    onOwn = resolve;
    await connection.publish(messageOf([]));
    await promise;
  };
  let newest: RedisConnection | undefined;
  const connect = async (): Promise<RedisConnection> => {
    const opened = newest = await openRedis(url, topic, CONNECT_PATIENCE);
    try {
      await answered(CONNECT_PATIENCE, opened.lost, opened.begin(receive).then(() => prove(opened)));
      return opened;
    } catch (error) {
      opened.close();
      throw error;
    }
  };
  /** null: it is away. */
  let connection: RedisConnection | null = await connect().catch((error: unknown) => { throw unreachable(error); });

  const unnotified = new Map<string, Wake>();
  let notifying: Promise<void> | null = null;
  const notifyAll = async () => {
    while (unnotified.size > 0) {
      const wakes = JSON.stringify([...unnotified.values()]);
      unnotified.clear();
      // With the database away, too, nobody hears of it now: whoever listens looks for himself once it is back.
      await db.execute(sql`select pg_notify(wake->>'channel', wake->>'payload') from json_array_elements(${wakes}::json) wake`).catch(() => undefined);
    }
    notifying = null;
  };
  const notify = (wakes: readonly Wake[]): Promise<void> => {
    for (const wake of wakes) unnotified.set(keyOf(wake), wake);
    notifying ??= notifyAll();
    return notifying;
  };

  const pending = new Map<string, Wake>();
  let sent: Promise<unknown> = Promise.resolve();
  const send = () => {
    if (pending.size === 0) return;
    const wakes = [...pending.values()];
    pending.clear();
    tell(wakes);
    sent = connection === null ? notify(wakes) : answered(SEND_PATIENCE, connection.lost, connection.publish(messageOf(wakes))).catch(() => notify(wakes));
  };

  const pause = (milliseconds: number, ...signals: AbortSignal[]) =>
    sleep(milliseconds, true, { signal: AbortSignal.any([stopping.signal, ...signals]) }).catch(() => false);
  const watch = async () => {
    while (!stopping.signal.aborted) {
      if (connection !== null) {
        const { lost } = connection;
        const isAlive = await answered(HEARTBEAT_PATIENCE, lost, prove(connection)).then(() => true, () => false);
        if (isAlive && await pause(HEARTBEAT_INTERVAL, lost)) continue;
        if (stopping.signal.aborted) return;
        log.warn({ reason: reasonOf(lost.reason) }, 'the wake-up bus is away; the database notifies meanwhile');
        connection.close();
        connection = null;
      }
      // What others sent by the bus meanwhile is lost.
      tellAll();
      if (!await pause(RETRY)) return;
      connection = await connect().catch(() => null);
      if (connection === null) continue;
      log.info({}, 'the wake-up bus is back');
      tellAll();
    }
  };

  const watching = watch();
  return {
    publish(wakes) {
      if (stopping.signal.aborted) return;
      if (pending.size === 0) setImmediate(send);
      for (const wake of wakes) pending.set(keyOf(wake), wake);
    },
    async close() {
      stopping.abort();
      send();
      await answered(SEND_PATIENCE, new AbortController().signal, sent).catch(() => undefined);
      newest?.close();
      await watching;
      // One that was only just being opened.
      newest?.close();
    },
  };
}

/**
 * What a promise is settled with.
 * @throws the reason, where the connection is lost before, and an error where the time passes
 */
async function answered<T>(patience: number, lost: AbortSignal, promise: Promise<T>): Promise<T> {
  const { promise: failed, reject } = Promise.withResolvers<never>();
  const onLost = () => reject(lost.reason);
  const timer = setTimeout(() => reject(new Error(`it does not answer within ${patience / 1_000} seconds`)), patience);
  if (lost.aborted) onLost();
  lost.addEventListener('abort', onLost, { once: true });
  try {
    return await Promise.race([promise, failed]);
  } finally {
    clearTimeout(timer);
    lost.removeEventListener('abort', onLost);
  }
}

interface Message { from: string; wakes: Wake[] }

/** null: it is none of ours. */
function readMessage(text: string): Message | null {
  try {
    const message = JSON.parse(text) as Partial<Message> | null;
    return typeof message?.from === 'string' && Array.isArray(message.wakes) && message.wakes.every((wake) => typeof wake?.payload === 'string') ? message as Message : null;
  } catch {
    return null;
  }
}

const unreachable = (error: unknown) => new GatewayError('WAKE_BUS_UNREACHABLE', `The wake-up bus cannot be used: ${reasonOf(error)}.`,
  'Check WAKE_BUS_URL, and that the Redis runs, can be reached from here and lets the user publish and subscribe; or unset it, and Postgres notifies.');
