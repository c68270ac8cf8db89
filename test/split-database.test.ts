/**
 * A network between gateway and database that answers nothing, and says nothing of it.
 */
import { sql } from 'drizzle-orm';
import { rm } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openDatabase, type Database } from '../src/db/client.ts';
import { openGatewayDatabase, routeTo, type DatabaseRoute, type TestDatabase } from './support/database.ts';
import { newDataDir } from './support/gateway.ts';

const LIMIT = 1_000;
let dataDir: string;
let server: TestDatabase;
let route: DatabaseRoute;
let database: Database;

beforeAll(async () => {
  dataDir = await newDataDir();
  server = await openGatewayDatabase(dataDir);
  route = await routeTo(server);
  database = openDatabase(route.url, { max: 2, statementLimit: LIMIT });
  await server.sql`create table noted (what text)`;
});
afterAll(async () => {
  await database?.close();
  await route?.close();
  await server?.close();
  await rm(dataDir, { recursive: true, force: true });
});

const noted = async (): Promise<string[]> => (await server.sql`select what from noted order by what`).map(({ what }) => String(what));

test('a statement whose connection has fallen silent ends, and the next goes out on another one', async () => {
  await Promise.all([1, 2].map(() => database.db.execute(sql`select 1`)));
  route.freeze();
  const asked = performance.now();
  await expect(Promise.all([1, 2].map(() => database.db.execute(sql`select 1`)))).rejects.toMatchObject({ cause: { code: 'DATABASE_SILENT' } });
  expect(performance.now() - asked).toBeLessThan(2 * LIMIT);
  expect(await database.db.execute(sql`select 1 as one`)).toMatchObject([{ one: 1 }]);
});

test('of a transaction whose connection has fallen silent nothing is written', async () => {
  await expect(database.db.transaction(async (tx) => {
    await tx.execute(sql`insert into noted values ('half')`);
    route.freeze();
    await tx.execute(sql`insert into noted values ('lost')`);
  })).rejects.toMatchObject({ cause: { code: 'DATABASE_SILENT' } });
  await database.db.transaction(async (tx) => { await tx.execute(sql`insert into noted values ('whole')`); });
  expect(await noted()).toEqual(['whole']);
});

test('what waits in vain for a lock is ended by the server, and its connection goes on', async () => {
  const holder = server.session();
  await holder.begin(async (transaction) => {
    await transaction`lock table noted`;
    await expect(database.db.execute(sql`insert into noted values ('late')`)).rejects.toMatchObject({ cause: { code: '57014' } });
  });
  expect(await noted()).toEqual(['whole']);
  expect(await database.db.execute(sql`select 1 as one`)).toMatchObject([{ one: 1 }]);
});

test('a transaction that stands still gives its locks back', async () => {
  const [written, standstill] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const standing = database.db.transaction(async (tx) => {
    await tx.execute(sql`insert into noted values ('standing')`);
    written.resolve();
    await standstill.promise;
    await tx.execute(sql`select 1`);
  });
  standing.catch(() => undefined);
  await written.promise;
  // Waits until the other has lost its locks.
  await server.sql.begin(async (transaction) => { await transaction`lock table noted`; });
  standstill.resolve();
  await expect(standing).rejects.toThrow();
  expect(await noted()).toEqual(['whole']);
});
