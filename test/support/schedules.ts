/**
 * Schedules whose time has come, without waiting for it.
 */
import type postgres from 'postgres';
import { until, type TestGateway } from './gateway.ts';
import { done, type Input } from './mutations.ts';

/** 29 February alone: a run that a test does not ask for does not come. */
export const RARELY = '0 0 29 2 *';

/** The number in a global id. */
export const numberOf = (id: string): number => Number(Buffer.from(id, 'base64url').toString().split(':')[1]);

/** Makes a schedule of CONFIG backups that runs when the test says so; answers its global id. */
export async function makeSchedule(gateway: TestGateway, input: Input): Promise<string> {
  const { schedule } = await done(gateway, 'createSchedule', { operation: 'BACKUP', cron: RARELY, ...(input['operation'] === 'VERIFY' ? {} : { type: 'CONFIG' }), ...input });
  return schedule.id;
}

export async function showSchedule(gateway: TestGateway, id: string): Promise<any> {
  const { data, errors } = await gateway.query(`query ($id: ID!) { schedule(id: $id) { name isPaused nextRun lastRun lastOutcome lastReason } }`, { id });
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data.schedule;
}

/** The time of a schedule has come, a minute ago where nothing else is said; every clock is told. */
export async function makeDue(sql: postgres.Sql, ids: string[], ago = '1 minute'): Promise<void> {
  await sql.begin(async (tx) => {
    for (const id of ids) await tx`update schedules set next_run = now() - ${ago}::interval where id = ${numberOf(id)}`;
    await tx`select pg_notify('backup_gateway_schedules', '')`;
  });
}

/** Lets a schedule run, and answers what became of that. */
export async function runSchedule(gateway: TestGateway, sql: postgres.Sql, id: string, ago?: string): Promise<any> {
  const before = (await showSchedule(gateway, id)).lastRun;
  await makeDue(sql, [id], ago);
  return until(`the schedule ${id} is run`, async () => {
    const schedule = await showSchedule(gateway, id);
    return schedule.lastRun !== before && schedule;
  }, 15_000);
}

/** The backups of a schedule, the oldest first. */
export async function backupsOf(gateway: TestGateway, id: string): Promise<any[]> {
  const { data, errors } = await gateway.query(`query ($id: ID!) { backups(filter: { scheduleId: $id }, orderBy: { field: ID, direction: ASC }, first: 100) { nodes {
    id name status type description initiatedBy isEncrypted schedule { id name } host { databaseId } job { schedule { id } initiatedBy error } } } }`, { id });
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data.backups.nodes;
}

/** Waits until all backups of a schedule have ended well, and answers them. */
export async function finishedBackupsOf(gateway: TestGateway, id: string): Promise<any[]> {
  return await until(`the backups of schedule ${id} have ended`, async () => {
    const backups = await backupsOf(gateway, id);
    const failed = backups.find(({ status }) => status === 'FAILED');
    if (failed !== undefined) throw new Error(`${failed.name} failed: ${failed.job.error}`);
    return backups.every(({ status }) => status === 'SUCCESS') && backups;
  }, 15_000) as any[];
}
