/**
 * What becomes of requests whose database connection ends: each is answered, nothing is half-done, and the gateway lives on.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startCuttableDatabase, type CuttableDatabase } from './support/cuttable.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from './support/gateway.ts';
import { done, reached, RuleWitness } from './support/mutations.ts';
import { killServer } from './support/pg-members.ts';

let site: GatedSite;
let database: CuttableDatabase;
let gateway: GatewayProcess;
beforeAll(async () => {
  site = await makeGatedSite();
  database = await startCuttableDatabase(site.options.dataDir);
  gateway = await startGatewayProcess({ ...site.options, env: { ...site.options.env, DATABASE_URL: database.url, SECRET_KEY: 'f'.repeat(64) } });
});
afterAll(async () => {
  await gateway?.stop();
  await database?.stop();
  await site?.remove();
});

test('a connection that is lost in the middle of a creation leaves nothing', async () => {
  let isCut = false;
  database.inspect((_from, data) => {
    if (isCut || !data.includes('insert into "jobs"')) return;
    isCut = true;
    return 'cut';
  });
  await new RuleWitness().expectBroken(gateway, 'createBackup', { name: 'half', configurationId: 1, type: 'CONFIG' }, [1000, 'ENGINE_ERROR']);
  expect(isCut).toBe(true);
  database.inspect(null);
  expect((await gateway.query('{ backupByName(name: "half") { id } }')).data.backupByName).toBeNull();
});

test('whoever is not sure what became of a request repeats it under its idempotency key', async () => {
  const input = { name: 'unsure', configurationId: 1, type: 'CONFIG', idempotencyKey: 'unsure' };
  let creating: object | undefined;
  let isCut = false;
  // The server has committed, and its answer does not reach the gateway.
  database.inspect((from, data, connection) => {
    if (from === 'gateway' && data.includes('insert into "idempotency_keys"')) creating = connection;
    if (isCut || from === 'gateway' || connection !== creating || !data.includes('COMMIT')) return;
    isCut = true;
    return 'cut';
  });
  await new RuleWitness().expectBroken(gateway, 'createBackup', input, [1000, 'ENGINE_ERROR']);
  expect(isCut).toBe(true);
  database.inspect(null);
  const { backup } = await done(gateway, 'createBackup', input);
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
  const { data } = await gateway.query('{ backups(filter: { nameContains: "unsure" }) { totalCount } }');
  expect(data.backups.totalCount).toBe(1);
});

test('a gateway lives on when its connections end in the middle of many requests', async () => {
  const requests = Array.from({ length: 60 }, (_, index) => gateway.query('mutation ($input: UpdateBackupInput!) { updateBackup(input: $input) { __typename } }', { input: { id: 1, description: `${index}` } }));
  let statements = 0;
  database.inspect((from) => {
    statements += from === 'gateway' ? 1 : 0;
    return from === 'gateway' && statements % 10 === 0 ? 'cut' : undefined;
  });
  for (const answer of await Promise.all(requests)) expect(answer.errors).toBeUndefined();
  expect(statements).toBeGreaterThan(10);
  database.inspect(null);
  expect((await gateway.query('{ feedCursor }')).errors).toBeUndefined();
});

test('after the embedded server was killed in the middle of many requests each of them is answered, and later ones succeed', async () => {
  const embedded = await startGatewayProcess();
  const request = () => embedded.query('mutation { setRebalancing(input: { rebalancing: true }) { __typename } }');
  try {
    for (let round = 0; round < 3; round += 1) {
      const requests = Promise.all(Array.from({ length: 200 }, request));
      await request();
      killServer(embedded.dataDir);
      for (const answer of await requests) expect(answer.errors).toBeUndefined();
      await until('a request succeeds again', async () => (await request()).data.setRebalancing.__typename === 'SetRebalancingPayload', 5_000);
    }
  } finally {
    await embedded.stop();
  }
}, 30_000);
