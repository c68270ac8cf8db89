/**
 * What records are as rows. A row that was read for a request holds only the columns asked for: whoever reads a
 * property says so beforehand (`reads` in the GraphQL types).
 */
import { and, sql, type InferSelectModel, type SQL } from 'drizzle-orm';
import { makePgArray, type PgColumn, type PgTable } from 'drizzle-orm/pg-core';
import type { Db } from '../db/client.ts';
export type { Db, Pool } from '../db/client.ts';
import {
  backupConfigurations, backups, deployments, hosts, jobs, restores, schedules, stores, type transitions,
} from '../db/schema.ts';

export type DeploymentRow = InferSelectModel<typeof deployments>;
export type HostRow = InferSelectModel<typeof hosts>;
export type ConfigurationRow = InferSelectModel<typeof backupConfigurations>;
export type StoreRow = InferSelectModel<typeof stores>;
export type BackupRow = InferSelectModel<typeof backups>;
export type RestoreRow = InferSelectModel<typeof restores>;
export type JobRow = InferSelectModel<typeof jobs>;
export type ScheduleRow = InferSelectModel<typeof schedules>;
export type TransitionRow = InferSelectModel<typeof transitions>;

/** A table whose rows are named by a number of ours. */
export type RecordTable = PgTable & { id: PgColumn };

const TABLES = {
  Deployment: deployments, Host: hosts, BackupConfiguration: backupConfigurations, BackupStore: stores,
  Backup: backups, Restore: restores, Job: jobs, Schedule: schedules,
} satisfies Record<string, RecordTable>;

/** The nouns that are records with an id of their own. */
export type Noun = keyof typeof TABLES;
/** A noun's row. */
export type RowOf<N extends Noun> = InferSelectModel<(typeof TABLES)[N]>;

/** Whether the noun's rows have a column of that name. */
export const isColumn = (noun: Noun, name: string): boolean => name in TABLES[noun];

/** Rows that are there for the worker alone. */
const HIDDEN: Partial<Record<Noun, SQL>> = { Restore: sql`${restores.isRemoved}` };

/** A set of columns to read, by their names in the schema. */
export type Columns = ReadonlySet<string>;

/** The columns of a table to select; its id is always among them. */
export function selection(table: RecordTable, columns: Columns): Record<string, PgColumn> {
  const picked: Record<string, PgColumn> = { id: table.id };
  for (const name of columns) {
    const column = (table as unknown as Record<string, PgColumn | undefined>)[name];
    if (column === undefined) throw new TypeError(`There is no column ${name}.`);
    picked[name] = column;
  }
  return picked;
}

/** A whole array as one parameter, in Postgres's own text form. */
export const arrayOf = (values: readonly (string | number)[]): string => makePgArray([...values]);

/** `column = any(array)`, with one parameter however many values there are, so that one prepared text serves all. */
export function isAnyOf(column: PgColumn, values: readonly (string | number)[], type: 'bigint' | 'text'): SQL {
  return sql`${column} = any(${arrayOf(values)}::${sql.raw(type)}[])`;
}

type Lookup = { execute(values: { ids: string }): Promise<unknown> };
/** Prepared look-ups, by the pool they belong to, then by noun and columns. */
const lookups = new WeakMap<object, Map<string, Lookup>>();

function lookupOf(db: Db, noun: Noun, columns: Columns): Lookup {
  const ofPool = lookups.get(db) ?? new Map<string, Lookup>();
  lookups.set(db, ofPool);
  const name = [noun, ...[...columns].toSorted()].join();
  let lookup = ofPool.get(name);
  if (lookup === undefined) {
    const table: RecordTable = TABLES[noun];
    const hidden = HIDDEN[noun];
    ofPool.set(name, lookup = db.select(selection(table, columns)).from(table).where(and(
      sql`${table.id} = any(${sql.placeholder('ids')}::bigint[])`, hidden === undefined ? undefined : sql`not ${hidden}`,
    )).prepare('rows_by_id'));
  }
  return lookup;
}

/**
 * Reads records by their ids, in one prepared statement for each noun and set of columns, in the order of the
 * ids; undefined where there is none.
 */
export async function rowsById<N extends Noun>(db: Db, noun: N, ids: readonly number[], columns: Columns): Promise<(RowOf<N> | undefined)[]> {
  const rows = await lookupOf(db, noun, columns).execute({ ids: arrayOf(ids) }) as RowOf<N>[];
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.map((id) => byId.get(id));
}
