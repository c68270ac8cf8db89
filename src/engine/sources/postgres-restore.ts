/**
 * Restores a database: proves the dump, loads it in a transaction that replaces everything, and leaves that open, so that
 * several databases, and files, take effect one right after the other.
 *
 * pg_restore makes the dump into SQL, and psql runs it. The end of the SQL, in which its COMMIT stands, is held back until
 * the whole dump has been read again and its digest is right; psql without it ends the transaction by going away.
 */
import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError } from '../../domain/errors.ts';
import type { PostgresSource } from '../../domain/deployment.ts';
import type { ManifestArchive } from '../contract.ts';
import { throwIfCancelled } from '../faults.ts';
import { InputRefused, killedBy } from '../process.ts';
import type { Child, Exit } from '../process.ts';
import { readWhole } from '../read.ts';
import type { BackupFiles } from '../stores/contract.ts';
import { summary } from '../tar.ts';
import { DumpScanner } from './dump.ts';
import { accessTo } from './postgres-address.ts';
import { RoleNames } from './postgres-roles.ts';
import { ask, complaintsOf, connect, identifier, literal, postgresFault, PSQL } from './postgres-session.ts';
import type { Database } from './postgres-session.ts';
import { newestTools, startTool } from './postgres-tools.ts';
import { WIPE } from './postgres-wipe.ts';

export interface DumpJob {
  backup: BackupFiles;
  archive: ManifestArchive;
  identity: string | null;
  source: PostgresSource;
}

/** A dump that is whole and that pg_restore can read, and a database that answers. */
export interface ProvenDump extends DumpJob {
  database: Database;
  /** Roles that it names and the server does not have. */
  missingRoles: string[];
}

/** A transaction in which the database is what the backup holds. Nobody else sees it yet. */
export interface LoadedDatabase {
  /** How the database is called. */
  path: string;
  /** The transaction's number, by which its outcome can be asked for later. */
  xid: string;
  /** Makes it last. @throws EngineError TARGET_UNWRITABLE where it surely was not committed, DATABASE_UNREACHABLE where that is not known */
  commit(): Promise<void>;
  /** Gives it up. Settles when psql is gone. */
  abandon(): Promise<void>;
}

/**
 * Reads the dump to its end, and finds out what its restore needs. Changes nothing.
 *
 * @throws EngineError PG_TOOLS_MISSING, DATABASE_UNREACHABLE, DIGEST_MISMATCH, ARCHIVE_UNSAFE, FILE_MISSING,
 *   STORE_UNREACHABLE; CancelledError
 */
export async function proveDump(job: DumpJob, signal: AbortSignal, onWarning: (text: string) => void): Promise<ProvenDump> {
  const database = await connect(job.source, signal);
  const roles = new RoleNames();
  await scripted(job, database, ['--section=pre-data', '--section=post-data'], roles, signal, () => undefined);
  const named = [...roles.names];
  const answer = named.length === 0 ? [''] : await ask(database.access, database.tools,
    `SELECT coalesce(string_agg(name, chr(30)), '') FROM unnest(ARRAY[${named.map(literal).join(', ')}]) name WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = name)`, signal);
  const missingRoles = (answer[0] ?? '').split('\u001e').filter((name) => name !== '');
  const others = [...roles.owners].filter((owner) => owner !== database.user);
  if (!database.isSuperuser && others.length > 0) {
    onWarning(`${database.access.path}: ${database.user} is no superuser and becomes the owner of everything, also of what belonged to ${others.join(', ')}.`);
  } else if (database.isSuperuser && missingRoles.length > 0) {
    onWarning(`${database.access.path}: the server has no role ${missingRoles.join(', ')}; what belonged to it belongs to ${database.user} now, and its privileges are gone.`);
  }
  return { ...job, database, missingRoles };
}

/**
 * Loads the dump into an open transaction. Where it fails or is cancelled, the database is as it was.
 *
 * @param onPass called with the bytes of the dump that passed
 * @throws EngineError TARGET_UNWRITABLE, DATABASE_UNREACHABLE, and as `proveDump`; CancelledError
 */
