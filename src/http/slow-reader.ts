/**
 * A client that reads more slowly than it is sent to: what waits for it in memory is bounded, and one that does not read at
 * all is let go, to come back with its last cursor.
 */
import type { WebSocket } from 'ws';

/** What may wait in memory for one client, in bytes, before its subscriptions take no more and no operation of it is executed. */
const BUFFER_LIMIT = 1024 * 1024;
/** How often a client that is behind is looked at, in milliseconds. */
const CHECK = 50;
/** How long it may read nothing at all meanwhile, in milliseconds. */
const PATIENCE = 5_000;

/** Try again later: clients do, and resume with their last cursor. https://www.iana.org/assignments/websocket */
const CLOSE_TOO_SLOW = 1013;

export class SlowReader {
  readonly #socket: WebSocket;
  readonly #onClosed: () => void;
  readonly #waiting = new Set<() => void>();

  /** @param onClosed told when the client is let go for not reading */
  constructor(socket: WebSocket, onClosed: () => void) {
    this.#socket = socket;
    this.#onClosed = onClosed;
  }

  /** Whether the client has so much to read that it is sent no more for now. If so, calls back once it has read. */
  isFull(onRoom: () => void): boolean {
    if (this.#waiting.size === 0 && this.#socket.bufferedAmount <= BUFFER_LIMIT) return false;
    if (this.#waiting.size === 0) this.#watch();
    this.#waiting.add(onRoom);
    return true;
  }

  /** Waits until the client is sent more; for ever where it is gone before. */
  room(): Promise<void> {
    return new Promise((onRoom) => {
      if (!this.isFull(onRoom)) onRoom();
    });
  }

  #watch(): void {
    let [least, since] = [this.#socket.bufferedAmount, performance.now()];
    const timer = setInterval(() => {
      const { bufferedAmount, readyState } = this.#socket;
      if (bufferedAmount < least) [least, since] = [bufferedAmount, performance.now()];
      if (readyState !== this.#socket.OPEN) {
        clearInterval(timer);
      } else if (bufferedAmount <= BUFFER_LIMIT / 2) {
        clearInterval(timer);
        const waiting = [...this.#waiting];
        this.#waiting.clear();
        for (const onRoom of waiting) onRoom();
      } else if (performance.now() - since > PATIENCE) {
        clearInterval(timer);
        this.#onClosed();
        this.#socket.close(CLOSE_TOO_SLOW, 'Reads too slowly: resume with the last cursor');
        // Its own close would not be seen otherwise.
        this.#socket.resume();
      }
    }, CHECK);
    timer.unref();
  }
}
