/**
 * Embedded Postgres: a real server, shared by all gateways on one DATA_DIR, with nothing to install.
 *
 * The server is nobody's child in the sense that matters: it outlives the process that started it. Whoever comes next
 * joins it, whoever leaves last stops it, and whoever notices its end first starts it again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../../domain/errors.ts';
import { database, openCluster, tryLock, type Cluster, type Held } from './cluster.ts';
import type { Way } from './identity.ts';
import { ensureRunning, serverStatus, shutDown, trimLog, type ServerContext } from './server.ts';
import { port, socketAddress, type Session, type SocketAddress } from './session.ts';

/** What the launcher needs of a logger; pino's fits. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Where and how to start. */
export interface EmbeddedPostgresOptions {
  /** Directory for the data, the socket and the log; made if it is not there. */
  readonly dataDir: string;
  readonly log: Logger;
  /** Ways in which a root process may give up root for the server. All of them, unless a test narrows them down. */
  readonly ways?: readonly Way[];
}

/** A running server, for as long as this process uses it. */
export interface EmbeddedPostgres {
  /**
   * Options to be spread into postgres.js `postgres({...})`. Unix socket only; valid in this process until `stop`,
   * also after the server was killed and started again.
   */
  readonly connection: { host: string; port: number; database: string; username: string };
  /**
   * Leaves the server; the last process that uses it stops it (fast shutdown, checkpointed), which ends all its
   * connections. May be called again; every call waits for the same end.
   */
  stop(): Promise<void>;
}

/** Longer than a start may take that another process is in the middle of. */
const launchLockLimitMs = 330_000;
const lockPollMs = 10;
const watchEveryMs = 1_000;
/** How long a server may go on refusing new sessions because somebody told it to stop when all have left. */
const stoppingPatienceMs = 3_000;
const longestRetryPauseMs = 5_000;

/**
 * Joins the server of this data directory, or starts it (and creates its database first). From then on the server is
 * started again within about a second of its end.
 *
 * @throws GatewayError whose hint says what a person can do; see the files of this folder for the codes
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const cluster = await openCluster(options.dataDir);
  const address = await socketAddress(cluster.runDirectory);
  const membership = new Membership(cluster, address, options);
  try {
    await membership.join();
  } catch (error) {
    await address.close();
    throw error instanceof GatewayError ? error : new GatewayError('POSTGRES_START_FAILED',
      `The embedded Postgres could not be started: ${(error as Error).message}`,
      `Check the permissions and the free space of ${cluster.dataDir}.`, { cause: error });
  }
  let stopped: Promise<void> | undefined;
  return {
    connection: { host: address.host, port, database, username: database },
    stop: () => stopped ??= membership.leave().finally(() => address.close()),
  };
}

/** This process's part in the server. */
class Membership {
  readonly #cluster: Cluster;
  readonly #log: Logger;
  readonly #server: ServerContext;
  readonly #leaving = new AbortController();
  #use: Held | undefined;
  #session: Session | undefined;
  #watch: NodeJS.Timeout | undefined;
  #recovery: Promise<void> = Promise.resolve();
  #stoppingSince: number | undefined;

  constructor(cluster: Cluster, address: SocketAddress, { log, ways }: EmbeddedPostgresOptions) {
    this.#cluster = cluster;
    this.#log = log;
    this.#server = {
      cluster, socketPath: address.path, ways, signal: this.#leaving.signal,
      report: (fields, message) => log.info({ dataDir: cluster.dataDir, ...fields }, message),
    };
  }

  async join(): Promise<void> {
    await this.#alone(this.#leaving.signal, async () => {
      this.#use = tryLock(this.#cluster.usersLock, 'shared');
      try {
        this.#hold(await ensureRunning(this.#server));
      } catch (error) {
        this.#use?.release();
        throw error;
      }
    });
    this.#watch = setInterval(() => void this.#look(), watchEveryMs).unref();
  }

  async leave(): Promise<void> {
    clearInterval(this.#watch);
    this.#leaving.abort();
    await this.#recovery;
    this.#session?.end();
    await this.#session?.closed;
    // Under the launch lock: who arrives during the stop waits here, and then starts the server anew.
    await this.#alone(undefined, async () => {
      this.#use?.release();
      const last = tryLock(this.#cluster.usersLock, 'exclusive');
      try {
        if (last !== undefined) await shutDown(this.#server);
      } finally {
        last?.release();
      }
    });
  }

  /** The end of the held session is the news that the server is gone; the kernel delivers it at once. */
  #hold(session: Session): void {
    this.#session = session;
    void session.closed.then(() => {
      if (!this.#leaving.signal.aborted) this.#recovery = this.#recover();
    });
  }

  async #recover(): Promise<void> {
    const { signal } = this.#leaving;
    this.#log.warn({ dataDir: this.#cluster.dataDir }, 'the embedded Postgres is gone; starting it again');
    for (let pause = 100; !signal.aborted; pause = Math.min(pause * 2, longestRetryPauseMs)) {
      try {
        this.#hold(await this.#alone(signal, () => ensureRunning(this.#server)));
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.error({ err: error, dataDir: this.#cluster.dataDir }, 'the embedded Postgres does not start; trying again');
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** What no event tells: a server that waits for its clients to leave (a plain `kill`), and the size of its log. */
  async #look(): Promise<void> {
    try {
      await trimLog(this.#cluster);
      const stopping = await serverStatus(this.#cluster) === 'stopping';
      this.#stoppingSince = stopping ? this.#stoppingSince ?? performance.now() : undefined;
      const waited = performance.now() - (this.#stoppingSince ?? Infinity);
      if (waited > stoppingPatienceMs) this.#session?.end();
    } catch (error) {
      this.#log.debug({ err: error }, 'could not look after the embedded Postgres');
    }
  }

  /** Runs an action while no other process starts, joins or stops the server. */
  async #alone<T>(signal: AbortSignal | undefined, action: () => Promise<T>): Promise<T> {
    const began = performance.now();
    let lock: Held | undefined;
    while ((lock = tryLock(this.#cluster.launchLock, 'exclusive')) === undefined) {
      if (performance.now() - began > launchLockLimitMs) {
        throw new GatewayError('POSTGRES_BUSY', `Another gateway is starting or stopping the Postgres in ${this.#cluster.dataDir}, for too long.`,
          'Look for a gateway that hangs, end it, and start again.');
      }
      await sleep(lockPollMs, undefined, { signal });
    }
    try {
      return await action();
    } finally {
      lock.release();
    }
  }
}
