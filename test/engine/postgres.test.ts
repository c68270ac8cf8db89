/**
 * Databases as sources, against a real server: what a backup holds comes back, and nothing else stays.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { PostgresSource } from '../../src/domain/deployment.ts';
import { CancelledError } from '../../src/domain/errors.ts';
import { createIdentity, openIdentity, verifyBackup } from '../../src/engine/index.ts';
import type { ArchiveSpec, BackupFiles, Manifest } from '../../src/engine/index.ts';
import { digestList, manifestText } from '../../src/engine/manifest.ts';
import { directory, filesAt, leftovers, makeBackup, makeRestore, makeSite } from '../support/engine.ts';
import type { RunOptions, Site } from '../support/engine.ts';
import { until } from '../support/gateway.ts';
import { findServerPrograms, startPostgresServer } from '../support/postgres-server.ts';
import type { PostgresServer } from '../support/postgres-server.ts';

const programs = findServerPrograms();
let server: PostgresServer;
let site: Site;
let users: PostgresSource;

/** Something of nearly everything that a database can hold. */
const CONTENT = `
  CREATE ROLE reader NOLOGIN; CREATE ROLE keeper NOLOGIN; CREATE ROLE ghost NOLOGIN;
  CREATE EXTENSION hstore; CREATE TABLE pairs (v hstore); INSERT INTO pairs VALUES ('a=>b');
  CREATE SCHEMA audit AUTHORIZATION keeper;
  CREATE TYPE level AS ENUM ('low', 'high');
  CREATE TABLE account (id serial PRIMARY KEY, name text NOT NULL, grade level DEFAULT 'low', note text);
  CREATE TABLE audit.entry (account int REFERENCES account DEFERRABLE INITIALLY DEFERRED, what text);
  CREATE VIEW names AS SELECT name FROM account;
  CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM account;
  CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS $$ SELECT upper($1) || E'\\\\! id' $$;
  CREATE TABLE "odd "" name" (v text);
  INSERT INTO account (name, note) SELECT 'user ' || n, E'tab\\tline\\n\\\\. é' FROM generate_series(1, 1000) n;
  INSERT INTO audit.entry VALUES (1, 'made');
  SELECT setval('account_id_seq', 5000);
  REFRESH MATERIALIZED VIEW total;
  SELECT lo_from_bytea(4711, 'large object');
  GRANT SELECT ON account TO reader; GRANT SELECT ON names TO ghost;
  ALTER TABLE "odd "" name" OWNER TO ghost; ALTER LARGE OBJECT 4711 OWNER TO keeper;
  ALTER DEFAULT PRIVILEGES IN SCHEMA audit GRANT SELECT ON TABLES TO reader;
  COMMENT ON TABLE account IS 'who may do what';`;