export async function loadDump(proven: ProvenDump, signal: AbortSignal, onPass: (bytes: number, files: number) => void): Promise<LoadedDatabase> {
  throwIfCancelled(signal);
  const { access, tools, isSuperuser } = proven.database;
  const session = new Session(startTool(tools, 'psql', PSQL, access, { stdin: true, stdout: true }), proven.database);
  if (signal.aborted) session.child.kill();
  signal.addEventListener('abort', session.child.kill, { once: true });
  const roles = isSuperuser ? proven.missingRoles.map(identifier) : [];
  try {
    const xid = (await session.say(`${SETTINGS}BEGIN;\nSET LOCAL lock_timeout = '${LOCK_TIMEOUT}';\nSELECT pg_catalog.txid_current();\n${WIPE}${roles.map((role) => `CREATE ROLE ${role};\n`).join('')}`)).trim();
    const script = new HeldBack(session.child.stdin!);
    await scripted(proven, proven.database, ['--single-transaction', ...(isSuperuser ? [] : ['--no-owner'])], script, signal, onPass);
    const { content, closing } = script.split();
    session.child.stdin!.write(content);
    await session.say(`SET client_encoding = 'UTF8';\n${roles.map((role) => `REASSIGN OWNED BY ${role} TO CURRENT_USER;\nDROP OWNED BY ${role};\nDROP ROLE ${role};\n`).join('')}SET CONSTRAINTS ALL IMMEDIATE;\n`);
    return {
      path: access.path, xid, abandon: () => session.end(),
      commit() {
        // From here on it is too late to give up.
        signal.removeEventListener('abort', session.child.kill);
        return session.commit(closing, proven.source, xid);
      },
    };
  } catch (error) {
    // What psql says is the reason where it gave up by itself.
    const own = error instanceof InputRefused ? session.fault(await session.child.exit) : error;
    await session.end();
    throwIfCancelled(signal);
    throw own;
  }
}

/**
 * For what runs before the script, which makes settings of its own: nothing that a user has made stands in for what the
 * system has, and no limit of the role or the database ends a long restore.
 */
const SETTINGS = ["client_encoding = 'UTF8'", 'standard_conforming_strings = on', 'client_min_messages = warning', "search_path = ''",
  'statement_timeout = 0', 'idle_in_transaction_session_timeout = 0'].map((setting) => `SET ${setting};\n`).join('');

/** How long the restore waits for others to let go of a table. */
const LOCK_TIMEOUT = '60s';

/** How long the server is asked, in milliseconds: a commit that waits for its disk takes seconds at most. */
const PATIENCE = 30_000;

/**
 * What became of a transaction. Waits while its server still works on it.
 *
 * @throws EngineError PG_TOOLS_MISSING, DATABASE_UNREACHABLE where it cannot be told now
 */
export async function isCommitted(source: PostgresSource, xid: string): Promise<boolean> {
  const access = accessTo(source);
  const tools = await newestTools();
  const deadline = AbortSignal.timeout(PATIENCE);
  while (!deadline.aborted) {
    // One that is too old to be known was settled long ago, and one that lies in the future belongs to a server that has
    // been replaced: what is there is not what that transaction made.
    const [status] = await ask(access, tools, `SELECT coalesce(pg_catalog.txid_status(${xid}), 'unknown')`, deadline).catch((error: unknown) => {
      if (deadline.aborted) return ['in progress'];
      if (error instanceof EngineError && error.message.includes('is in the future')) return ['unknown'];
      throw error;
    });
    if (status !== 'in progress') return status === 'committed';
    await sleep(100);
  }
  throw new EngineError('DATABASE_UNREACHABLE', `The database ${access.path} does not tell what became of an interrupted restore, or is still at work on it.`,
    'See that the server answers, and end the sessions of backup-gateway on it; then try again.');
}

/** psql, spoken to piece by piece. */
class Session {
  readonly child: Child;
  readonly #database: Database;
  readonly #mark = randomBytes(16).toString('hex');
  #heard = '';
  #listener: () => void = () => undefined;

