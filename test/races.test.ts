import { join } from 'node:path';
import type postgres from 'postgres';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { postgresClient } from '../src/db/client.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { startGatewayProcess, until, type GatewayProcess } from './support/gateway.ts';
import { codesOf, done, finishedBackup, gone, reached, send, type Input } from './support/mutations.ts';
import type { MutationName } from '../src/domain/rules.ts';

let site: GatedSite;
let gateways: GatewayProcess[] = [];
let sql: postgres.Sql;
beforeAll(async () => {
  site = await makeGatedSite();
  // Both on one directory, hence on one database.
  gateways = [await startGatewayProcess(site.options)];
  gateways.push(await startGatewayProcess(site.options));
  sql = postgresClient({ host: join(site.options.dataDir, 'postgres-run'), port: 5432, database: 'backup_gateway', username: 'backup_gateway' }, { max: 1 });
});
afterAll(async () => {
  await site?.release();
  await sql?.end();
  for (const gateway of gateways) await gateway.stop();
  await site?.remove();
});
// A deadlock is resolved by failing one of the two; whoever is failed has done nothing wrong.
afterEach(async () => {
  await site.release();
  const [row] = await sql<{ deadlocks: string }[]>`select deadlocks from pg_stat_database where datname = current_database()`;
  expect(row?.deadlocks).toBe('0');
  for (const gateway of gateways) expect(gateway.log()).not.toMatch(/deadlock|a mutation failed|job failed/);
});

const first = (): GatewayProcess => gateways[0] as GatewayProcess;
const VALID = { configurationId: 1, type: 'CONFIG' };
/** Sends so many requests at once, in turn to each gateway; answers how often each outcome came, such as `{ '': 1, '1005': 199 }`. */
async function rush(name: MutationName, count: number, input: (index: number) => Input): Promise<{ outcomes: Record<string, number>; results: any[] }> {
  const results = await Promise.all(Array.from({ length: count }, (_, index) => send(gateways[index % gateways.length] as GatewayProcess, name, input(index))));
  const outcomes: Record<string, number> = {};
  for (const result of results) outcomes[codesOf(result).join()] = (outcomes[codesOf(result).join()] ?? 0) + 1;
  return { outcomes, results };
}
const winner = (results: any[]): any => results.find((result) => result.violations === undefined);
const remove = async (id: string): Promise<void> => {
  await done(first(), 'deleteBackup', { id });
  await gone(first(), 'backup', id);
};
const statusOf = async (kind: 'backup' | 'restore' | 'job', id: string): Promise<string | null> =>
  (await first().query(`query ($id: ID!) { record: ${kind}(id: $id) { status } }`, { id })).data.record?.status ?? null;

test('of 200 backups of one name at once one starts, and each other is told why not', async () => {
  const { outcomes, results } = await rush('createBackup', 200, () => ({ ...VALID, name: 'one' }));
  const { '': successes, ...refusals } = outcomes;
  expect(successes).toBe(1);
  // It may have ended meanwhile; its name stays.
  for (const codes of Object.keys(refusals)) expect(['1005', '1005,1015']).toContain(codes);
  await reached(first(), 'backup', winner(results).backup.id, 'SUCCESS');
  await remove(winner(results).backup.id);
});

test('of 60 backups at once on three hosts, one for each runs', async () => {
  await site.hold('--create');
  const { outcomes, results } = await rush('createBackup', 60, (index) => ({ name: `host-${index}`, configurationId: 1, type: 'DATA', hostId: [2, 5, 6][index % 3] }));
  expect(outcomes).toEqual({ '': 3, 1015: 57 });
  for (const { backup } of results.filter((result) => result.violations === undefined)) await remove(backup.id);
});

test('twenty requests with one key answer one backup', async () => {
  const { results } = await rush('createBackup', 20, () => ({ ...VALID, name: 'keyed', idempotencyKey: 'key' }));
  expect(new Set(results.map((result) => result.backup?.id)).size).toBe(1);
  expect(new Set(results.map((result) => result.job?.id)).size).toBe(1);
  await reached(first(), 'backup', results[0].backup.id, 'SUCCESS');
  await remove(results[0].backup.id);
});

