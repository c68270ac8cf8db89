/**
 * A pool in which each connection is a postgres.js client of its own, and is thrown away when it ends.
 *
 * The driver's own pool uses an ended connection again: a ROLLBACK on it throws from a timer, which nobody can catch,
 * and what it had not sent yet keeps the place from ever connecting again. Here nothing is sent on a connection that
 * has ended, everything under way on it is rejected, and nothing that is left of it meets another request.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import postgres from 'postgres';
import { GatewayError } from '../domain/errors.ts';

type Parameters = readonly unknown[];
type Options = postgres.UnsafeQueryOptions | undefined;

/** What Drizzle's session asks of a client: statements, and their rows as objects or arrays. */
interface Statement extends PromiseLike<unknown> { values(): Promise<unknown> }
interface Session { unsafe(text: string, parameters?: Parameters, options?: Options): Statement }

/** How long a request waits for a free connection, in milliseconds. */
const PATIENCE = 15_000;
/** Connections do not grow old: what the server keeps for one, prepared statements above all, is let go, in milliseconds. */
const LIFETIME = 30 * 60_000;

/**
 * How long a statement may take, in milliseconds. The server ends it before, unless the network lost it: then nothing
 * would come back until TCP gives up, after many minutes.
 */
export const STATEMENT_LIMIT = 30_000;

const silent = () => new GatewayError('DATABASE_SILENT', 'The database did not answer in time; the connection was given up.', 'Try again; look at the network between gateway and database.');
const lost = () => new GatewayError('CONNECTION_LOST', 'The connection to the database was lost.', 'Try again.');
const stopping = () => new GatewayError('DATABASE_CLOSED', 'The gateway is stopping.', 'Try again at another gateway, or later.');

/** SQLSTATE classes that say that the connection, and not the statement, is at fault. */
const CONNECTION_FAULT = /^(08|57P)/;

/**
 * Whether a statement failed because its connection did: the database was stopped, killed or cut off, and what was asked
 * for may be tried again. True of errors that are wrapped, as Drizzle does.
 */
export function isConnectionFault(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  if (error instanceof postgres.PostgresError) return CONNECTION_FAULT.test(code);
  if (['CONNECTION_LOST', 'DATABASE_SILENT'].includes(code)) return true;
  if (error instanceof GatewayError) return false;
  return /^(CONNECT_TIMEOUT|CONNECTION_\w+|ECONNREFUSED|ECONNRESET)$/.test(code) || isConnectionFault(error.cause);
}

const session = (run: (text: string, parameters: Parameters, options: Options, asValues: boolean) => Promise<unknown>): Session => ({
  unsafe: (text, parameters = [], options) => ({
    // Lazily, since only what is called now says in which form the rows are wanted.
    // oxlint-disable-next-line unicorn/no-thenable
    then: (fulfilled, rejected) => run(text, parameters, options, false).then(fulfilled, rejected),
    values: () => run(text, parameters, options, true),
  }),
});

/** What a connection's client tells of by itself. */
export interface ConnectionEvents {
  /** It has ended. */
  onclose: () => void;
  /** The server remarked something about what is under way on it. */
  onnotice: (notice: postgres.Notice) => void;
}
type Open = (events: ConnectionEvents) => postgres.Sql;

/** One connection. */
class Member {
  /** It has ended, or may have: nothing more may be sent on it. */
  isLost = false;
  /** What the server remarked since somebody has it. */
  readonly notices: postgres.Notice[] = [];
  readonly #client: postgres.Sql;
  readonly #limit: number;
  readonly #bornAt = performance.now();
  readonly #underWay = new Set<(error: Error) => void>();

  constructor(open: Open, limit: number) {
    this.#limit = limit;
    this.#client = open({
      onclose: () => this.#giveUp(lost()),
      onnotice: (notice) => this.notices.push(notice),
    });
  }

  /** Nothing is sent on it any more, and what is under way is answered. */
  #giveUp(reason: GatewayError): void {
    this.isLost = true;
    for (const reject of this.#underWay) reject(reason);
  }

  get isOld(): boolean {
    return performance.now() - this.#bornAt > LIFETIME;
  }

  run(text: string, parameters: Parameters = [], options?: Options, asValues = false): Promise<unknown> {
    if (this.isLost) return Promise.reject(lost());
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#underWay.add(reject);
    // Of a transaction nothing is written: its connection ends with it, and the server takes it back.
    const limit = setTimeout(() => {
      this.#giveUp(silent());
      void this.end(0);
    }, this.#limit);
    const query = this.#client.unsafe(text, parameters as never[], options);
    void (asValues ? query.values() : query).then(resolve, (error: unknown) => {
      this.isLost ||= !(error instanceof postgres.PostgresError) || CONNECTION_FAULT.test(error.code);
      reject(error);
    });
    return promise.finally(() => {
      clearTimeout(limit);
      this.#underWay.delete(reject);
    });
  }

  end(timeout: number): Promise<void> {
    this.isLost = true;
    return this.#client.end({ timeout }).catch(() => undefined);
  }
}

