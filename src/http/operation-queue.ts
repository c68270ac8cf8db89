/**
 * What one socket has executed at once. The answers to all that is sent in a moment could be more than there is memory for:
 * what is beyond a few waits, also until earlier answers have been read, and where much waits no more is read of the socket.
 */
import type { WebSocket } from 'ws';
import type { SlowReader } from './slow-reader.ts';

/** How many operations are under way at once; of subscriptions their beginning alone. */
const UNDER_WAY = 10;
/** With so many that wait, or so many bytes of them, no more is read. Half of that, and it goes on. */
const WAITING = { count: 100, bytes: 1024 * 1024 };

export class OperationQueue {
  readonly #socket: WebSocket;
  readonly #reader: SlowReader;
  #underWay = 0;
  #waiting: { bytes: number; begin: () => void }[] = [];
  #bytes = 0;

  constructor(socket: WebSocket, reader: SlowReader) {
    this.#socket = socket;
    this.#reader = reader;
  }

  /**
   * Waits for an operation's turn, in their order; for ever where the socket is closed before. To be left after it.
   * @param bytes what it takes in memory while it waits
   */
  enter(bytes: number): Promise<void> {
    return new Promise((begin) => {
      this.#waiting.push({ bytes, begin });
      this.#bytes += bytes;
      this.#admit();
      if (this.#waiting.length > WAITING.count || this.#bytes > WAITING.bytes) this.#socket.pause();
    });
  }

  /** An operation has been answered: what waits for the client counts what it was answered. */
  leave(): void {
    this.#underWay -= 1;
    this.#admit();
  }

  // Always the same one, so that the reader keeps it once.
  readonly #admit = (): void => {
    if (this.#socket.readyState !== this.#socket.OPEN) {
      this.#waiting = [];
      return;
    }
    while (this.#waiting.length > 0 && this.#underWay < UNDER_WAY && !this.#reader.isFull(this.#admit)) {
      const { bytes, begin } = this.#waiting.shift()!;
      this.#bytes -= bytes;
      this.#underWay += 1;
      begin();
    }
    if (this.#socket.isPaused && this.#waiting.length <= WAITING.count / 2 && this.#bytes <= WAITING.bytes / 2) this.#socket.resume();
  };
}