test('of 50 restores recorded at once one is, and of 20 requests of it one starts it', async () => {
  const backupId = await finishedBackup(first(), 'restored');
  const creation = await rush('createRestore', 50, () => ({ backupId, groups: ['USERS_CONFIG'] }));
  expect(creation.outcomes).toEqual({ '': 1, 1011: 49 });
  const { id } = winner(creation.results).restore;
  await site.hold('--extract');
  const request = await rush('updateRestore', 20, () => ({ id, status: 'REQUESTING' }));
  expect(request.outcomes).toEqual({ '': 1, 1012: 19 });
  // Its record removed, another can be recorded, but not run.
  const removal = await rush('deleteRestore', 10, () => ({ id }));
  expect(removal.outcomes).toEqual({ '': 1, 1001: 9 });
  const second = (await done(first(), 'createRestore', { backupId, groups: ['USERS_CONFIG'] })).restore.id;
  expect((await rush('updateRestore', 10, () => ({ id: second, status: 'REQUESTING' }))).outcomes).toEqual({ 1016: 10 });
  await site.release();
  await until('the first restore has ended', async () => codesOf(await send(first(), 'updateRestore', { id: second, status: 'REQUESTING' })).length === 0);
  await reached(first(), 'restore', second, 'SUCCESS');
});

test('a backup and a restore that start at once never both run', async () => {
  const backupId = (await first().query('{ backupByName(name: "restored") { id } }')).data.backupByName.id;
  const { id } = (await done(first(), 'createRestore', { backupId, groups: ['USERS_CONFIG'] })).restore;
  const winners = new Set<string>();
  for (let round = 0; round < 12; round += 1) {
    await site.hold('--create');
    await site.hold('--extract');
    const [a, b] = gateways as [GatewayProcess, GatewayProcess];
    const backing = () => send(a, 'createBackup', { name: `against-${round}`, configurationId: 1, type: 'DATA', hostId: 5 });
    const restoring = () => send(b, 'updateRestore', { id, status: 'REQUESTING' });
    const [backup, restore] = round % 2 === 0
      ? await Promise.all([backing(), restoring()])
      : await Promise.all([restoring(), backing()]).then(([second, one]) => [one, second]);
    const outcome = `${codesOf(backup).join()}|${codesOf(restore).join()}`;
    expect(['|1015', '1016|']).toContain(outcome);
    winners.add(outcome);
    const job = backup.job ?? restore.job;
    await done(first(), 'cancelJob', { id: job.id });
    await reached(first(), 'job', job.id, 'CANCELLED');
    if (backup.backup !== undefined) await gone(first(), 'backup', backup.backup.id);
    await site.release();
  }
  expect(await statusOf('restore', id)).toBe('PENDING');
  await done(first(), 'deleteRestore', { id });
});

test('a backup that is deleted by ten at once is deleted once', async () => {
  for (let round = 0; round < 3; round += 1) {
    const id = await finishedBackup(first(), 'unwanted');
    const { outcomes } = await rush('deleteBackup', 10, () => ({ id }));
    const { '': successes, ...refusals } = outcomes;
    expect(successes).toBe(1);
    for (const codes of Object.keys(refusals)) expect(['1001', '1017']).toContain(codes);
    await gone(first(), 'backup', id);
  }
  await site.hold('--create');
  const { backup, job } = await done(first(), 'createBackup', { ...VALID, name: 'running' });
  const [deletions, cancellations] = await Promise.all([rush('deleteBackup', 6, () => ({ id: backup.id })), rush('cancelJob', 6, () => ({ id: job.id }))]);
  for (const codes of Object.keys(deletions.outcomes)) expect(['', '1001', '1017']).toContain(codes);
  for (const codes of Object.keys(cancellations.outcomes)) expect(['', '2009']).toContain(codes);
  await gone(first(), 'backup', backup.id);
  expect(await statusOf('job', job.id)).toBe('CANCELLED');
});

