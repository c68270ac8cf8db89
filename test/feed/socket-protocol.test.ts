/**
 * What takes too long to wait for, or cannot be made to happen from outside: signs of life, and faults of the program's own.
 */
import { EventEmitter } from 'node:events';
import type { Server } from 'graphql-ws';
import type { Logger } from 'pino';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { serveClient, type Client } from '../../src/http/graphql-ws-server.ts';
import { OperationQueue } from '../../src/http/operation-queue.ts';
import { SlowReader } from '../../src/http/slow-reader.ts';

/** A socket that notes what is done to it. */
class NotedSocket extends EventEmitter {
  readonly OPEN = 1;
  readyState = 1;
  bufferedAmount = 0;
  isPaused = false;
  readonly done: unknown[] = [];
  ping() { this.done.push('ping'); }
  pause() { this.isPaused = true; }
  resume() { this.isPaused = false; }
  send(message: string) { this.done.push(message); }
  terminate() {
    this.done.push('terminate');
    this.readyState = 3;
    this.emit('close', 1006, Buffer.from(''));
  }
  close(code: number, reason: string) {
    this.done.push([code, reason]);
    this.readyState = 2;
  }
}

const logged: unknown[] = [];
const log = { error: (...entry: unknown[]) => logged.push(entry), debug: () => undefined } as unknown as Logger;

function serve(take: (message: string) => Promise<void> = async () => undefined, closed: () => Promise<void> = async () => undefined) {
  const socket = new NotedSocket();
  const reader = new SlowReader(socket as never, () => socket.done.push('too slow'));
  const protocol = { opened(adapter: { onMessage(take: (message: string) => Promise<void>): void }) {
    adapter.onMessage(take);
    return closed;
  } };
  serveClient(protocol as unknown as Server<Client>, { socket, reader, operations: new OperationQueue(socket as never, reader), received: 0 } as unknown as Client, log);
  return socket;
}

beforeEach(() => {
  vi.useFakeTimers();
  logged.length = 0;
});
afterEach(() => { vi.useRealTimers(); });

describe('a socket', () => {
  test('is pinged every twelve seconds, stays while it answers, and is ended when it does not', () => {
    const socket = serve();
    for (let nth = 0; nth < 5; nth += 1) {
      vi.advanceTimersByTime(12_000);
      socket.emit('pong');
    }
    expect(socket.done).toEqual(['ping', 'ping', 'ping', 'ping', 'ping']);
    vi.advanceTimersByTime(12_000);
    expect(socket.done.slice(5)).toEqual(['ping']);
    vi.advanceTimersByTime(60_000);
    expect(socket.done.slice(6)).toEqual(['terminate']);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('whose answers are not read for now is not taken for dead', () => {
    const socket = serve();
    vi.advanceTimersByTime(12_000);
    socket.pause();
    vi.advanceTimersByTime(60_000);
    socket.resume();
    vi.advanceTimersByTime(11_000);
    expect(socket.done).not.toContain('terminate');
    vi.advanceTimersByTime(24_000);
    expect(socket.done).toContain('terminate');
  });
});

describe('a fault of the program', () => {
  test('in taking a message is logged, and closes the socket with 4500, which says nothing of it', async () => {
    const fault = new Error('secret');
    const socket = serve(() => Promise.reject(fault));
    socket.emit('message', Buffer.from('{}'));
    socket.emit('message', Buffer.from('{}'));
    await vi.advanceTimersByTimeAsync(0);
    expect(socket.done[0]).toEqual([4500, 'Internal server error']);
    expect(logged).toContainEqual([{ error: fault }, expect.any(String)]);
  });

  test('in ending its subscriptions is logged', async () => {
    const fault = new Error('at the end');
    const socket = serve(undefined, () => Promise.reject(fault));
    socket.terminate();
    await vi.advanceTimersByTimeAsync(0);
    expect(logged).toEqual([[{ error: fault }, expect.any(String)]]);
  });
});
