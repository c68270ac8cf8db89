import { mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import schema from '../deployment.schema.json' with { type: 'json' };
import { loadDeploymentFile } from '../src/deployment-file.ts';
import type { DeploymentSpec } from '../src/domain/deployment.ts';
import { ConfigError } from '../src/domain/errors.ts';
import { differences } from '../src/domain/staging.ts';
import { BACKUP_PRIORITIES, STORE_TYPES } from '../src/domain/vocabulary.ts';

let folder: string;
beforeEach(async () => { folder = await realpath(await mkdtemp(join(tmpdir(), 'deployment-'))); });
afterEach(() => rm(folder, { recursive: true, force: true }));

async function load(content: string): Promise<DeploymentSpec> {
  const path = join(folder, 'deployment.yaml');
  await writeFile(path, content);
  return loadDeploymentFile(path);
}

async function faultsOf(content: string): Promise<string[]> {
  const reason: unknown = await load(content).then(() => undefined, (error: unknown) => error);
  if (reason instanceof ConfigError) return reason.faults.map((fault) => fault.replaceAll(`${folder}/`, ''));
  throw reason ?? new Error('the file was accepted');
}

const HEAD = 'deployment: { name: local, product: acme-siem, appliance: "3199", version: 7.5.0 }\n';
const CONSOLE = 'hosts:\n  - { id: 1, hostname: console, console: true }\n';
/** Stores begin on line 3. */
const stores = (...list: string[]): string => `${HEAD}stores:\n${list.map((store) => `  - ${store}\n`).join('')}${CONSOLE}`;
const DEFAULT = '{ name: default, type: DIRECTORY, path: ./backups, default: true }';
/** Sources begin on line 10. */
const sources = (...list: string[]): string =>
  `${stores(DEFAULT)}  - id: 2\n    hostname: ep1\n    components: [EVENT_PROCESSOR]\n    data:\n${list.map((source) => `      - ${source}\n`).join('')}`;
/** What follows the console begins on line 6. */
const tail = (text: string): string => `${stores(DEFAULT)}${text}\n`;
const hooks = (list: string): string => tail(`  - id: 2\n    hostname: ep1\n    hooks:\n      beforeBackup:\n        - ${list}`);

describe('a deployment file', () => {
  test('may declare patterns, databases and what happens to unreadable files', async () => {
    const spec = await load(sources(
      '{ directory: a, include: ["**/*.conf", etc], exclude: [cache], onUnreadable: WARN }',
      '{ file: f, onUnreadable: FAIL }',
      '{ postgres: "postgres://${DB_USER}:${DB_PASSWORD}@DB.example.net?sslmode=require", database: users }',
      '{ postgres: "postgresql:///?host=/run/postgresql&port=5433", database: My Events }',
      '{ postgres: "postgres://u:p%40ss@[2001:db8::1]:5434/", database: users }',
    ));
    expect(spec.hosts[1]?.data).toStrictEqual([
      { type: 'DIRECTORY', path: join(folder, 'a'), staging: null, onUnreadable: 'WARN', include: ['**/*.conf', 'etc'], exclude: ['cache'] },
      { type: 'FILE', path: join(folder, 'f'), staging: null },
      { type: 'POSTGRES', url: 'postgres://${DB_USER}:${DB_PASSWORD}@DB.example.net?sslmode=require', database: 'users', path: 'db.example.net:5432/users' },
      { type: 'POSTGRES', url: 'postgresql:///?host=/run/postgresql&port=5433', database: 'My Events', path: '/run/postgresql:5433/My Events' },
      { type: 'POSTGRES', url: 'postgres://u:p%40ss@[2001:db8::1]:5434/', database: 'users', path: '[2001:db8::1]:5434/users' },
    ]);
  });

  test('may declare S3 stores', async () => {
    const spec = await load(stores(DEFAULT,
      '{ name: aws, type: S3, bucket: my.bucket-1, prefix: /a/b/, region: eu-central-1, requiresPasscode: true }',
      '{ name: own, type: S3, bucket: my.bucket-1, endpoint: "http://127.0.0.1:9000/", forcePathStyle: true }',
    ));
    expect(spec.stores.slice(1)).toStrictEqual([
      {
        name: 'aws', type: 'S3', path: 's3://my.bucket-1/a/b', default: false, requiresPasscode: true,
        s3: { bucket: 'my.bucket-1', prefix: 'a/b', region: 'eu-central-1' },
      },
      {
        name: 'own', type: 'S3', path: 's3://my.bucket-1', default: false, requiresPasscode: false,
        s3: { bucket: 'my.bucket-1', prefix: '', region: 'us-east-1', endpoint: 'http://127.0.0.1:9000', forcePathStyle: true },
      },
    ]);
  });

  test('may declare hooks and limits', async () => {
    const spec = await load(tail(`  - id: 2
    hostname: ep1
    hooks:
      beforeBackup: [{ run: [systemctl, stop, siem] }, { run: [/opt/my hooks/quiesce, ""], timeoutSeconds: 0.5 }]
      afterRestore: [{ run: [systemctl, start, siem], timeoutSeconds: 60 }]
backupConfiguration: { config: { priority: LOW }, data: { priority: HIGH, timeLimitMinutes: 90 } }`));
    expect(spec.hosts[1]?.hooks).toStrictEqual({
      beforeBackup: [{ run: ['systemctl', 'stop', 'siem'], timeoutSeconds: 300 }, { run: ['/opt/my hooks/quiesce', ''], timeoutSeconds: 0.5 }],
      afterRestore: [{ run: ['systemctl', 'start', 'siem'], timeoutSeconds: 60 }],
    });
    expect(spec.backupConfiguration).toStrictEqual({
      retentionDays: 7, dataBackupHosts: [], config: { priority: 'LOW' }, data: { priority: 'HIGH', timeLimitMinutes: 90 },
    });
  });

  test('fills in nothing that it does not say, so that an upgrade of the program changes nothing', async () => {
    const spec = await load(`${sources('{ directory: a }', '{ file: b }')}    hooks: {}\nbackupConfiguration: { config: {} }\n`);
    expect(Object.keys(spec.stores[0] ?? {})).toEqual(['name', 'type', 'path', 'default', 'requiresPasscode']);
    expect(spec.hosts.map((host) => 'hooks' in host)).toEqual([false, false]);
    expect(spec.hosts[1]?.data.map((source) => Object.keys(source))).toEqual([['type', 'path', 'staging'], ['type', 'path', 'staging']]);
    expect(Object.keys(spec.backupConfiguration)).toEqual(['retentionDays', 'dataBackupHosts']);
    // As a database keeps it and gives it back.
    expect(differences(JSON.parse(JSON.stringify(spec)) as DeploymentSpec, spec)).toEqual([]);
  });

  const S3 = (more: string): string => stores(DEFAULT, `{ name: s, type: S3, ${more} }`);
  const PG = (url: string, more = ', database: d'): string => sources(`{ postgres: "${url}"${more} }`);

  test.each<[what: string, content: string, fault: string]>([
    // sources
    ['has a source of three kinds', sources('{ file: a, directory: b, postgres: "postgres://h", database: d }'), '10:9  hosts[1].data[0] has directory, file and postgres; it must have one of them'],
    ['has an empty pattern', sources('{ directory: a, exclude: [""] }'), '10:35  hosts[1].data[0].exclude[0] is ""; allowed: a pattern with `*`, `**` and `?` from the directory down, without a slash at its ends, and without `.` and `..`'],
    ['has an absolute pattern', sources('{ directory: a, include: [b, /c] }'), '10:38  hosts[1].data[0].include[1] is "/c"; allowed: a pattern with `*`, `**` and `?` from the directory down, without a slash at its ends, and without `.` and `..`'],
    ['has a pattern that leads out', sources('{ directory: a, include: [b/../../c] }'), '10:35  hosts[1].data[0].include[0] is "b/../../c"; allowed: a pattern with `*`, `**` and `?` from the directory down, without a slash at its ends, and without `.` and `..`'],
    ['has a pattern that ends with a slash', sources('{ directory: a, include: [b/] }'), '10:35  hosts[1].data[0].include[0] is "b/"; allowed: a pattern with `*`, `**` and `?` from the directory down, without a slash at its ends, and without `.` and `..`'],
    ['has no patterns in a list', sources('{ directory: a, include: [] }'), '10:34  hosts[1].data[0].include is an empty list; at least one entry is needed'],
    ['has patterns for a file', sources('{ file: a, exclude: [b] }'), '10:20  hosts[1].data[0].exclude is for a directory alone; remove it'],
    ['has another word for unreadable files', sources('{ file: a, onUnreadable: SKIP }'), '10:34  hosts[1].data[0].onUnreadable is "SKIP"; allowed: FAIL, WARN'],
    ['has an address for a path', sources('{ directory: "s3://bucket/x" }'), '10:22  hosts[1].data[0].directory is "s3://bucket/x"; allowed: a path, absolute or from the folder of this file; ~ is not expanded'],
    // databases
    ['has a server without a database', PG('postgres://h', ''), '10:9  hosts[1].data[0].database is missing'],
    ['has a database without a server', sources('{ directory: a, database: b }'), '10:25  hosts[1].data[0].database is for a postgres source alone; remove it'],
    ['has a staging directory for a database', PG('postgres://h', ', database: d, staging: s'), '10:50  hosts[1].data[0].staging is not for a postgres source; remove it'],
    ['has a database name with a slash', PG('postgres://h', ', database: a/b'), '10:47  hosts[1].data[0].database is "a/b"; allowed: the name of a database, without `/` and `=`'],
    ['has an address of another kind', PG('mysql://u:hush@h'), '10:21  hosts[1].data[0].postgres is "mysql://***@h"; allowed: an address that begins with postgres:// or postgresql://'],
    ['names the database in the address', PG('postgres://u:hush@h/users'), '10:21  hosts[1].data[0].postgres names a database; that belongs into the key database'],
    ['has a password that is not escaped', PG('postgres://u:hu/sh@h'), '10:21  hosts[1].data[0].postgres cannot be read; in user and password, write @ : / ? # and blanks as %40 %3A %2F %3F %23 %20, or take them from the environment with ${NAME}'],
    ['has an address without a host', PG('postgres://u:hush@'), '10:21  hosts[1].data[0].postgres names no host'],
    ['has two hosts in one address', PG('postgres://a:1,b:2'), '10:21  hosts[1].data[0].postgres names no single host, with or without a port'],
    ['has a host from the environment', PG('postgres://${HOST}'), '10:21  hosts[1].data[0].postgres takes its host from the environment; ${NAME} may stand in user, password and parameters alone'],
    ['has a reference that is none', PG('postgres://u:${a-b}@h'), '10:21  hosts[1].data[0].postgres has a $ or % that stands for nothing; write ${NAME} for a variable of the environment, %24 for a $, %25 for a %'],
    ['has a port out of range', PG('postgres://h:70000'), '10:21  hosts[1].data[0].postgres has a port that is not from 1 to 65535'],
    ['has a password as a parameter', PG('postgres://h?password=hush'), '10:21  hosts[1].data[0].postgres has the parameter password, which is not allowed here'],
    ['leads elsewhere by a parameter', PG('postgres://h?host=other'), '10:21  hosts[1].data[0].postgres has the parameter host, which is for the absolute directory of a socket alone, without another host'],
    ['has a database twice', sources('{ postgres: "postgres://u:hush@h", database: d }', '{ postgres: "postgres://H:5432?sslmode=require", database: d }'), '11:68  hosts[1].data[1] is the same database as hosts[1].data[0] (h:5432/d); no database may belong to two sources'],
    ['has a database of this machine twice', sources('{ postgres: "postgres://localhost", database: d }', '{ postgres: "postgres:///?host=/run/postgresql", database: d }'), '11:68  hosts[1].data[1] is the same database as hosts[1].data[0] (/run/postgresql:5432/d); no database may belong to two sources'],
    // stores
    ['has a directory store without a path', stores('{ name: s, type: DIRECTORY }'), '3:5  stores[0].path is missing'],
    ['has a directory store with a bucket', stores('{ name: s, type: DIRECTORY, path: p, bucket: b-b }'), '3:42  stores[0].bucket is not for a store of type DIRECTORY; remove it'],
    ['has an S3 store without a bucket', S3('region: r'), '4:5  stores[1].bucket is missing'],
    ['has an S3 store without region and endpoint', S3('bucket: b-b'), '4:5  stores[1].region is missing'],
    ['has an S3 store with a path', S3('bucket: b-b, region: r, path: p'), '4:50  stores[1].path is not for a store of type S3; remove it'],
    ['has an unknown type of store', stores(DEFAULT, '{ name: s, type: S4, bucket: b-b }'), '4:22  stores[1].type is "S4"; allowed: DIRECTORY, S3; did you mean S3?'],
    ['has a bucket with capitals', S3('bucket: Backups, region: r'), '4:34  stores[1].bucket is "Backups"; allowed: 3 to 63 lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit, and no IP address'],
    ['has an IP address for a bucket', S3('bucket: 192.0.2.1, region: r'), '4:34  stores[1].bucket is "192.0.2.1"; allowed: 3 to 63 lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit, and no IP address'],
    ['has a prefix that leads out', S3('bucket: b-b, region: r, prefix: a/../b'), '4:58  stores[1].prefix is "a/../b"; allowed: names with single slashes between them, without `.` and `..`'],
    ['has credentials in an endpoint', S3('bucket: b-b, endpoint: "https://key:hush@s3.example.net"'), '4:49  stores[1].endpoint is "https://***@s3.example.net"; allowed: an http:// or https:// address without user, password, query and fragment; credentials come from the environment'],
    ['has an endpoint of nothing', S3('bucket: b-b, endpoint: "https://[x"'), '4:49  stores[1].endpoint is not an address; allowed: such as https://s3.example.net:9000'],
    ['has a key of an object store', S3('bucket: b-b, region: r, secretAccessKey: hush'), '4:50  stores[1].secretAccessKey is not known here; credentials are never in this file: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment'],
    ['has a bucket twice', stores(DEFAULT, '{ name: s, type: S3, bucket: b-b, region: r }', '{ name: t, type: S3, bucket: b-b, region: q }'), '5:34  stores[2].bucket is the same place as stores[1] (s3://b-b); each store needs a prefix of its own'],
    ['has a prefix in a prefix', stores(DEFAULT, '{ name: s, type: S3, bucket: b-b, prefix: a/b, region: r }', '{ name: t, type: S3, bucket: b-b, prefix: a/, region: r }'), '4:47  stores[1].prefix lies inside stores[2] (s3://b-b/a); each store needs a prefix of its own'],
    // hooks
    ['has a text for a hook', hooks('{ run: systemctl stop siem }'), '10:18  hosts[1].hooks.beforeBackup[0].run is a text; it must be a list of the program and its arguments, such as [systemctl, stop, siem], since no shell is used'],
    ['has a hook of nothing', hooks('{ run: [] }'), '10:18  hosts[1].hooks.beforeBackup[0].run is an empty list; at least one entry is needed'],
    ['has a hook with a relative path', hooks('{ run: [./stop] }'), '10:19  hosts[1].hooks.beforeBackup[0].run[0] is "./stop"; allowed: a program: an absolute path, or a name that is looked for on the PATH'],
    ['has a number for an argument', hooks('{ run: [sleep, 5] }'), '10:26  hosts[1].hooks.beforeBackup[0].run[1] is the number 5, it must be a text; put it in quotes: "5"'],
    ['has a hook without time', hooks('{ run: [a], timeoutSeconds: 0 }'), '10:39  hosts[1].hooks.beforeBackup[0].timeoutSeconds is 0; allowed: a number above 0, up to 86400'],
    ['has a hook for something else', tail('  - { id: 2, hostname: x, hooks: { beforeBackups: [{ run: [a] }] } }'), '6:36  hosts[1].hooks.beforeBackups is not known here; did you mean beforeBackup?'],
    // limits
    ['has another priority', tail('backupConfiguration: { config: { priority: HIGHEST } }'), '6:44  backupConfiguration.config.priority is "HIGHEST"; allowed: LOW, MEDIUM, HIGH'],
    ['has a time limit below nothing', tail('backupConfiguration: { data: { timeLimitMinutes: -1 } }'), '6:50  backupConfiguration.data.timeLimitMinutes is -1; allowed: a number above 0, up to 20160'],
    ['has a time limit of months', tail('backupConfiguration: { data: { timeLimitMinutes: 100000 } }'), '6:50  backupConfiguration.data.timeLimitMinutes is 100000; allowed: a number above 0, up to 20160'],
  ])('that %s is refused at the place', async (_, content, fault) => {
    expect(await faultsOf(content)).toEqual([`deployment.yaml:${fault}`]);
  });

  test('may have the same database of this machine on two hosts, where it is two', async () => {
    const spec = await load(`${sources('{ postgres: "postgres://localhost", database: d }')}  - id: 3\n    hostname: ep2\n    components: [DATA_NODE]\n    data: [{ postgres: "postgres://localhost", database: d }]\n`);
    expect(spec.hosts.map(({ data }) => data.length)).toEqual([0, 1, 1]);
  });

  test('may not have the same database of another machine on two hosts', async () => {
    const more = '  - id: 3\n    hostname: ep2\n    components: [DATA_NODE]\n    data: [{ postgres: "postgres://db", database: d }]\n';
    expect(await faultsOf(sources('{ postgres: "postgres://db", database: d }') + more)).toEqual([expect.stringMatching(/^deployment.yaml:14:51 /)]);
  });

  test('may have buckets of the same name on two servers, and prefixes that begin alike', async () => {
    const spec = await load(stores(DEFAULT, '{ name: a, type: S3, bucket: b-b, prefix: x, region: r }', '{ name: b, type: S3, bucket: b-b, prefix: xy, region: r }', '{ name: c, type: S3, bucket: b-b, endpoint: "http://h" }'));
    expect(spec.stores).toHaveLength(4);
  });

  test.each([
    ['where a source is expected', sources('"postgres://user:hush@h/db"')],
    ['as a directory', sources('{ directory: "postgres://user:hush@h/db" }')],
    ['as a database', sources('{ postgres: "postgres://h", database: "postgres://user:hush@h/db" }')],
    ['in a very long address', sources(`{ directory: "postgres://${'u'.repeat(60)}:hush${'h'.repeat(60)}@h/db" }`)],
    ['with an @ in it', sources('{ directory: "postgres://user:p@hush@h/db" }')],
    ['in an address that cannot be read', PG('postgres://user:x hush@h')],
    ['in an address with a fault behind it', PG('postgres://user:hush@h:99999/db')],
    ['under a key of another program', S3('bucket: b-b, region: r, access_key: hush')],
    ['under a tag', sources('!postgres://user:hush@h')],
  ])('never shows a password %s', async (_, content) => {
    expect((await faultsOf(content)).join('\n')).not.toContain('hush');
  });

  test('is described by a schema with the words of the domain', () => {
    expect(schema.$defs.store.properties.type.enum).toEqual(STORE_TYPES);
    expect(schema.$defs.limits.properties.priority.enum).toEqual(BACKUP_PRIORITIES);
  });
});
