import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { migrate } from '../src/db/migrate.ts';
import { postgresClient } from '../src/db/client.ts';
import { startCuttableDatabase } from './support/cuttable.ts';
import { newEmptyDataDir, startGatewayProcess, type GatewayProcess } from './support/gateway.ts';

const PROGRAM = fileURLToPath(new URL('../bin/backup-gateway.mjs', import.meta.url));
const cleanUp: (() => Promise<unknown>)[] = [];
afterEach(async () => { for (const clean of cleanUp.splice(0).toReversed()) await clean(); });

const dataDir = async (): Promise<string> => {
  const directory = await newEmptyDataDir();
  cleanUp.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
};
const start = async (directory: string, env: Record<string, string> = {}): Promise<GatewayProcess> => {
  const gateway = await startGatewayProcess({ dataDir: directory, env });
  cleanUp.push(() => gateway.stop());
  return gateway;
};

/** Runs the program to its end, which comes by itself where it can't start. */
async function run(directory: string, env: Record<string, string>, node = process.execPath): Promise<{ code: number | null; printed: string }> {
  const child = spawn(node, [PROGRAM], { cwd: directory, env: { PATH: process.env['PATH'], PORT: '0', DATA_DIR: directory, ...env } });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => { printed += text; });
  const [code] = await once(child, 'close') as [number | null];
  return { code, printed };
}

test('four processes that start at once on one fresh DATA_DIR all come up, and share one deployment', async () => {
  const directory = await dataDir();
  const gateways = await Promise.all([1, 2, 3, 4].map(() => start(directory)));
  for (const gateway of gateways) {
    const { data } = await gateway.query('{ deployments { totalCount } hosts { totalCount } }');
    expect(data).toEqual({ deployments: { totalCount: 1 }, hosts: { totalCount: 4 } });
  }
});

test('four processes that start at once on one fresh DATABASE_URL all come up, and start no server of their own', async () => {
  const database = await startCuttableDatabase(await dataDir());
  cleanUp.push(() => database.stop());
  const directory = await dataDir();
  const gateways = await Promise.all([1, 2, 3, 4].map(() => start(directory, { DATABASE_URL: database.url })));
  for (const gateway of gateways) expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  await expect(access(join(directory, 'postgres'))).rejects.toThrow('ENOENT');
});

test('migrations that are applied already are left alone', async () => {
  const database = await startCuttableDatabase(await dataDir());
  cleanUp.push(() => database.stop());
  const applied = async () => {
    const client = postgresClient(database.url, { max: 1 });
    const rows = await client`select id, hash from drizzle.__drizzle_migrations order by id`;
    const [feed] = await client`select id from feed`;
    await client.end();
    return { migrations: rows.length, feed: feed?.['id'] as string };
  };
  await migrate(database.url);
  const first = await applied();
  await Promise.all([migrate(database.url), migrate(database.url), migrate(database.url)]);
  expect(await applied()).toEqual(first);
});

test('the token is generated once, printed once inside the link, and readable by its owner alone', async () => {
  const directory = await dataDir();
  const printedBy = async () => {
    const child = spawn(process.execPath, [PROGRAM], { cwd: directory, env: { PATH: process.env['PATH'], PORT: '0', DATA_DIR: directory } });
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      if (printed.includes('is ready')) child.kill('SIGTERM');
    });
    const [code] = await once(child, 'close');
    expect(code).toBe(0);
    return printed;
  };
  expect(await printedBy()).toMatch(/Open http:\/\/127\.0\.0\.1:\d+\/graphql#token=\S{16,}\n$/);
  expect(await printedBy()).not.toContain('#token=');
  expect((await stat(join(directory, 'admin-token'))).mode & 0o777).toBe(0o600);
});

test('a signal to "npm start" reaches the gateway, which stops in order', async () => {
  const directory = await dataDir();
  const child = spawn('npm', ['start'], { cwd: dirname(dirname(PROGRAM)), env: { PATH: process.env['PATH'], HOME: directory, PORT: '0', DATA_DIR: directory } });
  let printed = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { printed += text; });
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (text.includes('is ready')) child.kill('SIGTERM');
  });
  // Closed, and not only ended: whoever lives on would hold its output.
  await once(child, 'close');
  expect(printed).toContain('"msg":"stopped"');
});

test('every fault of the environment is told at once, and no secret with it', async () => {
  const { code, printed } = await run(await dataDir(), { PORT: 'many', ADMIN_TOKEN: 'tiny-secret', DATABASE_URL: 'mysql://u:hush@h/d' });
  expect(code).toBe(1);
  for (const name of ['PORT', 'ADMIN_TOKEN', 'DATABASE_URL']) expect(printed).toContain(name);
  expect(printed).not.toMatch(/tiny-secret|hush/);
});

test('a faulty deployment file stops the start with line and column, before anything is made', async () => {
  const directory = await dataDir();
  const file = join(directory, 'site.yaml');
  await writeFile(file, 'deployment: { name: x, product: p, appliance: "1", version: "1" }\nstores: [{ name: a, type: DIRECTORY, path: ./a }]\nhosts:\n  - { id: 1, hostnam: c, console: true }\n');
  await mkdir(join(directory, 'data'));
  const { code, printed } = await run(directory, { DEPLOYMENT_FILE: file, DATA_DIR: join(directory, 'data') });
  expect(code).toBe(1);
  expect(printed).toMatch(/site\.yaml:4:\d+ .*hostnam/);
  await expect(access(join(directory, 'data/postgres'))).rejects.toThrow('ENOENT');
});

test('a port that is in use is told, with what to do', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUp.push(async () => server.close());
  const { code, printed } = await run(await dataDir(), { PORT: String((server.address() as AddressInfo).port) });
  expect(code).toBe(1);
  expect(printed).toMatch(/Port \d+ is in use on 127\.0\.0\.1\. Stop what uses it, or set PORT/);
});

/** A Node of the machine that is too old, if it has one. */
const oldNode = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => {
  try { return Number(/^v(\d+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))?.[1]) < 24; } catch { return false; }
});

test.skipIf(oldNode === undefined)('a Node that is too old is told so at once, and what to do', async () => {
  const { code, printed } = await run(await dataDir(), {}, oldNode);
  expect(code).toBe(1);
  expect(printed).toMatch(/needs Node 24 or later; this is Node 2\d\./);
  expect(printed).toContain('npm rebuild node');
});
