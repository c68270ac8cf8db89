/**
 * restorePlan: the query, its rules, and what becomes of a plan that nobody waits for.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ended, look, storesReady } from './support/checks.ts';
import { startGateway, until, type TestGateway } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { done, finishedBackup, gone, reached, RuleWitness, send } from './support/mutations.ts';

const PASSCODE = 'correct horse';
const witness = new RuleWitness();
let site: GatedSite;
let gateway: TestGateway;
let id: string;
let encrypted: string;
const at = (...names: string[]): string => join(site.directory, 'site', ...names);
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway(site.options);
  id = await finishedBackup(gateway, 'plain');
  encrypted = await finishedBackup(gateway, 'encrypted', { storeName: 'vault', passcode: PASSCODE });
});
afterEach(() => site.release());
afterAll(async () => {
  await gateway?.stop();
  await site?.remove();
});

const QUERY = `query ($id: ID!) { restorePlan(backupId: $id, groups: [USERS_CONFIG]) { ... on RestorePlan { groups { group } } ... on RuleViolations { violations { rule } } } }`;
/** The newest job that plans. */
const lastPlan = async (): Promise<{ id: string; status: string; error: string | null } | undefined> =>
  (await gateway.query('{ jobs(filter: { operation: PLAN }, first: 1) { nodes { id status error } } }')).data.jobs.nodes[0];
/** Asks for a plan that is held in the middle; comes back once it runs. */
async function heldPlan(ask: () => Promise<unknown>): Promise<{ answer: Promise<any>; jobId: string }> {
  const before = (await lastPlan())?.id;
  await site.hold('--compare');
  const answer = ask();
  answer.catch(() => undefined);
  const job = await until('the plan runs', async () => {
    const last = await lastPlan();
    return last !== undefined && last.id !== before && last.status === 'EXECUTING' ? last : null;
  });
  return { answer, jobId: job.id };
}

test('a plan says what would be added, changed and removed in each group, in absolute paths, and touches nothing', async () => {
  fs.writeFileSync(at('users', 'file'), 'of USERS');
  fs.writeFileSync(at('users', 'new'), 'since');
  fs.rmSync(at('users', 'large'));
  const result = await done(gateway, 'restorePlan', { backupId: id, groups: ['USERS_CONFIG', 'DEPLOYMENT_CONFIG'] });
  const none = { count: 0, paths: [] };
  expect(result.groups).toEqual([
    {
      group: 'USERS_CONFIG', targets: [at('users')], databases: [], added: { count: 1, paths: [at('users', 'large')] }, changed: { count: 1, paths: [at('users', 'file')] },
      removed: { count: 1, paths: [at('users', 'new')] }, unchanged: 1, bytesToWrite: 1024 * 1024 + 8, bytesToUnpack: 1024 * 1024 + 8,
    },
    { group: 'DEPLOYMENT_CONFIG', targets: [at('deployment')], databases: [], added: none, changed: none, removed: none, unchanged: 2, bytesToWrite: 0, bytesToUnpack: 13 },
  ]);
  expect(fs.readdirSync(at('users')).toSorted()).toEqual(['file', 'new']);
  expect(fs.readFileSync(at('users', 'file'), 'utf8')).toBe('of USERS');
});

test('a plan of an encrypted backup needs its passcode, which is kept nowhere', async () => {
  const input = { backupId: encrypted, groups: ['USERS_CONFIG'] };
  await witness.expectBroken(gateway, 'restorePlan', input, [2002, 'PASSCODE_REQUIRED', 'passcode']);
  await witness.expectBroken(gateway, 'restorePlan', { ...input, passcode: 'wrong horse' }, [2007, 'PASSCODE_WRONG', 'passcode']);
  expect((await done(gateway, 'restorePlan', { ...input, passcode: PASSCODE })).groups[0]).toMatchObject({ added: { count: 1 }, changed: { count: 1 }, removed: { count: 1 } });
  const shown = await gateway.query('query ($id: ID!) { job(id: $id) { backup { id } messages error } }', { id: (await lastPlan())!.id });
  expect(shown.data.job).toEqual({ backup: { id: encrypted }, messages: [], error: null });
});

test("an unknown backup has no plan, and the rules are createRestore's", async () => {
  for (const unknown of [99, '', 'nonsense']) expect(await send(gateway, 'restorePlan', { backupId: unknown, groups: ['USERS_CONFIG'] })).toBeNull();
  const breaks = (input: Record<string, unknown>, ...broken: Parameters<RuleWitness['expectBroken']>[3][]) => witness.expectBroken(gateway, 'restorePlan', { backupId: id, ...input }, ...broken);
  await breaks({ groups: [] }, [1008, 'GROUPS_REQUIRED', 'groups']);
  await breaks({ groups: ['OFFENSES_DATA'] }, [1009, 'DEPLOYMENT_CONFIG_REQUIRED', 'groups']);
  await breaks({ groups: ['LICENSE_CONFIG'] }, [1010, 'GROUP_NOT_FOUND', 'groups']);
  const data = await finishedBackup(gateway, 'data', { type: 'DATA', hostId: 2 });
  await breaks({ backupId: data, groups: ['USERS_CONFIG'] }, [1004, 'BACKUP_NOT_CONFIG', 'backupId']);
  await site.hold('--create');
  const { backup } = await done(gateway, 'createBackup', { name: 'running', configurationId: 1, type: 'CONFIG' });
  await breaks({ backupId: backup.id, groups: ['USERS_CONFIG'] }, [1005, 'BACKUP_NOT_SUCCESSFUL', 'backupId']);
  await site.release();
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
});