/** The pool, in the shape that Drizzle takes for a client. */
export class ConnectionPool {
  /** Drizzle notes here how values are read and written; `open` must give its clients the same. */
  readonly options = { parsers: {}, serializers: {} };
  readonly #open: Open;
  readonly #max: number;
  readonly #limit: number;
  readonly #begin: string;
  readonly #onNotices: (notices: postgres.Notice[]) => void;
  readonly #idle: Member[] = [];
  readonly #all = new Set<Member>();
  readonly #waiting: PromiseWithResolvers<Member>[] = [];
  #isClosed = false;

  /**
   * `limit`: how long a statement may take, in milliseconds. `begin`: the SQL with which transactions begin. `onNotices`: is
   * told, after its commit, of what the server remarked about a transaction or a statement outside of one.
   */
  constructor(open: Open, max: number, limit = STATEMENT_LIMIT, begin = 'begin', onNotices: (notices: postgres.Notice[]) => void = () => undefined) {
    this.#open = open;
    this.#max = max;
    this.#limit = limit;
    this.#begin = begin;
    this.#onNotices = onNotices;
  }

  readonly unsafe = session((text, parameters, options, asValues) =>
    this.#use((member) => member.run(text, parameters, options, asValues))).unsafe;

  /** Runs work in a transaction; it is committed, or nothing of it is. */
  begin<T>(work: (transaction: Session) => Promise<T>): Promise<T> {
    return this.#use(async (member) => {
      await member.run(this.#begin);
      try {
        const result = await work(session(member.run.bind(member)));
        const { command } = await member.run('commit') as { command: string };
        // The server answers so where a statement had failed and its error was not passed on.
        if (command !== 'COMMIT') throw new GatewayError('TRANSACTION_ABORTED', 'A statement of the transaction had failed; nothing of it was written.', '');
        return result;
      } catch (error) {
        if (!member.isLost) await member.run('rollback').catch(() => { member.isLost = true; });
        throw error;
      }
    });
  }

  async #use<T>(work: (member: Member) => Promise<T>): Promise<T> {
    const member = await this.#take();
    try {
      return await work(member);
    } catch (error) {
      // It was rolled back. With its connection lost it may have been committed: then what was remarked is told, too.
      if (!member.isLost) member.notices.length = 0;
      throw error;
    } finally {
      if (member.notices.length > 0) this.#onNotices(member.notices.splice(0));
      this.#giveBack(member);
    }
  }

  async #take(): Promise<Member> {
    if (this.#isClosed) throw stopping();
    for (let member = this.#idle.pop(); member !== undefined; member = this.#idle.pop()) {
      if (!member.isLost) return member;
      this.#discard(member);
    }
    if (this.#all.size < this.#max) return this.#add();
    const place = Promise.withResolvers<Member>();
    this.#waiting.push(place);
    const patience = setTimeout(() => {
      this.#waiting.splice(this.#waiting.indexOf(place), 1);
      place.reject(new GatewayError('DATABASE_BUSY', `No connection to the database became free within ${PATIENCE / 1_000} seconds.`, 'Try again later.'));
    }, PATIENCE);
    return place.promise.finally(() => clearTimeout(patience));
  }

  #add(): Member {
    const member = new Member(this.#open, this.#limit);
    this.#all.add(member);
    return member;
  }

  #giveBack(member: Member): void {
    const isUsable = !member.isLost && !member.isOld && !this.#isClosed;
    if (!isUsable) this.#discard(member);
    const next = this.#waiting.shift();
    if (next !== undefined) next.resolve(isUsable ? member : this.#add());
    else if (isUsable) this.#idle.push(member);
  }

  #discard(member: Member): void {
    this.#all.delete(member);
    void member.end(0);
  }

  /** Ends every connection; what is under way gets this long, in milliseconds. */
  async end(grace: number): Promise<void> {
    this.#isClosed = true;
    for (const place of this.#waiting.splice(0)) place.reject(stopping());
    const lastMoment = performance.now() + grace;
    const isBusy = () => this.#all.size > this.#idle.length;
    while (isBusy() && performance.now() < lastMoment) await sleep(10);
    await Promise.all([...this.#all].map((member) => member.end(0)));
  }
}
