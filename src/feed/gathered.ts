/**
 * Look-ups that many ask for at once, answered together: what comes while one is under way waits for the next, which is for
 * all of them. When thousands come back at the same moment the database sees some tens of statements.
 */
import { setTimeout as sleep } from 'node:timers/promises';

/** Once more than one has asked at a time, how long the next ones are gathered, in milliseconds. */
const GATHERING = 50;

interface Request<Key, Value> { key: Key; resolve(value: Value): void; reject(error: unknown): void }

/**
 * Every answer is read after it was asked for.
 *
 * @param read answers many keys, in their order
 */
export function gathered<Key, Value>(read: (keys: Key[]) => Promise<Value[]>): (key: Key) => Promise<Value> {
  let waiting: Request<Key, Value>[] = [];
  let running: Promise<void> | null = null;

  const run = async () => {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        const values = await read(batch.map(({ key }) => key));
        batch.forEach(({ resolve }, index) => resolve(values[index]!));
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
      if (waiting.length > 1) await sleep(GATHERING);
    }
    running = null;
  };

  return (key) => new Promise((resolve, reject) => {
    waiting.push({ key, resolve, reject });
    running ??= run();
  });
}
