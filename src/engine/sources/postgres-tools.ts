/**
 * Postgres's own programs: where they are, which of them fit a server, and how they are called.
 */
import { access, constants, readdir } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { EngineError } from '../../domain/errors.ts';
import { run, start } from '../process.ts';
import type { Child, StartOptions } from '../process.ts';
import type { PostgresAccess } from './postgres-address.ts';

/** pg_dump, pg_restore and psql of one installation. */
export interface PostgresTools {
  directory: string;
  major: number;
  minor: number;
}

const PROGRAMS = ['pg_dump', 'pg_restore', 'psql'] as const;

/** Where packages put them, by version: a directory, what its entries begin with, and where the programs are in them. */
const PLACES = [
  ['/usr/lib/postgresql', '', 'bin'], // Debian, Ubuntu
  ['/usr', 'pgsql-', 'bin'], // Red Hat, SUSE
  ['/usr/libexec', 'postgresql', ''], // Alpine
  ['/opt/homebrew/opt', 'postgresql@', 'bin'], ['/usr/local/opt', 'postgresql@', 'bin'], ['/opt/homebrew/opt', 'libpq', 'bin'],
  ['/Library/PostgreSQL', '', 'bin'], ['/usr/local', 'pgsql', 'bin'],
] as const;

let found: Promise<PostgresTools[]> | undefined;

async function lookForTools(): Promise<PostgresTools[]> {
  const folders: string[] = [];
  for (const [parent, prefix, below] of PLACES) {
    for (const name of await readdir(parent).catch(() => [])) if (name.startsWith(prefix)) folders.push(join(parent, name, below));
  }
  // Last: what is on the PATH may be a program that chooses among the ones above.
  folders.push(...(process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== ''));
  const tools: PostgresTools[] = [];
  for (const directory of new Set(folders)) {
    const isWhole = await Promise.all(PROGRAMS.map((program) => access(join(directory, program), constants.X_OK))).then(() => true, () => false);
    if (!isWhole) continue;
    const answer = await run(join(directory, 'pg_dump'), ['--version']).then(({ stdout }) => stdout, () => '');
    const [, major, minor = '0'] = /\(PostgreSQL\) (\d+)(?:\.(\d+))?/.exec(answer) ?? [];
    if (major !== undefined) tools.push({ directory, major: Number(major), minor: Number(minor) });
  }
  tools.sort((one, other) => one.major - other.major || other.minor - one.minor);
  if (tools.length === 0) found = undefined;
  return tools;
}

/**
 * The installations of this machine, the oldest major version first. Looks again the next time where there was none.
 */
export const allTools = (): Promise<PostgresTools[]> => (found ??= lookForTools());

/** The newest, for what does not depend on the server. @throws EngineError PG_TOOLS_MISSING */
export async function newestTools(): Promise<PostgresTools> {
  const tools = (await allTools()).at(-1);
  if (tools === undefined) throw missing('There are no pg_dump, pg_restore and psql on this machine.', 'postgresql-client');
  return tools;
}

/**
 * Those for a server: of its major version, else of the nearest later one. Later ones than needed can write what an older
 * server does not understand.
 *
 * @throws EngineError PG_TOOLS_MISSING
 */
export async function toolsFor(serverMajor: number): Promise<PostgresTools> {
  const fitting = (tools: PostgresTools[]): PostgresTools | undefined => tools.find(({ major }) => major >= serverMajor);
  const newest = await newestTools();
  const tools = fitting(await allTools());
  if (tools !== undefined) return tools;
  // Installed since, perhaps.
  found = undefined;
  const later = fitting(await allTools());
  if (later !== undefined) return later;
  throw missing(`The server is Postgres ${serverMajor}, and the newest pg_dump here is of Postgres ${newest.major}.`, `postgresql-client-${serverMajor} or later`);
}

/** Starts one of the programs for a database. It never asks for a password. */
export function startTool(
  tools: PostgresTools, program: (typeof PROGRAMS)[number], args: readonly string[], database: PostgresAccess | null, options: Omit<StartOptions, 'env'> = {},
): Child {
  const connection = database === null ? [] : ['--no-password', `--dbname=${database.conninfo}`];
  return start(join(tools.directory, program), [...args, ...connection], { ...options, env: database?.env ?? {} });
}

function missing(what: string, which: string): EngineError {
  return new EngineError('PG_TOOLS_MISSING', what,
    `Install ${which} on the machine that runs the worker (Debian, Ubuntu: apt-get install ${which.split(' ')[0]}), so that pg_dump, pg_restore and psql are on its PATH or in their usual place.`);
}
