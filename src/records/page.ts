/**
 * Pages of a list by keyset: a cursor is the sort value and the id of a row, so a page does not shift when rows
 * come or go, and the database never counts rows to skip. Ties are broken by the id; a null counts as the
 * greatest value, as Postgres sorts it.
 */
import { and, getTableName, sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { GatewayError } from '../domain/errors.ts';
import { selection, type Columns, type RecordTable } from './rows.ts';

/** The arguments of a Relay connection. */
export interface PageArguments {
  first?: number | null;
  after?: string | null;
  last?: number | null;
  before?: string | null;
}

/** What rows can be sorted by: an SQL expression, and the type in which its text is read back. */
export interface SortKey {
  name: string;
  expression: SQL;
  type: 'bigint' | 'text' | 'timestamptz' | 'boolean';
}

export interface Page<Row> {
  rows: { cursor: string; row: Row }[];
  /** Exact; the direction that the page itself does not show costs one statement, when asked. */
  hasNextPage(): Promise<boolean>;
  hasPreviousPage(): Promise<boolean>;
}

const DEFAULT_PAGE = 50;
const LARGEST_PAGE = 100;

/** The request's page or cursor arguments make no sense; nothing was read. */
export class PageError extends GatewayError {
  override readonly name = 'PageError';
}

/** How many rows are wanted, and from which end. @throws PageError for a number below 0 or over 100. */
export function pageSize(args: Pick<PageArguments, 'first' | 'last'>): { size: number; fromEnd: boolean } {
  for (const name of ['first', 'last'] as const) {
    const number = args[name];
    if (number != null && (number < 0 || number > LARGEST_PAGE)) {
      throw new PageError('BAD_USER_INPUT', `The argument '${name}' is ${number}.`, `Ask for 0 to ${LARGEST_PAGE} at a time, and page on with '${name === 'first' ? 'after' : 'before'}'.`);
    }
  }
  const fromEnd = args.first == null && args.last != null;
  return { size: (fromEnd ? args.last : args.first) ?? DEFAULT_PAGE, fromEnd };
}

type Position = { value: string | null; id: number };

/** What the database would refuse is none of ours: it would fail there as an unexpected error. */
const VALUE_FORMS: Record<SortKey['type'], (value: string) => boolean> = {
  bigint: (value) => /^-?\d{1,18}$/.test(value),
  text: (value) => !value.includes('\0'),
  timestamptz: isInstant,
  boolean: (value) => value === 'true' || value === 'false',
};

/** An instant as Postgres writes it in UTC, with microseconds where there are any. */
function isInstant(value: string): boolean {
  const [, date, time] = /^((?!0000)\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.\d{1,6})?\+00$/.exec(value) ?? [];
  return date !== undefined && new Date(`${date}T${time}Z`).toJSON()?.startsWith(`${date}T${time}`);
}

/** What a cursor is valid for: a table, what it is sorted by, and which end comes first. */
type Order = { name: string; valueType: SortKey['type'] };

const orderOf = (table: RecordTable, sort: SortKey, descending: boolean): Order =>
  ({ name: `${getTableName(table)} ${sort.name} ${descending ? 'DESC' : 'ASC'}`, valueType: sort.type });

const writeCursor = (order: Order, { value, id }: Position): string =>
  Buffer.from(JSON.stringify([order.name, value, id])).toString('base64url');

function readCursor(order: Order, argument: string, cursor: string): Position {
  let parsed: unknown;
  try { parsed = JSON.parse(Buffer.from(cursor, 'base64url').toString()); } catch { parsed = null; }
  if (Array.isArray(parsed) && parsed.length === 3) {
    const [orderName, value, id] = parsed as unknown[];
    const isValue = value === null || (typeof value === 'string' && VALUE_FORMS[order.valueType](value));
    if (orderName === order.name && isValue && Number.isSafeInteger(id)) return { value: value as string | null, id: id as number };
    if (typeof orderName === 'string' && orderName !== order.name) {
      throw new PageError('CURSOR_INVALID', `The cursor in '${argument}' belongs to another list, or another order.`, 'Start again without it when the order changes.');
    }
  }
  throw new PageError('CURSOR_INVALID', `The cursor in '${argument}' is not one of this list.`, 'Use a cursor exactly as it was answered.');
}

/** The rows beyond a position, in the given direction of the sort key and id. */
function beyond(key: SortKey, id: SQL, { value, id: at }: Position, ascending: boolean): SQL {
  const past = sql.raw(ascending ? '>' : '<');
  if (value === null) {
    const rest = sql`(${key.expression} is null and ${id} ${past} ${at})`;
    return ascending ? rest : sql`(${rest} or ${key.expression} is not null)`;
  }
  const bound = sql`${value}::text::${sql.raw(key.type)}`;
  const rest = sql`((${key.expression}, ${id}) ${past} (${bound}, ${at}::bigint))`;
  return ascending ? sql`(${rest} or ${key.expression} is null)` : rest;
}

/** Reads one page of a table. */
export async function readPage<Row extends { id: number }>(db: Db, table: RecordTable, list: {
  columns: Columns;
  where: SQL | undefined;
  sort: SortKey;
  descending: boolean;
  page: PageArguments;
}): Promise<Page<Row>> {
  const { sort, page, where } = list;
  const { size, fromEnd } = pageSize(page);
  const id = sql`${table.id}`;
  const order = orderOf(table, sort, list.descending);
  const after = page.after == null ? undefined : beyond(sort, id, readCursor(order, 'after', page.after), !list.descending);
  const before = page.before == null ? undefined : beyond(sort, id, readCursor(order, 'before', page.before), list.descending);

  const direction = sql.raw(list.descending === fromEnd ? 'asc' : 'desc');
  const picked = { ...selection(table, list.columns), sortValue: sql<string | null>`(${sort.expression})::text` };
  const found = await db.select(picked).from(table)
    .where(and(where, after, before))
    .orderBy(sql`${sort.expression} ${direction}`, sql`${id} ${direction}`)
    // One more than wanted tells whether there are more.
    .limit(size + 1)
    .prepare('page').execute() as (Row & { sortValue: string | null })[];

  const more = found.length > size;
  let kept = found.slice(0, size);
  if (fromEnd) kept.reverse();
  let cutAtStart = false;
  if (!fromEnd && page.last != null && kept.length > page.last) {
    kept = page.last === 0 ? [] : kept.slice(-page.last);
    cutAtStart = true;
  }

  const exists = async (condition: SQL | undefined) => {
    if (condition === undefined) return false;
    const [row] = await db.select({ one: sql`1` }).from(table).where(and(where, sql`(${condition}) is not true`)).limit(1).prepare('exists').execute();
    return row !== undefined;
  };
  return {
    rows: kept.map((row) => ({ cursor: writeCursor(order, { value: row.sortValue, id: row.id }), row })),
    hasNextPage: async () => (fromEnd ? exists(before) : more || exists(before)),
    hasPreviousPage: async () => (fromEnd ? more || exists(after) : cutAtStart || exists(after)),
  };
}

/** How many rows a list has, all pages together. */
export async function countRows(db: Db, table: RecordTable, where: SQL | undefined): Promise<number> {
  const [row] = await db.select({ count: sql<number>`count(*)::int` }).from(table).where(where).prepare('count').execute();
  return row?.count ?? 0;
}
