import { execFile } from 'node:child_process';
import { chmod, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect, promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureSecrets, readConfig, Secret } from '../src/config.ts';
import { ConfigError } from '../src/domain/errors.ts';

let folder: string;
beforeEach(async () => { folder = await mkdtemp(join(tmpdir(), 'config-')); });
afterEach(() => rm(folder, { recursive: true, force: true }));

const TOKEN = 'a-token-of-enough-letters';
const KEY = 'a secret key, longer than thirty-two characters';

function faultsOf(env: Record<string, string>): readonly string[] {
  try {
    readConfig(env, folder);
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
  return [];
}

describe('the environment', () => {
  test('has a default for everything', () => {
    expect({ ...readConfig({}, folder) }).toEqual({
      port: 4000, host: '127.0.0.1', publicUrl: null, databaseUrl: null, databaseDirectUrl: null, wakeBusUrl: null, dataDir: join(folder, 'data'), deploymentFile: null,
      deployOnStart: false, adminToken: null, secretKey: null, feedRetentionDays: 30, logLevel: 'info',
    });
  });

  test('counts an empty variable as absent', () => {
    const empty = Object.fromEntries(['PORT', 'HOST', 'PUBLIC_URL', 'DATABASE_URL', 'DATABASE_DIRECT_URL', 'WAKE_BUS_URL', 'DATA_DIR', 'DEPLOYMENT_FILE', 'DEPLOY_ON_START', 'ADMIN_TOKEN', 'SECRET_KEY', 'FEED_RETENTION_DAYS', 'LOG_LEVEL'].map((name) => [name, '']));
    expect({ ...readConfig(empty, folder) }).toEqual({ ...readConfig({}, folder) });
  });

  test('is read with relative paths made absolute and no slash at the end of the public URL', async () => {
    await writeFile(join(folder, 'mine.yaml'), '');
    const config = readConfig({
      PORT: '0', HOST: '::', PUBLIC_URL: 'https://ops.example/backup/', DATABASE_URL: 'postgresql://u:p@db/gateway', DATA_DIR: 'kept',
      DEPLOYMENT_FILE: 'mine.yaml', DEPLOY_ON_START: 'TRUE', ADMIN_TOKEN: TOKEN, SECRET_KEY: KEY, LOG_LEVEL: 'debug',
    }, folder);
    expect(config).toMatchObject({
      port: 0, host: '::', publicUrl: 'https://ops.example/backup', databaseUrl: 'postgresql://u:p@db/gateway', dataDir: join(folder, 'kept'),
      deploymentFile: join(folder, 'mine.yaml'), deployOnStart: true, logLevel: 'debug',
    });
    expect(config.adminToken?.reveal()).toBe(TOKEN);
    expect(config.secretKey?.reveal()).toBe(KEY);
    expect(Object.isFrozen(config)).toBe(true);
  });

  test('keeps the feed for some days, or for ever', () => {
    expect(readConfig({ FEED_RETENTION_DAYS: '90' }, folder).feedRetentionDays).toBe(90);
    expect(readConfig({ FEED_RETENTION_DAYS: 'forever' }, folder).feedRetentionDays).toBeNull();
  });

  test('takes a way past a pooler only together with the way through it', () => {
    const config = readConfig({ DATABASE_URL: 'postgres://u@pooler/gateway', DATABASE_DIRECT_URL: 'postgres://u@db/gateway' }, folder);
    expect(config).toMatchObject({ databaseUrl: 'postgres://u@pooler/gateway', databaseDirectUrl: 'postgres://u@db/gateway' });
    expect(faultsOf({ DATABASE_DIRECT_URL: 'postgres://u@db/gateway' })).toEqual([expect.stringMatching(/^DATABASE_DIRECT_URL is set without DATABASE_URL;/)]);
  });

  test.each(['redis://bus', 'redis://:p%40ss@bus:6380', 'rediss://gateway:secret@bus.example.net/2', 'redis://[::1]:6379/'])('takes %s for a wake-up bus', (url) => {
    expect(readConfig({ WAKE_BUS_URL: url }, folder).wakeBusUrl).toBe(url);
  });

  test('tells every fault at once, each with the variable, its value and what is allowed', () => {
    expect(faultsOf({ PORT: '70000', HOST: 'http://x', PUBLIC_URL: 'ops.example', DEPLOY_ON_START: 'maybe', LOG_LEVEL: 'loud', DEPLOYMENT_FILE: 'gone.yaml' })).toEqual([
      'PORT is "70000"; allowed: a whole number from 0 (any free port) to 65535',
      'HOST is "http://x"; allowed: an IP address or host name, without brackets or port',
      'PUBLIC_URL is "ops.example"; allowed: an absolute http:// or https:// URL without user, query or fragment',
      `DEPLOYMENT_FILE is "gone.yaml"; allowed: the path of a file that is there, from ${folder} if relative`,
      'DEPLOY_ON_START is "maybe"; allowed: true, false, 1, 0',
      'LOG_LEVEL is "loud"; allowed: trace, debug, info, warn, error, fatal, silent',
    ]);
  });

  test.each([
    ['PORT', '-1'], ['PORT', '4e3'], ['PORT', ' 4000'], ['PORT', '0x10'], ['HOST', '[::1]'], ['HOST', 'a:80'],
    ['PUBLIC_URL', 'ftp://ops.example'], ['PUBLIC_URL', 'http:ops.example'], ['PUBLIC_URL', 'https://ops.example/?a=1'], ['PUBLIC_URL', 'https://'],
    ['DATABASE_URL', 'mysql://db/x'], ['DATABASE_URL', 'db'],
    ['WAKE_BUS_URL', 'bus:6379'], ['WAKE_BUS_URL', 'nats://bus'], ['WAKE_BUS_URL', 'redis://'], ['WAKE_BUS_URL', 'redis://bus/jobs'], ['WAKE_BUS_URL', 'redis://:p#ss@bus'], ['WAKE_BUS_URL', 'redis://:100%@bus'],
    ['WAKE_BUS_URL', 'redis://:%ff@bus'], ['WAKE_BUS_URL', 'redis://bus?db=1'], ['FEED_RETENTION_DAYS', '0'], ['FEED_RETENTION_DAYS', '-1'], ['FEED_RETENTION_DAYS', '1.5'], ['FEED_RETENTION_DAYS', '36501'], ['ADMIN_TOKEN', 'fifteen-letters'], ['ADMIN_TOKEN', 'a token with some blanks'],
    ['ADMIN_TOKEN', 'schlüssel-schlüssel'], ['SECRET_KEY', 'x'.repeat(31)], ['DEPLOYMENT_FILE', '.'],
  ])('refuses %s=%s', (name, value) => {
    expect(faultsOf({ [name]: value })).toEqual([expect.stringMatching(new RegExp(`^${name} .*; allowed: `))]);
  });

  test('refuses a data directory that is a file', async () => {
    await writeFile(join(folder, 'file'), '');
    expect(faultsOf({ DATA_DIR: 'file' })).toEqual([expect.stringContaining('DATA_DIR is "file"')]);
  });

  test('never shows a secret, neither in a fault nor when the configuration is printed', () => {
    const faults = faultsOf({ ADMIN_TOKEN: 'hush hush', SECRET_KEY: 'hush', DATABASE_URL: 'hush://u:hush@db', WAKE_BUS_URL: 'redis://:hush@bus/hush', PUBLIC_URL: 'https://me:hush@x/' });
    expect(faults).toHaveLength(5);
    expect(faults.join()).not.toContain('hush');
    const config = readConfig({ ADMIN_TOKEN: TOKEN, SECRET_KEY: KEY, DATABASE_URL: 'postgres://u:hush@pooler', DATABASE_DIRECT_URL: 'postgres://u:hush@db', WAKE_BUS_URL: 'redis://:hush@bus' }, folder);
    for (const print of [inspect(config), JSON.stringify(config), `${config.adminToken}`, inspect({ ...config, databaseUrl: null, databaseDirectUrl: null, wakeBusUrl: null }, { showHidden: true })]) {
      expect(print).not.toMatch(/hush|a-token|a secret key/);
      expect(print).toContain('[secret]');
    }
  });
});

describe('secrets that are not configured', () => {
  test('are generated on the first start, readable by their owner alone, and read on later ones', async () => {
    const config = readConfig({ DATA_DIR: 'new/data' }, folder);
    const first = await ensureSecrets(config);
    const second = await ensureSecrets(config);
    expect(first.adminTokenGenerated).toBe(true);
    expect(second.adminTokenGenerated).toBe(false);
    expect(first.adminToken.reveal()).toMatch(/^[\w-]{32}$/);
    expect(first.secretKey.reveal()).toMatch(/^[\w-]{43}$/);
    expect([second.adminToken.reveal(), second.secretKey.reveal()]).toEqual([first.adminToken.reveal(), first.secretKey.reveal()]);
    expect(await readdir(config.dataDir)).toEqual(['admin-token', 'secret-key']);
    for (const name of ['admin-token', 'secret-key']) expect((await stat(join(config.dataDir, name))).mode & 0o777).toBe(0o600);
  });

  test('are not generated where they are configured', async () => {
    const config = readConfig({ ADMIN_TOKEN: TOKEN, SECRET_KEY: KEY }, folder);
    const secrets = await ensureSecrets(config);
    expect([secrets.adminToken.reveal(), secrets.secretKey.reveal(), secrets.adminTokenGenerated]).toEqual([TOKEN, KEY, false]);
    await expect(stat(config.dataDir)).rejects.toThrow('ENOENT');
  });

  test('are the same for processes that start at once, and one alone has generated them', async () => {
    const script = `
      import { ensureSecrets } from ${JSON.stringify(new URL('../src/config.ts', import.meta.url).href)};
      const runs = await Promise.all(Array.from({ length: 8 }, () => ensureSecrets({ dataDir: process.argv[1], adminToken: null, secretKey: null })));
      console.log(JSON.stringify(runs.map((run) => [run.adminToken.reveal(), run.secretKey.reveal(), run.adminTokenGenerated])));`;
    const run = async (): Promise<[string, string, boolean][]> => {
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, folder]);
      return JSON.parse(stdout) as [string, string, boolean][];
    };
    const all = (await Promise.all([run(), run(), run()])).flat();
    expect(new Set(all.map(([token]) => token)).size).toBe(1);
    expect(new Set(all.map(([, key]) => key)).size).toBe(1);
    expect(all.filter(([, , generated]) => generated)).toHaveLength(1);
    expect(await readdir(folder)).toEqual(['admin-token', 'secret-key']);
  });

  test('are refused, not replaced and not shown, where the kept one is damaged', async () => {
    await writeFile(join(folder, 'secret-key'), 'torn');
    const error = await ensureSecrets({ dataDir: folder, adminToken: new Secret(TOKEN), secretKey: null }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as ConfigError).faults).toEqual([`${join(folder, 'secret-key')} does not hold at least 32 characters`]);
    expect((error as ConfigError).message).not.toContain('torn');
    expect(await readFile(join(folder, 'secret-key'), 'utf8')).toBe('torn');
  });

  test('are closed to others where a copy left them open', async () => {
    await writeFile(join(folder, 'admin-token'), `${TOKEN}\n`);
    await chmod(join(folder, 'admin-token'), 0o644);
    const secrets = await ensureSecrets({ dataDir: folder, adminToken: null, secretKey: new Secret(KEY) });
    expect(secrets.adminToken.reveal()).toBe(TOKEN);
    expect((await stat(join(folder, 'admin-token'))).mode & 0o777).toBe(0o600);
  });

  test('say what to do where they cannot be kept', async () => {
    await writeFile(join(folder, 'file'), '');
    const error = await ensureSecrets({ dataDir: join(folder, 'file'), adminToken: null, secretKey: null }).catch((reason: unknown) => reason);
    expect((error as ConfigError).advice).toMatch(/Make DATA_DIR writable, or set ADMIN_TOKEN/);
  });
});
