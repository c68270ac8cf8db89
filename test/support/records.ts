/**
 * Records put straight into a gateway's database, as many and as odd as a test needs them. They take the legal
 * transitions, so the feed has those too.
 */
import { randomUUID } from 'node:crypto';
import type postgres from 'postgres';
import { openStore } from '../../src/engine/index.ts';

/** The legal way from nothing to each status. */
const BACKUP_WAYS: Record<string, string[]> = {
  INITIALIZING: ['INITIALIZING'], IN_PROGRESS: ['INITIALIZING', 'IN_PROGRESS'], FAILED: ['INITIALIZING', 'FAILED'], SUCCESS: ['SUCCESS'],
  CANCELLING: ['INITIALIZING', 'CANCELLING'], DELETING: ['SUCCESS', 'DELETING'], MISSING: ['SUCCESS', 'MISSING'],
};
const RESTORE_WAYS: Record<string, string[]> = {
  PENDING: ['PENDING'], FAILED: ['PENDING', 'REQUESTING', 'FAILED'],
  SUCCESS: ['PENDING', 'REQUESTING', 'INITIALIZING', 'IN_PROGRESS', 'SUCCESS'],
};
const JOB_WAYS: Record<string, string[]> = {
  FAILED: ['SUBMITTED', 'EXECUTING', 'FAILED'], COMPLETED: ['SUBMITTED', 'EXECUTING', 'COMPLETED'],
  CANCELLED: ['SUBMITTED', 'CANCELLING', 'CANCELLED'],
};

/** Columns as the database names them. */
export type Columns = Record<string, string | number | boolean | null | readonly (string | number)[] | undefined>;

async function plant(sql: postgres.Sql, table: string, ways: Record<string, string[]>, rows: Columns[]): Promise<number[]> {
  // One transaction: the worker never sees a job that waits.
  return await sql.begin(async (transaction) => {
    const ids: number[] = [];
    for (const { status, ...row } of rows) {
      const [first, ...rest] = ways[String(status)] ?? [];
      if (first === undefined) throw new TypeError(`There is no way to ${status}.`);
      // As JSON, since the client itself would cut an instant to milliseconds.
      const names = [...Object.keys(row), 'status'].join();
      const [inserted] = await transaction.unsafe(`insert into ${table} (${names}) select ${names} from json_populate_record(null::${table}, $1::text::json) returning id`,
        [JSON.stringify({ ...row, status: first })]);
      const id = Number(inserted?.['id']);
      for (const next of rest) await transaction.unsafe(`update ${table} set status = $1 where id = $2`, [next, id]);
      ids.push(id);
    }
    return ids;
  }) as number[];
}

/** A store whose directory is not there: nobody looks for its backups. */
export async function plantStore(sql: postgres.Sql, name = 'offsite'): Promise<number> {
  const path = `/nowhere/${name}`;
  // As the worker finds it, so that nothing changes when it looks.
  const { status, detail } = await openStore({ type: 'DIRECTORY', path, s3: null }).check();
  const [row] = await sql`insert into stores (name, type, path, is_default, requires_passcode, is_declared, is_prepared, status, status_detail)
    values (${name}, 'DIRECTORY', ${path}, false, false, true, true, ${status}, ${detail}) returning id`;
  return Number(row?.['id']);
}

/** Backups without files; each needs a name, and a store from `plantStore`. */
export const plantBackups = (sql: postgres.Sql, rows: Columns[]): Promise<number[]> => plant(sql, 'backups', BACKUP_WAYS, rows.map((row) => ({
  deployment_id: 1, configuration_id: 1, host_id: null, type: 'CONFIG', status: 'SUCCESS', version: '7.5.0', initiated_by: 'admin',
  directory: `backup-${randomUUID()}`, groups: [], ...row,
})));

/** Restores that have ended; or one that is PENDING, the last. */
export const plantRestores = (sql: postgres.Sql, rows: Columns[]): Promise<number[]> => plant(sql, 'restores', RESTORE_WAYS, rows.map((row) => ({
  deployment_id: 1, host_id: 1, status: 'SUCCESS', groups: ['DEPLOYMENT_CONFIG'], backup_name: 'gone', backup_version: '7.5.0', backup_type: 'CONFIG',
  is_cross_deployment_restore: false, initiated_by: 'admin', ...row,
})));

/** Jobs that have ended. */
export const plantJobs = (sql: postgres.Sql, rows: Columns[]): Promise<number[]> => plant(sql, 'jobs', JOB_WAYS, rows.map((row) => ({
  job_id: `j${randomUUID()}`, deployment_id: 1, operation: 'BACKUP', status: 'COMPLETED', initiated_by: 'admin', ...row,
})));