/** Everything in a database, as text. What pg_dump says of the moment itself is left out. */
function contentOf(database: string): string {
  const { stdout, stderr, status } = spawnSync(join(programs ?? '', 'pg_dump'), ['-h', '127.0.0.1', '-p', String(server.port), '-U', 'admin', '--blobs', '--restrict-key=x', database],
    { encoding: 'utf8', env: { ...process.env, PGPASSWORD: server.password } });
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

/** Changes, additions and removals of every kind. */
const SPOIL = `
  UPDATE account SET name = 'altered' WHERE id < 10; DELETE FROM account WHERE id > 990;
  SELECT setval('account_id_seq', 1);
  DROP VIEW names; DROP TABLE "odd "" name";
  CREATE EXTENSION citext; DROP EXTENSION hstore CASCADE;
  CREATE TABLE added (v int); CREATE SCHEMA more; CREATE TABLE more.things (v level);
  CREATE VIEW dependent AS SELECT * FROM account;
  CREATE FUNCTION added() RETURNS int LANGUAGE sql AS 'SELECT 1';
  CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
  CREATE EVENT TRIGGER forbid ON sql_drop EXECUTE FUNCTION on_ddl();
  CREATE PUBLICATION added; CREATE CAST (int AS boolean[]) WITH FUNCTION added_cast(int);
  SELECT lo_unlink(4711); SELECT lo_from_bytea(4712, 'another');
  GRANT ALL ON SCHEMA public TO reader; COMMENT ON SCHEMA public IS 'altered';
  ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader; ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;`
  .replace('CREATE PUBLICATION', `CREATE FUNCTION added_cast(int) RETURNS boolean[] LANGUAGE sql AS 'SELECT ARRAY[true]'; CREATE PUBLICATION`);

const archives = (): ArchiveSpec[] => [{ group: 'USERS_CONFIG', source: users }];
const restoreUsers = (options: RunOptions = {}, more: { identity?: string | null; onStep?(step: string): void | Promise<void> } = {}): Promise<void> =>
  makeRestore(site, { groups: ['USERS_CONFIG'], targets: [{ group: 'USERS_CONFIG', source: users }], ...more }, options);

describe.skipIf(programs === null)('a database', () => {
  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '');
    process.env['TEST_PG_PASSWORD'] = server.password;
    server.sql('postgres', 'CREATE DATABASE users');
    server.sql('users', CONTENT);
  });
  afterAll(async () => {
    await server?.stop();
    delete process.env['TEST_PG_PASSWORD'];
  });
  beforeEach(() => {
    site = makeSite();
    users = server.source('users');
  });

  test('comes back exactly, whatever was altered, dropped or added', async () => {
    const before = contentOf('users');
    const { manifest } = await makeBackup(site, archives());
    const [archive] = manifest.archives;
    expect(archive).toMatchObject({ file: 'USERS_CONFIG.pgdump.zst', files: 1, directories: 0, source: { type: 'POSTGRES', path: `127.0.0.1:${server.port}/users` } });
    expect(JSON.stringify(manifest)).not.toContain('admin:');
    expect((await verifyBackup(filesAt(join(site.store, 'nightly')), { signal: new AbortController().signal })).problems).toEqual([]);

    server.sql('users', SPOIL);
    expect(contentOf('users')).not.toBe(before);
    await restoreUsers();
    expect(contentOf('users')).toBe(before);
    expect(leftovers(site.place)).toEqual([]);
    // And once more, onto what is there already.
    await restoreUsers();
    expect(contentOf('users')).toBe(before);
  });

  test('comes back from an encrypted backup', async () => {
    const before = contentOf('users');
    const { recipient, wrapped } = await createIdentity('correct horse');
    const { manifest } = await makeBackup(site, archives(), { key: { recipient, wrappedIdentity: wrapped } });
    expect(manifest.archives[0]?.file).toBe('USERS_CONFIG.pgdump.zst.age');
    server.sql('users', 'DELETE FROM audit.entry');
    await restoreUsers({}, { identity: await openIdentity(wrapped, 'correct horse') });
    expect(contentOf('users')).toBe(before);
  });

  test('comes back where its superuser restores it and a role is gone since: what was its own belongs to the superuser', async () => {
    const orphan = 'orphan\'s "db"';
    server.sql('postgres', 'CREATE DATABASE "orphan\'s ""db"""');
    server.sql(orphan, `CREATE ROLE "gone ""role"; CREATE TABLE t (v int); INSERT INTO t VALUES (7); ALTER TABLE t OWNER TO "gone ""role";
      CREATE TABLE u (v int); GRANT SELECT ON u TO "gone ""role"; SELECT lo_create(4713); ALTER LARGE OBJECT 4713 OWNER TO "gone ""role";`);
    users = server.source(orphan);
    await makeBackup(site, archives());
    server.sql(orphan, 'DROP OWNED BY "gone ""role"; DROP ROLE "gone ""role"; DROP TABLE u');
    const warnings: string[] = [];
    await restoreUsers({ onWarning: (text) => warnings.push(text) });
    expect(server.sql(orphan, "SELECT tableowner, v FROM pg_tables, t WHERE tablename = 't'")).toBe('admin|7');
    expect(server.sql(orphan, "SELECT count(*) FROM u; SELECT relacl FROM pg_class WHERE relname = 'u'; SELECT rolname FROM pg_largeobject_metadata l JOIN pg_roles r ON r.oid = lomowner")).toBe('0\n{admin=arwdDxt/admin}\nadmin');
    expect(server.sql(orphan, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'gone%'")).toBe('0');
    expect(warnings.join()).toContain('has no role gone "role');
  });

  test('comes back for an owner who is no superuser', async () => {
    server.sql('postgres', `CREATE ROLE tenant LOGIN PASSWORD '${server.password.replaceAll("'", "''")}'; CREATE DATABASE tenant OWNER tenant`);
    server.sql('tenant', 'SET ROLE tenant; CREATE TABLE t (v int); INSERT INTO t VALUES (1); CREATE SCHEMA own; CREATE VIEW own.v AS SELECT * FROM t');
    users = server.source('tenant', 'tenant');
    const before = contentOf('tenant');
    await makeBackup(site, archives());
    server.sql('tenant', 'SET ROLE tenant; UPDATE t SET v = 2; CREATE TABLE added (v int)');
    await restoreUsers();
    expect(contentOf('tenant')).toBe(before);
  });

  test('keeps what it holds where the restore cannot be done', async () => {
    server.sql('postgres', `CREATE ROLE stranger LOGIN PASSWORD '${server.password.replaceAll("'", "''")}' IN ROLE pg_read_all_data`);
    const before = contentOf('users');
    await makeBackup(site, archives());
    users = server.source('users', 'stranger');
    await expect(restoreUsers()).rejects.toThrow(/could not be restored: .*must be owner/);
    expect(contentOf('users')).toBe(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test('is as it was until the restore may begin to replace anything, and where it may not', async () => {
    await makeBackup(site, archives());
    server.sql('users', "INSERT INTO audit.entry VALUES (2, 'since')");
    const before = contentOf('users');
    const refusal = new Error('lost');
    let during = '';
    await expect(restoreUsers({ beforeSwap: async () => {
      during = server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'users' AND state = 'idle in transaction'");
      throw refusal;
    } })).rejects.toBe(refusal);
    expect(during).toBe('1');
    await until('the session is gone', () => server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'users'") === '0');
    expect(contentOf('users')).toBe(before);
  });

  test('is as it was where the restore is cancelled while it is loaded', async () => {
    await makeBackup(site, archives());
    server.sql('users', "INSERT INTO audit.entry VALUES (5, 'since')");
    const before = contentOf('users');
    const abort = new AbortController();
    // A lock keeps it from getting to its end before that.
    const holder = server.open('users', 'BEGIN; LOCK TABLE account;');
    await until('the lock is held', () => server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'users' AND state = 'idle in transaction'") === '1');
    const restoring = restoreUsers({ signal: abort.signal });
    restoring.catch(() => undefined);
    await until('the restore waits', () => server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'users' AND wait_event_type = 'Lock'") === '1');
    abort.abort();
    await expect(restoring).rejects.toBeInstanceOf(CancelledError);
    holder.kill();
    await until('nobody is at work', () => server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'users'") === '0');
    expect(contentOf('users')).toBe(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test('is as it was where the dump turns out to be cut off the second time that it is read', async () => {
    await makeBackup(site, archives());
    server.sql('users', "INSERT INTO audit.entry VALUES (3, 'since')");
    const before = contentOf('users');
    const files = filesAt(join(site.store, 'nightly'));
    let readings = 0;
    const cut: BackupFiles = {
      label: files.label, sizes: () => files.sizes(),
      async read(name) {
        const { size, stream } = await files.read(name);
        if (!name.includes('pgdump') || ++readings < 2) return { size, stream };
        const whole = await buffer(stream);
        return { size, stream: Readable.from([whole.subarray(0, whole.length - 2000)]) };
      },
    };
    await expect(makeRestore(site, { backup: cut, groups: ['USERS_CONFIG'], targets: [{ group: 'USERS_CONFIG', source: users }] })).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(readings).toBe(2);
    expect(contentOf('users')).toBe(before);
  });

  test('runs no program on this machine, whatever a forged dump says', async () => {
    server.sql('postgres', 'CREATE DATABASE forged');
    // Spaces give room for a command that is as long.
    server.sql('forged', `CREATE VIEW harmless AS SELECT '${'x'.repeat(200)}' AS v`);
    users = server.source('forged');
    await makeBackup(site, archives());
    const sign = join(site.place, 'sign');
    forge(join(site.store, 'nightly'), 'USERS_CONFIG.pgdump.zst', (dump) => {
      const at = dump.indexOf('CREATE VIEW public.harmless');
      const evil = Buffer.from(`;\n\\! touch ${sign}\n`);
      evil.copy(dump, at);
      return dump;
    });
    await expect(restoreUsers()).rejects.toThrow(/restricted|backslash commands/);
    expect(fs.existsSync(sign)).toBe(false);
    expect(server.sql('forged', 'SELECT length(v) FROM harmless')).toBe('200');
  });

  test('and directories of the same restore become new together, or not at all', async () => {
    const target = join(site.place, 'target');
    fs.mkdirSync(target);
    fs.writeFileSync(join(target, 'file'), 'old');
    await makeBackup(site, [...archives(), { group: 'USERS_CONFIG', source: directory(target) }]);
    fs.writeFileSync(join(target, 'file'), 'changed');
    server.sql('users', "INSERT INTO audit.entry VALUES (4, 'since')");
    const changed = contentOf('users');
    const targets = (database: PostgresSource) => [{ group: 'USERS_CONFIG' as const, source: database }, { group: 'USERS_CONFIG' as const, source: directory(target) }];

    // The database cannot be restored: the files stay.
    await expect(makeRestore(site, { groups: ['USERS_CONFIG'], targets: targets(server.source('users', 'stranger')) })).rejects.toThrow(/could not be restored/);
    expect(fs.readFileSync(join(target, 'file'), 'utf8')).toBe('changed');
    // The files cannot: the database stays.
    await expect(makeRestore(site, { groups: ['USERS_CONFIG'], targets: targets(users), protectedPaths: [join(target, 'file')] })).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE' });
    expect(contentOf('users')).toBe(changed);

    await makeRestore(site, { groups: ['USERS_CONFIG'], targets: targets(users) });
    expect(fs.readFileSync(join(target, 'file'), 'utf8')).toBe('old');
    expect(server.sql('users', 'SELECT count(*) FROM audit.entry WHERE account = 4')).toBe('0');
    expect(leftovers(site.place)).toEqual([]);
  });

  test('that cannot be reached, or does not let anybody in, is told with what to do and without the password', async () => {
    const wrong = { ...users, url: `postgres://admin:not-the-password@127.0.0.1:${server.port}` };
    const refused: unknown = await makeBackup(site, [{ group: 'USERS_CONFIG', source: wrong }]).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'DATABASE_UNREACHABLE', message: expect.stringContaining('password authentication failed') });
    expect(JSON.stringify(refused) + String(refused)).not.toContain('not-the-password');
    const absent = { ...users, url: 'postgres://admin@127.0.0.1:1', path: '127.0.0.1:1/users' };
    await expect(makeBackup(site, [{ group: 'USERS_CONFIG', source: absent }])).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE', message: expect.stringContaining('127.0.0.1:1/users') });
    const missing = { ...users, url: 'postgres://admin:${NOT_SET_ANYWHERE}@127.0.0.1' };
    await expect(makeBackup(site, [{ group: 'USERS_CONFIG', source: missing }])).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE', message: expect.stringContaining('NOT_SET_ANYWHERE') });
    await expect(makeBackup(site, [{ group: 'USERS_CONFIG', source: { ...users, database: 'no_such' } }])).rejects.toThrow(/"no_such" does not exist/);
    expect(fs.readdirSync(site.store)).toEqual([]);
  });

  test('never shows its password among the arguments of a program', async () => {
    server.sql('users', "INSERT INTO account (name, note) SELECT 'more', repeat('x', 1000) FROM generate_series(1, 5000)");
    const seen: string[] = [];
    const looking = setInterval(() => {
      for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
        try {
          const args = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
          if (/pg_dump|pg_restore|psql/.test(args) && args.includes('keepalives')) seen.push(args);
        } catch {
          // It has ended.
        }
      }
    }, 10);
    await makeBackup(site, archives());
    await restoreUsers();
    clearInterval(looking);
    expect(seen.some((args) => args.includes('pg_dump'))).toBe(true);
    expect(seen.some((args) => args.includes('psql'))).toBe(true);
    expect(seen.filter((args) => args.includes(server.password) || args.includes(encodeURIComponent(server.password)))).toEqual([]);
    server.sql('users', "DELETE FROM account WHERE name = 'more'");
  });
});

/** Alters an archive in clear, and makes manifest and digests fit, as somebody could who can write to the store. */
function forge(path: string, file: string, change: (content: Buffer) => Buffer): void {
  const content = zstdCompressSync(change(zstdDecompressSync(fs.readFileSync(join(path, file)))));
  fs.writeFileSync(join(path, file), content);
  const manifest = JSON.parse(fs.readFileSync(join(path, 'manifest.json'), 'utf8')) as Manifest;
  const archive = manifest.archives.find((candidate) => candidate.file === file);
  Object.assign(archive ?? {}, { size: content.length, sha256: createHash('sha256').update(content).digest('hex') });
  const text = manifestText(manifest);
  fs.writeFileSync(join(path, 'manifest.json'), text);
  fs.writeFileSync(join(path, 'manifest.sha256'), digestList(manifest, text));
}
