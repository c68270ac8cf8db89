/**
 * A follower as a generator, for who reads at its own pace.
 */
import type { TransitionFilter } from '../records/transitions.ts';
import type { TransitionRow } from '../records/rows.ts';
import { Attachment, type Hub } from './attachment.ts';
import type { CursorError } from './cursor.ts';

/** How many changes wait for its reader before it takes no more. */
const QUEUE_LIMIT = 1_000;

/** @throws CursorError where it falls so far behind that some are no longer kept */
export async function* follow(hub: Hub, filter: TransitionFilter, after: number, signal: AbortSignal): AsyncGenerator<TransitionRow, void> {
  const ending = AbortSignal.any([signal, hub.closing]);
  let queue: TransitionRow[] = [];
  let isFull = false;
  let failure: CursorError | null = null;
  let wake: () => void = () => undefined;
  const onEnd = () => wake();
  ending.addEventListener('abort', onEnd);
  const attachment = new Attachment(hub, filter, after, {
    take(row) {
      isFull = queue.length >= QUEUE_LIMIT;
      if (!isFull) queue.push(row);
      wake();
      return !isFull;
    },
    fail(error) {
      failure = error;
      wake();
    },
  });
  try {
    while (!ending.aborted) {
      const rows = queue;
      queue = [];
      if (rows.length > 0) {
        yield* rows;
      } else if (failure !== null) {
        throw failure;
      } else if (isFull) {
        isFull = false;
        attachment.resume();
      } else {
        await new Promise<void>((resolve) => { wake = resolve; });
      }
    }
  } finally {
    attachment.stop();
    ending.removeEventListener('abort', onEnd);
  }
}