test('a plan that fails is an error with the reason', async () => {
  fs.renameSync(at('..', 'backups'), at('..', 'away'));
  const { data, errors } = await gateway.query(QUERY, { id });
  fs.renameSync(at('..', 'away'), at('..', 'backups'));
  expect(data.restorePlan).toBeNull();
  expect(errors).toMatchObject([{ extensions: { code: 'PLAN_FAILED' }, message: expect.stringContaining(at('..', 'backups')) }]);
  await storesReady(gateway);
  await until('the backup is there', async () => (await look(gateway, id)).status === 'SUCCESS');
});

describe('a plan', () => {
  test('whose client goes away is given up, over HTTP', async () => {
    const leaving = new AbortController();
    const { jobId, answer } = await heldPlan(() => fetch(`${gateway.url}/graphql`, {
      method: 'POST', signal: leaving.signal, headers: { authorization: `Bearer ${gateway.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ query: QUERY, variables: { id } }),
    }));
    leaving.abort();
    await expect(answer).rejects.toThrow('aborted');
    await ended(gateway, jobId);
    expect(await lastPlan()).toMatchObject({ id: jobId, status: 'CANCELLED' });
  });

  test.each(['complete', 'close'] as const)('whose client goes away is given up, over a socket: %s', async (how) => {
    const client = gateway.socket();
    let complete: () => void = () => undefined;
    const { jobId } = await heldPlan(async () => { complete = client.subscribe({ query: QUERY, variables: { id } }, { next: () => undefined, error: () => undefined, complete: () => undefined }); });
    if (how === 'complete') complete();
    else client.terminate();
    await ended(gateway, jobId);
    expect(await lastPlan()).toMatchObject({ id: jobId, status: 'CANCELLED' });
  });

  test('that is cancelled, or whose backup is deleted, is an error', async () => {
    const doomed = await finishedBackup(gateway, 'doomed');
    const first = await heldPlan(() => gateway.query(QUERY, { id: doomed }));
    await done(gateway, 'cancelJob', { id: first.jobId });
    expect((await first.answer).errors).toMatchObject([{ extensions: { code: 'PLAN_CANCELLED' } }]);
    const second = await heldPlan(() => gateway.query(QUERY, { id: doomed }));
    await done(gateway, 'deleteBackup', { id: doomed });
    expect((await second.answer).errors).toMatchObject([{ extensions: { code: 'PLAN_CANCELLED' } }]);
    await gone(gateway, 'backup', doomed);
  });

  test('is refused where four are being made already, and made once one of them has ended', async () => {
    await site.hold('--compare');
    const input = { backupId: id, groups: ['USERS_CONFIG'] };
    const four = [1, 2, 3, 4].map(() => done(gateway, 'restorePlan', input));
    await until('four plans are queued', async () => (await gateway.query('{ jobs(filter: { operation: PLAN, status: [SUBMITTED, EXECUTING] }) { totalCount } }')).data.jobs.totalCount === 4);
    await witness.expectBroken(gateway, 'restorePlan', input, [2016, 'TOO_MANY_PLANS']);
    await site.release();
    await Promise.all(four);
    await done(gateway, 'restorePlan', input);
  });

  test('is made while a restore runs', async () => {
    await site.hold('--extract');
    const { restore } = await done(gateway, 'createRestore', { backupId: id, groups: ['DEPLOYMENT_CONFIG'] });
    await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
    await reached(gateway, 'restore', restore.id, 'IN_PROGRESS');
    expect((await done(gateway, 'restorePlan', { backupId: id, groups: ['DEPLOYMENT_CONFIG'] })).groups).toHaveLength(1);
    await site.release();
    await reached(gateway, 'restore', restore.id, 'SUCCESS');
  });
});

test('a backup of another version or product has no plan, and every rule has been seen', async () => {
  await gateway.stop();
  await site.edit((file) => { file.deployment.version = '7.6.0'; });
  gateway = await startGateway({ ...site.options, env: { ...site.options.env, DEPLOY_ON_START: 'true' } });
  await witness.expectBroken(gateway, 'restorePlan', { backupId: id, groups: ['USERS_CONFIG'] }, [1007, 'BACKUP_NOT_COMPATIBLE', 'backupId']);
  await gateway.stop();
  await site.edit((file) => { file.deployment.version = '7.5.0'; file.deployment.product = 'other'; });
  gateway = await startGateway({ ...site.options, env: { ...site.options.env, DEPLOY_ON_START: 'true' } });
  await witness.expectBroken(gateway, 'restorePlan', { backupId: id, groups: ['USERS_CONFIG'] }, [1006, 'BACKUP_NOT_VALID', 'backupId']);
  witness.expectAllSeen('restorePlan');
});
