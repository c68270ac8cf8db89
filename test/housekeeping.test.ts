import { rm } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { openGatewayDatabase } from './support/database.ts';
import { newDataDir, startGateway } from './support/gateway.ts';

const CREATE = `mutation ($name: String!) { createBackup(input: { name: $name, configurationId: 1, type: CONFIG, idempotencyKey: $name }) {
  ... on CreateBackupPayload { job { id } } } }`;

test('idempotency keys older than a day are removed on a start, and younger ones kept', async () => {
  const dataDir = await newDataDir();
  try {
    const gateway = await startGateway({ dataDir });
    await gateway.query(CREATE, { name: 'old' });
    const database = await openGatewayDatabase(dataDir);
    const keys = async () => (await database.sql`select count(*)::int as count from idempotency_keys`)[0]?.['count'];
    await database.sql`update idempotency_keys set time_created = now() - interval '25 hours'`;
    await database.sql`insert into idempotency_keys (token, mutation, key, input_mac) values ('t', 'createBackup', 'young', 'm')`;
    expect(await keys()).toBe(2);
    await gateway.stop();
    const again = await startGateway({ dataDir });
    expect(await keys()).toBe(1);
    await database.close();
    await again.stop();
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
});