test('a backup cancelled while it ends is either cancelled and gone, or whole', async () => {
  const seen = new Set<string>();
  for (let round = 0; round < 24; round += 1) {
    const { backup, job } = await done(first(), 'createBackup', { ...VALID, name: `cancelled-${round}` });
    await new Promise((resolve) => { setTimeout(resolve, round * 8); });
    const answer = await send(gateways[1] as GatewayProcess, 'cancelJob', { id: job.id });
    if (codesOf(answer).length === 0) {
      await reached(first(), 'job', job.id, 'CANCELLED');
      await gone(first(), 'backup', backup.id);
    } else {
      expect(codesOf(answer)).toEqual([2009]);
      expect([await statusOf('backup', backup.id), await statusOf('job', job.id)]).toEqual(['SUCCESS', 'COMPLETED']);
      await remove(backup.id);
    }
    const { data } = await first().query('query ($id: ID!) { job(id: $id) { transitions { nodes { to } } } }', { id: job.id });
    seen.add(data.job.transitions.nodes.map((node: any) => node.to).join(' '));
  }
  for (const way of seen) expect(['SUBMITTED EXECUTING COMPLETED', 'SUBMITTED EXECUTING CANCELLING CANCELLED', 'SUBMITTED CANCELLING CANCELLED']).toContain(way);
});

test('a restore cancelled while it ends is either pending again, or done', async () => {
  const backupId = (await first().query('{ backupByName(name: "restored") { id } }')).data.backupByName.id;
  let id: string | null = null;
  for (let round = 0; round < 24; round += 1) {
    id ??= (await done(first(), 'createRestore', { backupId, groups: ['USERS_CONFIG', 'DEPLOYMENT_CONFIG'] })).restore.id as string;
    const { job } = await done(first(), 'updateRestore', { id, status: 'REQUESTING' });
    await new Promise((resolve) => { setTimeout(resolve, round * 6); });
    const answer = await send(gateways[1] as GatewayProcess, 'cancelJob', { id: job.id });
    if (codesOf(answer).length === 0) {
      await reached(first(), 'job', job.id, 'CANCELLED');
      expect(await statusOf('restore', id)).toBe('PENDING');
    } else {
      expect(codesOf(answer)).toEqual([2009]);
      await reached(first(), 'restore', id, 'SUCCESS');
      expect(await statusOf('job', job.id)).toBe('COMPLETED');
      id = null;
    }
  }
  if (id !== null) await done(first(), 'deleteRestore', { id });
});

test('a backup can be deleted while a restore of it is requested, cancelled and deleted: somebody is told to wait, nobody fails', async () => {
  for (let round = 0; round < 15; round += 1) {
    const backupId = await finishedBackup(first(), `contested-${round}`);
    const { restore } = await done(first(), 'createRestore', { backupId, groups: ['USERS_CONFIG'] });
    const [a, b] = gateways as [GatewayProcess, GatewayProcess];
    await site.hold('--extract');
    const { job } = await done(a, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
    await done(a, 'cancelJob', { id: job.id });
    await reached(a, 'job', job.id, 'CANCELLED');
    await site.release();
    const deletion = send(a, 'deleteBackup', { id: backupId });
    const requests: any[] = [];
    // The end of the deletion meets them somewhere.
    const requesting = (async () => {
      while ((await statusOf('backup', backupId)) !== null && requests.length < 200) {
        requests.push(await send(b, 'updateRestore', { id: restore.id, status: 'REQUESTING' }), await send(a, 'cancelJob', { id: job.id }));
      }
      requests.push(await send(b, 'deleteRestore', { id: restore.id }));
    })();
    const deleted = await deletion;
    await requesting;
    expect([[], [2010]]).toContainEqual(codesOf(deleted));
    for (const request of requests) expect([[], [1001], [1012], [1017], [2009], [2011]], JSON.stringify(codesOf(request))).toContainEqual(codesOf(request));
    if (codesOf(deleted).length === 0) await gone(first(), 'backup', backupId);
  }
});