  constructor(child: Child, database: Database) {
    this.child = child;
    this.#database = database;
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      // What a restore prints itself, such as the values of sequences, is of no interest.
      this.#heard = (this.#heard + text).slice(-4096);
      this.#listener();
    });
  }

  /** Has SQL run, and waits for that. @returns what it printed */
  async say(sql: string): Promise<string> {
    const mark = `\n${this.#mark}\n`;
    const isDone = new Promise<true>((resolve) => {
      this.#listener = () => {
        if (`\n${this.#heard}`.includes(mark)) resolve(true);
      };
    });
    this.child.stdin!.write(`${sql}SELECT ${literal(this.#mark)};\n`);
    if (await Promise.race([isDone, this.child.exit]) !== true) throw this.fault(await this.child.exit);
    const heard = `\n${this.#heard}`.split(mark)[0] ?? '';
    this.#heard = '';
    return heard;
  }

  async commit(closing: string, source: PostgresSource, xid: string): Promise<void> {
    this.child.stdin!.end(closing);
    const exit = await this.child.exit;
    if (exit.code === 0) return;
    // Whether a connection broke before or after the server had done it shows only there.
    if (!await isCommitted(source, xid)) throw this.fault(exit);
  }

  async end(): Promise<void> {
    this.child.kill();
    await this.child.exit;
  }

  fault(exit: Exit): EngineError {
    return postgresFault(this.#database.access, exit, 'TARGET_UNWRITABLE', 'could not be restored');
  }
}

/** How pg_restore ends a script with `--single-transaction`. */
const CLOSING = /\nCOMMIT;\n\n--\n-- PostgreSQL database dump complete\n--\n\n(?:\\unrestrict \w+\n\n)?$/;

/** Hands a script on to psql, except its end. */
class HeldBack extends Writable {
  readonly #to: Writable;
  #held = Buffer.alloc(0);

  constructor(to: Writable) {
    super();
    this.#to = to;
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const all = Buffer.concat([this.#held, data]);
    const kept = Math.min(all.length, 1024);
    this.#held = all.subarray(all.length - kept);
    // A psql that gave up breaks the pipe.
    this.#to.write(all.subarray(0, all.length - kept), (error) => done(error == null ? null : new InputRefused()));
  }

  /** The rest of the content, and what ends the transaction. */
  split(): { content: Buffer; closing: string } {
    const text = this.#held.toString('latin1');
    const at = text.search(CLOSING);
    if (at < 0) throw new EngineError('IO', 'pg_restore did not end its script as expected.', 'Install another minor version of the Postgres client programs.');
    return { content: this.#held.subarray(0, at + 1), closing: text.slice(at + 1) };
  }
}

/**
 * Reads the whole archive, has pg_restore make a script of the dump, and gives that to a stream.
 *
 * In the script psql is restricted to SQL: without that, a forged dump could have it run programs. pg_restore refuses the
 * option where it is too old to know it. Source: CVE-2025-8714.
 */
async function scripted(
  { backup, archive, identity }: DumpJob, { access, tools }: Database, options: readonly string[], to: Writable, signal: AbortSignal, onPass: (bytes: number, files: number) => void,
): Promise<void> {
  const child = killedBy(signal, startTool(tools, 'pg_restore', ['--format=custom', '--file=-', `--restrict-key=${randomBytes(24).toString('hex')}`, ...options], null, { stdin: true, stdout: true }));
  // What is not wanted any more need not be read to its end.
  const stop = new AbortController();
  const reading = readWhole(backup, archive, { identity: archive.encrypted ? identity : null, scanner: new DumpScanner(onPass), stdin: child.stdin! },
    AbortSignal.any([signal, stop.signal]));
  const script = pipeline(child.stdout!, to);
  try {
    await Promise.all([reading, script]);
  } catch (error) {
    stop.abort();
    child.kill();
    await Promise.allSettled([reading, script, child.exit]);
    throwIfCancelled(signal);
    throw error;
  }
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (exit.code === 0) return;
  const lines = complaintsOf(access, exit);
  if (lines.some((line) => /restrict-key|unsupported version/.test(line))) {
    throw new EngineError('PG_TOOLS_MISSING', `The pg_restore of Postgres ${tools.major}.${tools.minor} in ${tools.directory} cannot be used: ${summary(lines)}.`,
      `Install the latest minor version of postgresql-client-${tools.major}, or a later major version where the dump was made by one.`);
  }
  throw new EngineError('DIGEST_MISMATCH', `${archive.file} cannot be read by pg_restore: ${summary(lines)}.`, 'Use another backup.');
}
