/**
 * One idle session with the server, spoken by hand: its end tells at once that the server is gone, and its
 * beginning tells exactly what state the server is in, where a driver would retry or wait on its own.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { createConnection, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GatewayError } from '../../domain/errors.ts';

/** Part of the socket's file name. No TCP port is ever opened. */
export const port = 5432;

/** The cluster's superuser, for the launcher alone: it may connect when ordinary users fill all places. */
export const superuser = 'postgres';

/** A session that is held open. */
export interface Session {
  /** Fulfils when the session ends, whichever side ends it. */
  readonly closed: Promise<void>;
  /** Ends it. */
  end(): void;
}

/** What came of trying to connect. */
export type Greeting =
  | { readonly state: 'ready'; readonly session: Session }
  /** Nobody listens on the socket. */
  | { readonly state: 'absent' }
  /** A server is there and takes no session now: starting, recovering, shutting down or full. */
  | { readonly state: 'busy'; readonly reason: string };

/** SQLSTATEs of a server that is alive: cannot_connect_now and too_many_connections. */
const passing: readonly string[] = ['57P03', '53300'];

/**
 * Connects to the server on a Unix socket, as the superuser. The session does not keep the process alive.
 *
 * @param timeoutMs how long the server may take to answer before it counts as busy
 * @throws GatewayError `POSTGRES_UNREACHABLE` if the socket may not be used or the server refuses for good
 */
export function greet(socketPath: string, timeoutMs = 5_000): Promise<Greeting> {
  const { promise, resolve, reject } = Promise.withResolvers<Greeting>();
  const socket = createConnection(socketPath);
  let received: Buffer = Buffer.alloc(0);
  socket.setTimeout(timeoutMs, () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)));
  socket.on('connect', () => socket.write(startupMessage()));
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    // A message is one letter and a length that counts itself but not the letter.
    while (received.length >= 5 && received.length > received.readInt32BE(1)) {
      const end = received.readInt32BE(1) + 1;
      const [kind, body] = [String.fromCharCode(received[0] ?? 0), received.subarray(5, end)];
      received = received.subarray(end);
      if (kind === 'Z') resolve({ state: 'ready', session: sessionOn(socket) });
      if (kind !== 'E') continue;
      const { code, message } = errorFields(body);
      if (passing.includes(code) || code.startsWith('57P')) resolve({ state: 'busy', reason: message });
      else reject(unreachable(message));
      // After Z this is the farewell of a server that goes; its close follows.
      socket.end();
    }
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve({ state: 'absent' });
    else if (error.code === 'EACCES' || error.code === 'EPERM') reject(unreachable(error.message, error));
    else resolve({ state: 'busy', reason: error.message });
  });
  socket.on('close', () => resolve({ state: 'busy', reason: 'the server closed the connection' }));
  return promise;
}

function sessionOn(socket: Socket): Session {
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  socket.setTimeout(0).unref();
  const end = (): void => {
    socket.ref();
    socket.write(Buffer.from([0x58, 0, 0, 0, 4])); // Terminate
    // Does not wait for the server, which may hang.
    socket.destroySoon();
  };
  return { closed, end };
}

function startupMessage(): Buffer {
  const fields = ['user', superuser, 'database', 'postgres', 'application_name', 'backup-gateway launcher', ''];
  const body = Buffer.from(fields.map((field) => `${field}\0`).join(''));
  const head = Buffer.alloc(8);
  head.writeInt32BE(body.length + 8, 0);
  head.writeInt32BE(0x0003_0000, 4); // protocol 3.0
  return Buffer.concat([head, body]);
}

function errorFields(body: Buffer): { code: string; message: string } {
  const fields = new Map(body.toString('utf8').split('\0').map((field) => [field[0] ?? '', field.slice(1)]));
  return { code: fields.get('C') ?? '', message: fields.get('M') ?? '' };
}

const unreachable = (reason: string, cause?: Error): GatewayError =>
  new GatewayError('POSTGRES_UNREACHABLE', `The embedded Postgres cannot be used: ${reason}.`,
    'Run every gateway on this DATA_DIR as the same user.', { cause });

/** A name for the socket's directory that is short enough for a socket address. */
export interface SocketAddress {
  /** Directory, as postgres.js takes it for `host`. */
  readonly host: string;
  /** Path of the socket itself. */
  readonly path: string;
  /** Gives up the short name, if one was needed. */
  close(): Promise<void>;
}

/** macOS allows 104 bytes with the terminating zero, Linux 108. */
const longestAddress = 103;

/**
 * Names the directory of the socket so that clients of this process can connect, however deep it lies.
 *
 * @param kind which short name to use if one is needed: an open descriptor, which leaves nothing behind and which
 *   no cleaner of temporary directories takes away, or (where there is no /proc) a link in a temporary directory
 */
export async function socketAddress(
  directory: string, kind: 'descriptor' | 'link' = process.platform === 'linux' ? 'descriptor' : 'link',
): Promise<SocketAddress> {
  const named = (host: string, close: () => Promise<void>): SocketAddress =>
    ({ host, path: `${host}/.s.PGSQL.${port}`, close });
  const plain = named(directory, async () => undefined);
  if (Buffer.byteLength(plain.path) <= longestAddress) return plain;
  if (kind === 'descriptor') {
    const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
    return named(`/proc/self/fd/${descriptor}`, async () => closeSync(descriptor));
  }
  const holder = await mkdtemp(join(tmpdir(), 'bgpg-'));
  await symlink(directory, join(holder, 's'));
  return named(join(holder, 's'), () => rm(holder, { recursive: true, force: true }));
}
