/**
 * How much is asked of a store to find out which of its many backups are still there.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openDatabase } from '../../src/db/client.ts';
import { openStore, STORE_MARK, type Store } from '../../src/engine/index.ts';
import { findStoreById } from '../../src/records/checks.ts';
import type { StoreRow } from '../../src/records/rows.ts';
import { startReconciler, type Reconciler } from '../../src/worker/reconcile.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { newDataDir, startGateway } from '../support/gateway.ts';
import { plantBackups, plantStore } from '../support/records.ts';

const MANY = 300;
const named = (nth: number): string => `backup.${nth}`;

let dataDir: string;
let database: TestDatabase;
let client: ReturnType<typeof openDatabase>;
let row: StoreRow;
let path: string;
beforeAll(async () => {
  dataDir = await newDataDir();
  // For its tables alone.
  await (await startGateway({ dataDir })).stop();
  database = await openGatewayDatabase(dataDir);
  client = openDatabase(database.connection);
  row = (await findStoreById(client.db, await plantStore(database.sql)))!;
  await plantBackups(database.sql, Array.from({ length: MANY }, (_, nth) => ({ name: `many-${nth}`, store_id: row.id, directory: named(nth) })));
  path = join(dataDir, 'many');
});
afterAll(async () => {
  await client?.close();
  await database?.close();
  fs.rmSync(dataDir, { recursive: true, force: true });
});

let asked: string[];
let store: Store;
let returned: string[];
let reconciler: Reconciler;
beforeEach(async () => {
  fs.rmSync(path, { recursive: true, force: true });
  fs.mkdirSync(path);
  fs.writeFileSync(join(path, STORE_MARK), '');
  for (let nth = 0; nth < MANY; nth += 1) putBack(named(nth));
  await database.sql`update backups set status = 'SUCCESS' where status = 'MISSING'`;
  asked = [];
  returned = [];
  const real = openStore({ type: 'DIRECTORY', path, s3: null });
  store = Object.assign(Object.create(real) as Store, {
    list: () => (asked.push('list'), real.list()),
    has: (name: string) => (asked.push(name), real.has(name)),
  });
  reconciler = startReconciler({ db: client.db, log: { warn: () => undefined, debug: () => undefined } }, new AbortController().signal, (_store, { directory }) => returned.push(directory));
});

function putBack(name: string): void {
  fs.mkdirSync(join(path, name));
  fs.writeFileSync(join(path, name, 'manifest.json'), '{}');
}
const missing = async (): Promise<string[]> => (await database.sql<{ directory: string }[]>`select directory from backups where status = 'MISSING' order by id`).map(({ directory }) => directory);
/** Looks, and answers what the store was asked for. */
async function look(): Promise<string[]> {
  await reconciler.look(row, store);
  return asked.splice(0);
}

test('all backups are looked for by one list, and only those that it lacks by themselves', async () => {
  expect(await look()).toEqual(['list']);
  expect(await missing()).toEqual([]);
  reconciler.forget(row.id);
  for (const nth of [7, 8]) fs.rmSync(join(path, named(nth)), { recursive: true });
  expect(await look()).toEqual(['list', named(7), named(8)]);
  expect(await missing()).toEqual([named(7), named(8)]);
  // What is known to be missing costs nothing, and is found when it is there again.
  putBack(named(8));
  reconciler.forget(row.id);
  expect(await look()).toEqual(['list']);
  expect(returned).toEqual([named(8)]);
});

test('a backup that a list lacks and that is there is not MISSING', async () => {
  const list = store.list.bind(store);
  store.list = async () => (await list()).filter((name) => name !== named(3));
  expect(await look()).toEqual(['list', named(3)]);
  expect(await missing()).toEqual([]);
});

test('a change that the store tells of has nothing else looked at', async () => {
  await look();
  reconciler.told(row.id, 'backup.new');
  expect(await look()).toEqual([]);
  fs.rmSync(join(path, named(5)), { recursive: true });
  reconciler.told(row.id, named(5));
  expect(await look()).toEqual([named(5)]);
  expect(await missing()).toEqual([named(5)]);
  putBack(named(5));
  reconciler.told(row.id, named(5));
  await look();
  expect(returned).toEqual([named(5)]);
  expect(await look()).toEqual([]);
});

test('a store that takes long to list is not listed again and again', async () => {
  const list = store.list.bind(store);
  store.list = async () => {
    await new Promise((resolve) => { setTimeout(resolve, 200); });
    return list();
  };
  expect(await look()).toEqual(['list']);
  // It does not know what has changed.
  reconciler.told(row.id, null);
  expect(await look()).toEqual([]);
});

test('where a list cannot be had, each is looked at by itself', async () => {
  store.list = () => Promise.reject(new Error('something in it cannot be read'));
  fs.rmSync(join(path, named(0)), { recursive: true });
  expect(await look()).toHaveLength(MANY);
  expect(await missing()).toEqual([named(0)]);
});

test('a store that is away says nothing about its backups', async () => {
  fs.renameSync(path, `${path}-away`);
  await expect(reconciler.look(row, store)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
  expect(await missing()).toEqual([]);
  fs.rmSync(`${path}-away`, { recursive: true });
});

test('what was unmounted since the store was looked at is not MISSING', async () => {
  fs.rmSync(path, { recursive: true });
  fs.mkdirSync(path);
  await expect(look()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', message: expect.stringContaining('is its file system mounted?') });
  expect(await missing()).toEqual([]);
});
