/**
 * Sources that are more than a directory, from the deployment file to what a client sees: a database, and a directory
 * whose files may be unreadable.
 */
import * as fs from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from './support/gateway.ts';
import { findServerPrograms, startPostgresServer } from './support/postgres-server.ts';
import type { PostgresServer } from './support/postgres-server.ts';
import { createRestore, makeBackup, makeIncompressible, openSite, requestRestore, restoreIs } from './support/site.ts';
import type { Content, Site } from './support/site.ts';

let site: Site | undefined;
let server: PostgresServer | undefined;

afterEach(async () => {
  await site?.close();
  await server?.stop();
  [site, server] = [undefined, undefined];
});

describe('a directory with WARN', () => {
  test('is backed up, and job and backup list the files that changed while they were read', async () => {
    site = await openSite({ DEPLOYMENT_CONFIG: [{ directory: './etc', onUnreadable: 'WARN', exclude: ['cache'] }] } as unknown as Content);
    makeIncompressible(site.at('etc'), 32, 1);
    fs.mkdirSync(site.at('etc/cache'));
    fs.writeFileSync(site.at('etc/cache/file'), 'left out');
    const gateway = await site.start();
    const growing = setInterval(() => fs.appendFileSync(site?.at('etc/block-0') ?? '', '.'), 2);
    const id = await makeBackup(gateway, { name: 'warned' }).finally(() => clearInterval(growing));
    const { data } = await gateway.query('query ($id: ID!) { backup(id: $id) { unreadableFiles isValid contentFilePath job { unreadableFiles status } } }', { id });
    const listed = [`${site.at('etc/block-0')}: file changed as we read it`];
    expect(data.backup).toMatchObject({ unreadableFiles: listed, isValid: true, job: { unreadableFiles: listed, status: 'COMPLETED' } });
    const manifest = JSON.parse(fs.readFileSync(`${data.backup.contentFilePath}/manifest.json`, 'utf8'));
    expect(manifest.archives[0]).toMatchObject({ unreadable: listed, files: 1, directories: 1, source: { exclude: ['cache'] } });
  });
});

const programs = findServerPrograms();

describe.skipIf(programs === null)('a group that is a database and a directory', () => {
  async function openBoth(): Promise<{ database: PostgresServer; place: Site }> {
    const database = await startPostgresServer(programs ?? '');
    server = database;
    database.sql('postgres', 'CREATE DATABASE users');
    database.sql('users', "CREATE TABLE account (name text); INSERT INTO account VALUES ('alice')");
    const place = await openSite({
      USERS_CONFIG: [{ postgres: `postgres://admin:\${TEST_PG_PASSWORD}@127.0.0.1:${database.port}`, database: 'users' }, { directory: './users' }],
    } as unknown as Content);
    site = place;
    fs.mkdirSync(place.at('users'));
    fs.writeFileSync(place.at('users/file'), 'then');
    return { database, place };
  }

  function spoil(database: PostgresServer, place: Site): void {
    database.sql('users', "UPDATE account SET name = 'mallory'; CREATE TABLE added (v int)");
    fs.writeFileSync(place.at('users/file'), 'since');
  }

  test('is backed up and restored by a gateway that has the password in its environment', async () => {
    const { database, place } = await openBoth();
    const gateway = await place.start({ TEST_PG_PASSWORD: database.password });
    const id = await makeBackup(gateway, { name: 'with-database' });
    const { data } = await gateway.query('query ($id: ID!) { backup(id: $id) { groups sizeOnDisk contentFilePath job { progress { percent filesDone } } } }', { id });
    expect(data.backup).toMatchObject({ groups: ['USERS_CONFIG'], job: { progress: { percent: 100, filesDone: 2 } } });
    expect(fs.readdirSync(data.backup.contentFilePath).sort()).toEqual(['USERS_CONFIG.1.pgdump.zst', 'USERS_CONFIG.2.tar.zst', 'manifest.json', 'manifest.sha256']);

    spoil(database, place);
    const restore = await createRestore(gateway, id, ['USERS_CONFIG']);
    await requestRestore(gateway, restore);
    const ended = await restoreIs(gateway, restore, ['SUCCESS', 'FAILED']);
    expect(ended).toMatchObject({ status: 'SUCCESS', job: { error: null } });
    expect(database.sql('users', "SELECT name, to_regclass('added') IS NULL FROM account")).toBe('alice|t');
    expect(fs.readFileSync(place.at('users/file'), 'utf8')).toBe('then');
    // Nowhere but in the environment.
    const kept = await place.sql`select coalesce(string_agg(j::text, ''), '') as text from jobs j`;
    expect(String(kept[0]?.['text']) + gateway.log()).not.toContain(database.password);
  });

  test('is brought to one state by the next gateway where one is killed while the database commits', { timeout: 120_000 }, async () => {
    const { database, place } = await openBoth();
    const env = { TEST_PG_PASSWORD: database.password };
    const first = await place.start(env);
    const id = await makeBackup(first, { name: 'with-database' });
    spoil(database, place);
    // Commits wait for a standby that does not exist.
    const waitFor = (standby: string): string => database.sql('postgres', `ALTER SYSTEM SET synchronous_standby_names = '${standby}'; SELECT pg_reload_conf()`);
    waitFor('nobody');
    const restore = await createRestore(first, id, ['USERS_CONFIG']);
    await requestRestore(first, restore);
    await until('the database is about to commit', () => database.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") === '1');
    await first.kill();
    expect(fs.readFileSync(place.at('users/file'), 'utf8')).toBe('since');
    await place.expireLeases();
    const second = await place.start(env);
    // It asks what became of the transaction, which is not decided yet.
    const questions = (): number => Number(database.sql('postgres', "SELECT xact_commit FROM pg_stat_database WHERE datname = 'users'"));
    const before = questions();
    await until('the next one asks', () => questions() > before + 2);
    expect(fs.readFileSync(place.at('users/file'), 'utf8')).toBe('since');
    waitFor('');
    expect(await restoreIs(second, restore, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS', job: { error: null } });
    expect(database.sql('users', "SELECT name, to_regclass('added') IS NULL FROM account")).toBe('alice|t');
    expect(fs.readFileSync(place.at('users/file'), 'utf8')).toBe('then');
    expect(place.restoreLeftovers()).toEqual([]);
  });
});
