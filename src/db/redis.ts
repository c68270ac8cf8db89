/**
 * A topic of a Redis, through its own client library. Nothing is queued, repeated or connected anew here.
 */

/** How many messages may wait for an answer. */
const LONGEST_QUEUE = 1_000;

/** Two connections of the client library, since one that is subscribed can't publish. */
export interface RedisConnection {
  /** Connects, and is subscribed. */
  begin(receive: (text: string) => void): Promise<void>;
  publish(text: string): Promise<unknown>;
  /** Aborted with what ended it. Nothing is tried again on the same connection. */
  readonly lost: AbortSignal;
  /** At once; may be called again. */
  close(): void;
}

/** Two that are not connected yet; `patience`: how long to wait for each, in milliseconds. */
export async function openRedis(url: string, topic: string, patience: number): Promise<RedisConnection> {
  // Here, since it takes a tenth of a second to load, which who has no bus need not wait for.
  const { createClient } = await import('@redis/client');
  const ended = new AbortController();
  const open = () => createClient({
    url,
    // Understood by every server, and by what may stand in front of it.
    RESP: 2, maintNotifications: 'disabled',
    // What can't be sent at once is notified. How long to wait, and when to connect again, is decided by who asks.
    disableOfflineQueue: true, commandsQueueMaxLength: LONGEST_QUEUE, commandOptions: { timeout: 0 },
    socket: { reconnectStrategy: false, connectTimeout: patience },
  }).on('error', (error) => ended.abort(error));
  const publisher = open();
  const subscriber = open();
  return {
    async begin(receive) {
      await Promise.all([publisher.connect(), subscriber.connect()]);
      await subscriber.subscribe(topic, receive);
    },
    publish: (text) => publisher.publish(topic, text),
    lost: ended.signal,
    close() {
      ended.abort();
      publisher.destroy();
      subscriber.destroy();
    },
  };
}

/** What went wrong, in words that hold no password: a server that does not know AUTH repeats what came with it. */
export function reasonOf(error: unknown): string {
  const [first = error] = error instanceof AggregateError ? error.errors : [];
  return first instanceof Error ? first.message.replace(/,? with args .*/s, '').replace(/\.$/, '') : 'it does not answer';
}
