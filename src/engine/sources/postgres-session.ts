/**
 * Short questions to a Postgres server, by psql, and what its failures mean.
 */
import { text } from 'node:stream/consumers';
import { EngineError } from '../../domain/errors.ts';
import type { EngineFault } from '../../domain/errors.ts';
import type { PostgresSource } from '../../domain/deployment.ts';
import { throwIfCancelled } from '../faults.ts';
import { endedFromOutside, killedBy } from '../process.ts';
import type { Exit } from '../process.ts';
import { summary } from '../tar.ts';
import { accessTo } from './postgres-address.ts';
import type { PostgresAccess } from './postgres-address.ts';
import { newestTools, startTool, toolsFor } from './postgres-tools.ts';
import type { PostgresTools } from './postgres-tools.ts';

/** psql without a person's own settings, which prints values alone and stops at the first error. */
export const PSQL = ['--no-psqlrc', '--quiet', '--tuples-only', '--no-align', '--set=ON_ERROR_STOP=1'] as const;

/** A database that has answered. */
export interface Database {
  access: PostgresAccess;
  /** Those that fit its server. */
  tools: PostgresTools;
  user: string;
  isSuperuser: boolean;
}

/** @throws EngineError PG_TOOLS_MISSING, DATABASE_UNREACHABLE; CancelledError */
export async function connect(source: PostgresSource, signal: AbortSignal): Promise<Database> {
  const access = accessTo(source);
  const [version = '', isSuperuser = '', user = ''] = await ask(access, await newestTools(),
    `SELECT current_setting('server_version_num'), current_setting('is_superuser'), current_user`, signal);
  return { access, tools: await toolsFor(Math.floor(Number(version) / 10_000)), user, isSuperuser: isSuperuser === 'on' };
}

/** Asks for one row. @throws EngineError DATABASE_UNREACHABLE, SOURCE_UNREADABLE; CancelledError */
export async function ask(access: PostgresAccess, tools: PostgresTools, question: string, signal: AbortSignal): Promise<string[]> {
  throwIfCancelled(signal);
  const child = killedBy(signal, startTool(tools, 'psql', [...PSQL, '--field-separator=\u001f'], access, { stdin: true, stdout: true }));
  child.stdin?.end(`SET client_encoding = 'UTF8';\nSET search_path = '';\n${question};\n`);
  const answer = await text(child.stdout!);
  const exit = await child.exit;
  throwIfCancelled(signal);
  if (exit.code !== 0) throw postgresFault(access, exit, 'SOURCE_UNREADABLE', 'could not be asked');
  return answer.replace(/\n$/, '').split('\u001f');
}

/** What a value is in SQL. */
export const literal = (value: string): string => `'${value.replaceAll("'", "''")}'`;
export const identifier = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** What a Postgres program says when it never got as far as the database. */
const NO_CONNECTION = /connection to server .* failed|could not (connect|translate host name)|no password supplied|timeout expired|server closed the connection|terminating connection|connection .*lost|SSL error/i;

/** What the failure of one of the programs means. */
export function postgresFault(access: PostgresAccess, exit: Exit, otherwise: EngineFault, what: string): EngineError {
  const lines = complaintsOf(access, exit);
  if (lines.length === 0 && exit.signal !== null) return endedFromOutside("Postgres's program", exit, `it worked on ${access.path}`);
  const reason = lines.length > 0 ? summary(lines) : `the program ended with ${exit.signal ?? `code ${exit.code}`}`;
  if (lines.some((line) => NO_CONNECTION.test(line))) {
    return new EngineError('DATABASE_UNREACHABLE', `The database ${access.path} cannot be reached: ${reason}.`,
      'See that the server runs, that this machine may connect to it, and that user and password are right; then try again.');
  }
  const hint = lines.some((line) => line.includes('lock timeout')) ? 'Something holds a lock on it. Stop what uses the database, such as by a hook, then try again.'
    : lines.some((line) => line.includes('out of shared memory')) ? 'Raise max_locks_per_transaction of the server: everything is done in one transaction.'
      : otherwise === 'TARGET_UNWRITABLE' ? 'The database is as it was. The user needs to own everything in it, or to be a superuser.'
        : 'See that the user may read everything in it; then try again.';
  return new EngineError(otherwise, `The database ${access.path} ${what}: ${reason}.`, hint);
}

/** What a restore provokes by itself: pg_restore's script begins the transaction once more. */
const EXPECTED = /there is already a transaction in progress/;

/** Its lines, without the program's own name in front. */
export const complaintsOf = (access: PostgresAccess, exit: Exit): string[] =>
  access.hide(exit.stderr).split('\n').filter((line) => line.trim() !== '' && !EXPECTED.test(line)).map((line) => line.replace(/^(?:psql|pg_dump|pg_restore):(?:<stdin>:\d+:)? (?:error: )?/, '').trim());
