/** Lists of changes while the oldest of them are being removed. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { addBackup, endOfFeed, feedCursor, flip, positionOf } from '../support/feed.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';

const PRUNE = fileURLToPath(new URL('../support/prune-child.ts', import.meta.url));

let gateway: TestGateway;
let database: TestDatabase;
/** Called before the statement that reads a page is sent, which waits for it. */
let beforePage: (() => void) | null = null;
beforeAll(async () => {
  gateway = await startGateway({
    env: { FEED_RETENTION_DAYS: 'forever' },
    onStatement(text) {
      if (!/from transitions t where/.test(text)) return;
      beforePage?.();
      beforePage = null;
    },
  });
  database = await openGatewayDatabase(gateway.dataDir);
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

const ALL = 'query ($id: ID!, $after: String, $before: String, $last: Int) { backup(id: $id) { name } page: backupTransitions(after: $after, before: $before, last: $last) { nodes { cursor } } }';
const OF_RECORD = 'query ($id: ID!, $after: String, $before: String, $last: Int) { backup(id: $id) { page: transitions(after: $after, before: $before, last: $last) { nodes { cursor } } } }';

const CASES = [['all', ALL, 'after'], ['one record', OF_RECORD, 'after'], ['all', ALL, 'before']] as const;

test.each(CASES)('F7 F13 what is removed between the look at the cursor and the reading of the page is told: of %s, %#', async (_name, query, argument) => {
  const backup = await addBackup(database);
  const start = await feedCursor(gateway);
  await flip(database, backup.number, 10);
  const end = await endOfFeed(database);
  const floor = positionOf(start) + 6;
  const variables = argument === 'after' ? { id: backup.id, after: start } : { id: backup.id, before: start, last: 5 };
  const remove = () => { execFileSync(process.execPath, [PRUNE, JSON.stringify(database.connection), String(floor)], { timeout: 20_000 }); };
  const pageOf = ({ data }: { data: any }): { cursor: string }[] => (data.page ?? data.backup.page).nodes;
  if (argument === 'after') expect(pageOf(await gateway.query(query, variables))).toHaveLength(10);
  beforePage = remove;
  const { errors } = await gateway.query(query, variables);
  expect(beforePage).toBeNull();
  expect(errors).toMatchObject([{ extensions: { code: 'CURSOR_EXPIRED' } }]);
  // What the list then begins with is all that is kept.
  const { data } = await gateway.query('{ backupTransitions { nodes { cursor } } }');
  expect(data.backupTransitions.nodes.map(({ cursor }: { cursor: string }) => positionOf(cursor))).toEqual(Array.from({ length: end - floor }, (_, nth) => floor + 1 + nth));
});
