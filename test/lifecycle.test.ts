import { join } from 'node:path';
import type postgres from 'postgres';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { postgresClient } from '../src/db/client.ts';
import { LIFECYCLES, type RecordKind } from '../src/domain/lifecycle.ts';
import { BACKUP_STATUSES, JOB_STATUSES, RESTORE_STATUSES } from '../src/domain/vocabulary.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { done, finishedBackup, reached } from './support/mutations.ts';

let gateway: TestGateway;
let sql: postgres.Sql;
beforeAll(async () => {
  gateway = await startGateway();
  sql = postgresClient({ host: join(gateway.dataDir, 'postgres-run'), port: 5432, database: 'backup_gateway', username: 'backup_gateway' }, { max: 1 });
});
afterAll(async () => {
  await sql?.end();
  await gateway?.stop();
});

const STATUSES: Record<RecordKind, readonly string[]> = { BACKUP: BACKUP_STATUSES, RESTORE: RESTORE_STATUSES, JOB: JOB_STATUSES };
const TABLES: Record<RecordKind, string> = { BACKUP: 'backups', RESTORE: 'restores', JOB: 'jobs' };
const KINDS = Object.keys(TABLES) as RecordKind[];
const isLegal = (kind: RecordKind, from: string | null, to: string | null): boolean =>
  LIFECYCLES[kind].some((transition) => transition[0] === from && transition[1] === to);

/** What the database says to a statement, which is undone: null, or the constraint that refuses it. */
async function refusal(statements: string[]): Promise<string | null> {
  let refused: string | null = null;
  await sql.begin(async (tx) => {
    for (const statement of statements) await tx.unsafe(statement);
    throw new Error('undo');
  }).catch((error: Error & { constraint_name?: string }) => { refused = error.message === 'undo' ? null : error.constraint_name ?? error.message; });
  return refused;
}

test('the database holds the same transitions as the program', async () => {
  const rows = await sql<{ kind: string; from: string; to: string }[]>`select kind, from_status as "from", to_status as "to" from lifecycles`;
  const told = ({ kind, from, to }: { kind: string; from: string | null; to: string | null }) => `${kind}: ${from ?? ''} → ${to ?? ''}`;
  const ours = KINDS.flatMap((kind) => LIFECYCLES[kind].map(([from, to]) => told({ kind, from, to })));
  expect(rows.map(told).toSorted()).toEqual(ours.toSorted());
});

describe('another program that writes into the database', () => {
  /** One record of each kind, to be moved about in transactions that are undone. */
  const ids = {} as Record<RecordKind, string>;
  /** The legal way to each status, from the record's creation. */
  const wayTo = (kind: RecordKind, status: string, way: string[] = []): string[] | null => {
    for (const [from, to] of LIFECYCLES[kind]) {
      if (to !== status || way.includes(status)) continue;
      if (from === null) return [status];
      const before = wayTo(kind, from, [...way, status]);
      if (before !== null) return [...before, status];
    }
    return null;
  };
  beforeAll(async () => {
    const backupId = await finishedBackup(gateway, 'moved');
    const { restore } = await done(gateway, 'createRestore', { backupId, groups: ['USERS_CONFIG'] });
    const { job } = await done(gateway, 'updateRestore', { id: restore.id, status: 'REQUESTING' });
    await reached(gateway, 'restore', restore.id, 'SUCCESS');
    await reached(gateway, 'job', job.id, 'COMPLETED');
    for (const kind of KINDS) {
      const [row] = await sql<{ columns: string }[]>`select string_agg(quote_ident(column_name), ',') as columns from information_schema.columns
        where table_name = ${TABLES[kind]} and table_schema = 'public' and column_name not in ('id', 'status', 'name', 'job_id', 'directory')`;
      ids[kind] = row?.columns ?? '';
    }
  });

  /** Creates a copy of the record in a status. */
  const create = (kind: RecordKind, status: string): string => {
    const unique = kind === 'BACKUP' ? ['name', 'directory'] : kind === 'JOB' ? ['job_id'] : [];
    const names = unique.map((column) => `, ${column}`).join('');
    return `insert into ${TABLES[kind]} (status, ${ids[kind]}${names}) select '${status}', ${ids[kind]}${unique.map(() => ", 'copy'").join('')} from ${TABLES[kind]} order by id limit 1`;
  };
  const newest = (kind: RecordKind): string => `id = (select max(id) from ${TABLES[kind]})`;

  test.each(KINDS)('can take no %s where the lifecycle does not lead', async (kind) => {
    const wrong: string[] = [];
    for (const to of STATUSES[kind]) {
      const refused = await refusal([create(kind, to)]);
      if ((refused === null) !== isLegal(kind, null, to)) wrong.push(`→ ${to}: ${refused}`);
    }
    for (const from of STATUSES[kind]) {
      const way = wayTo(kind, from);
      expect(way, `${kind} can be ${from}`).not.toBeNull();
      const [first = '', ...rest] = way ?? [];
      const arrive = [create(kind, first), ...rest.map((status) => `update ${TABLES[kind]} set status = '${status}' where ${newest(kind)}`)];
      expect(await refusal(arrive), `${kind} ${way?.join(' → ')}`).toBeNull();
      for (const to of STATUSES[kind]) {
        if (to === from) continue;
        const refused = await refusal([...arrive, `update ${TABLES[kind]} set status = '${to}' where ${newest(kind)}`]);
        if (refused !== (isLegal(kind, from, to) ? null : 'legal_transition')) wrong.push(`${from} → ${to}: ${refused}`);
      }
      const removed = await refusal([...arrive, `delete from ${TABLES[kind]} where ${newest(kind)}`]);
      if (removed !== (isLegal(kind, from, null) ? null : 'legal_transition')) wrong.push(`${from} → gone: ${removed}`);
    }
    expect(wrong).toEqual([]);
  });

  test('can start no second backup on a host, and record no second unfinished restore', async () => {
    expect(await refusal([create('BACKUP', 'INITIALIZING'), create('BACKUP', 'INITIALIZING').replaceAll("'copy'", "'other'")])).toBe('one_running_backup');
    expect(await refusal([create('RESTORE', 'PENDING'), create('RESTORE', 'PENDING')])).toBe('one_unfinished_restore');
    const hide = `update restores set is_removed = true where ${newest('RESTORE')}`;
    const request = `update restores set status = 'REQUESTING' where ${newest('RESTORE')}`;
    expect(await refusal([create('RESTORE', 'PENDING'), request, hide, create('RESTORE', 'PENDING')])).toBeNull();
    expect(await refusal([create('RESTORE', 'PENDING'), request, hide, create('RESTORE', 'PENDING'), request])).toBe('one_running_restore');
  });
});
