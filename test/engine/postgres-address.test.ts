/**
 * How the address of a database reaches the programs that use it, and which programs those are.
 */
import { describe, expect, test } from 'vitest';
import type { PostgresSource } from '../../src/domain/deployment.ts';
import { accessTo } from '../../src/engine/sources/postgres-address.ts';
import { postgresFault } from '../../src/engine/sources/postgres-session.ts';
import { allTools, toolsFor } from '../../src/engine/sources/postgres-tools.ts';
import { findServerPrograms } from '../support/postgres-server.ts';

const at = (url: string): PostgresSource => ({ type: 'POSTGRES', url, database: 'users', path: 'host:5432/users' });
const DEFAULTS = { PGDATABASE: 'users', PGPORT: '5432', PGCONNECT_TIMEOUT: '10', PGAPPNAME: 'backup-gateway' };

describe('the address of a database', () => {
  test.each<[string, Record<string, string>]>([
    ['postgres://db.example.net', { PGHOST: 'db.example.net' }],
    ['postgresql://me@db.example.net:6432/', { PGHOST: 'db.example.net', PGPORT: '6432', PGUSER: 'me' }],
    ['postgres://a%40b:p%3A%25%2F@[::1]:5433', { PGHOST: '::1', PGPORT: '5433', PGUSER: 'a@b', PGPASSWORD: 'p:%/' }],
    ['postgres://${WHO}:${SECRET}@db', { PGHOST: 'db', PGUSER: 'someone', PGPASSWORD: 'p@ss:w/rd%41?#' }],
    ['postgres://me:a-${SECRET}-%7A@db', { PGHOST: 'db', PGUSER: 'me', PGPASSWORD: 'a-p@ss:w/rd%41?#-z' }],
    ['postgres:///?host=/run/postgresql&port=5433', { PGHOST: '/run/postgresql', PGPORT: '5433' }],
    ['postgres://db?sslmode=verify-full&sslrootcert=/etc/ca%20file&connect_timeout=3&options=-c%20x%3Dy', { PGHOST: 'db', PGSSLMODE: 'verify-full', PGSSLROOTCERT: '/etc/ca file', PGCONNECT_TIMEOUT: '3', PGOPTIONS: '-c x=y' }],
  ])('%s is handed on in the environment', (url, env) => {
    const access = accessTo(at(url), { WHO: 'someone', SECRET: 'p@ss:w/rd%41?#' });
    expect(access.env).toEqual({ ...DEFAULTS, ...env });
    expect(access.conninfo).toMatch(/^(keepalives_\w+=\d+ ?)+$/);
  });

  test.each([
    ['postgres://me:${NOT_THERE}@db', /takes NOT_THERE from the environment/],
    ['postgres://me:secret@db?sslpassword=x', /parameter sslpassword/],
    ['postgres://me:secret@db?keepalives_idle=1%20password%3Dx', /parameter keepalives_idle/],
    ['mysql://me:secret@db', /cannot be read/],
  ])('%s is refused without a word of it', (url, reason) => {
    expect(() => accessTo(at(url), {})).toThrow(expect.objectContaining({ code: 'DATABASE_UNREACHABLE', message: expect.stringMatching(reason) }));
    expect(() => accessTo(at(url), {})).not.toThrow(/secret/);
  });

  test('has its password taken out of what a program says', () => {
    expect(accessTo(at('postgres://me:sesame%21@db'), {}).hide('no sesame! here')).toBe('no *** here');
  });
});

describe.skipIf(findServerPrograms() === null)('the programs for a server', () => {
  test('are of its version or the nearest later one', async () => {
    const tools = await allTools();
    const [oldest] = tools;
    expect(await toolsFor(oldest?.major ?? 0)).toMatchObject({ major: oldest?.major });
    expect(await toolsFor(9)).toMatchObject({ major: oldest?.major });
    await expect(toolsFor(99)).rejects.toMatchObject({ code: 'PG_TOOLS_MISSING', message: expect.stringContaining('Postgres 99'), hint: expect.stringContaining('postgresql-client-99') });
  });
});

test('a program that was killed from outside is told as such, and not as a missing right', () => {
  const access = accessTo(at('postgres://db'));
  const killed = { code: null, signal: 'SIGKILL' as const, stderr: '' };
  expect(postgresFault(access, killed, 'SOURCE_UNREADABLE', 'could not be dumped')).toMatchObject({
    code: 'IO', message: "Postgres's program ended with SIGKILL while it worked on host:5432/users.", hint: expect.stringContaining('lack of memory'),
  });
  const refused = { code: 1, signal: null, stderr: 'pg_dump: error: permission denied for table users\n' };
  expect(postgresFault(access, refused, 'SOURCE_UNREADABLE', 'could not be dumped')).toMatchObject({ code: 'SOURCE_UNREADABLE' });
});
