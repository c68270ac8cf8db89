/**
 * Restores. A record that deleteRestore took away is hidden here from everybody but the worker.
 */
import { and, eq, inArray, sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { restores } from '../db/schema.ts';
import { RUNNING_RESTORE_STATUSES, UNFINISHED_RESTORE_STATUSES, type RestoreStatus } from '../domain/vocabulary.ts';
import { hostCondition, textKey, type Order } from './backups.ts';
import type { RecordRef } from './ids.ts';
import { countRows, readPage, type Page, type PageArguments, type SortKey } from './page.ts';
import { isAnyOf, type Columns, type RestoreRow } from './rows.ts';

export interface RestoreFilter {
  status?: readonly RestoreStatus[] | null;
  host?: RecordRef | 'none' | null;
  deployment?: RecordRef | 'none' | null;
  backupName?: string | null;
}

const isShown: SQL = sql`not ${restores.isRemoved}`;

function condition(filter: RestoreFilter): SQL | undefined {
  const { host, deployment } = filter;
  return and(
    isShown,
    filter.status == null ? undefined : isAnyOf(restores.status, filter.status, 'text'),
    host == null ? undefined : hostCondition(restores.hostId as never, host),
    deployment == null ? undefined : deployment === 'none' ? sql`false` : eq(restores.deploymentId, deployment.by === 'id' ? deployment.id : deployment.number),
    filter.backupName == null ? undefined : eq(restores.backupName, filter.backupName),
  );
}

/** QRadar's documented sort fields. */
const SORT_KEYS = {
  ID: { name: 'ID', expression: sql`${restores.id}`, type: 'bigint' },
  INITIATED_BY: textKey('INITIATED_BY', sql`${restores.initiatedBy}`),
  TIME_INITIATED: { name: 'TIME_INITIATED', expression: sql`${restores.timeInitiated}`, type: 'timestamptz' },
  TIME_COMPLETED: { name: 'TIME_COMPLETED', expression: sql`${restores.timeCompleted}`, type: 'timestamptz' },
  IS_CROSS_DEPLOYMENT_RESTORE: { name: 'IS_CROSS_DEPLOYMENT_RESTORE', expression: sql`${restores.isCrossDeploymentRestore}`, type: 'boolean' },
  BACKUP_NAME: textKey('BACKUP_NAME', sql`${restores.backupName}`),
  BACKUP_TYPE: textKey('BACKUP_TYPE', sql`${restores.backupType}`),
  BACKUP_VERSION: textKey('BACKUP_VERSION', sql`${restores.backupVersion}`),
  BACKUP_FILENAME: textKey('BACKUP_FILENAME', sql`${restores.backupFilename}`),
} satisfies Record<string, SortKey>;
export type RestoreOrderField = keyof typeof SORT_KEYS;
export const RESTORE_ORDER_FIELDS = Object.keys(SORT_KEYS) as RestoreOrderField[];

/** A page of restores, the newest first unless another order is asked for. */
export function listRestores(db: Db, list: { filter: RestoreFilter; order: Order<RestoreOrderField> | null; page: PageArguments; columns: Columns }): Promise<Page<RestoreRow>> {
  const order = list.order ?? { field: 'ID', direction: 'DESC' } as const;
  return readPage<RestoreRow>(db, restores, {
    columns: list.columns, page: list.page, where: condition(list.filter),
    sort: SORT_KEYS[order.field], descending: order.direction === 'DESC',
  });
}

export const countRestores = (db: Db, filter: RestoreFilter): Promise<number> => countRows(db, restores, condition(filter));

/** Reads a restore whole. With `lock`, nobody else can change or remove it until the transaction ends. */
export async function findRestore(db: Db, id: number, lock?: 'lock'): Promise<RestoreRow | undefined> {
  const query = db.select().from(restores).where(eq(restores.id, id));
  const [row] = await (lock === undefined ? query.prepare('restore') : query.for('no key update').prepare('restore')).execute();
  return row;
}

/** Whether a restore of the deployment is at work, its record shown or not (1016). */
export async function isRestoreRunning(db: Db, deploymentId: number): Promise<boolean> {
  const [row] = await db.select({ id: restores.id }).from(restores)
    .where(and(eq(restores.deploymentId, deploymentId), inArray(restores.status, [...RUNNING_RESTORE_STATUSES])))
    .limit(1).prepare('running_restore').execute();
  return row !== undefined;
}

/** Whether the deployment has an unfinished restore record (1011). */
export async function isRestoreUnfinished(db: Db, deploymentId: number): Promise<boolean> {
  const [row] = await db.select({ id: restores.id }).from(restores)
    .where(and(eq(restores.deploymentId, deploymentId), inArray(restores.status, [...UNFINISHED_RESTORE_STATUSES]), isShown))
    .limit(1).prepare('unfinished_restore').execute();
  return row !== undefined;
}

/** Whether a restore of this backup is at work (2010). */
export async function isBackupBeingRestored(db: Db, backupId: number): Promise<boolean> {
  const [row] = await db.select({ id: restores.id }).from(restores)
    .where(and(eq(restores.backupId, backupId), inArray(restores.status, [...RUNNING_RESTORE_STATUSES])))
    .limit(1).prepare('restore_of_backup').execute();
  return row !== undefined;
}

export async function insertRestore(db: Db, values: typeof restores.$inferInsert): Promise<RestoreRow> {
  const [row] = await db.insert(restores).values(values).returning();
  return row as RestoreRow;
}

/**
 * Moves a restore to a status if it is in one of `from`; the one place that changes a restore's status.
 * @returns false where it is in another status, or gone.
 */
export async function changeRestoreStatus(
  db: Db, id: number, from: readonly RestoreStatus[], to: RestoreStatus, side: Partial<RestoreRow> = {},
): Promise<boolean> {
  const changed = await db.update(restores).set({ ...side, ...sideOf(to), status: to })
    .where(and(eq(restores.id, id), inArray(restores.status, [...from]))).returning({ id: restores.id });
  return changed.length > 0;
}

/** What goes with a status: its time, and on completion the backup is let go. */
function sideOf(to: RestoreStatus): Record<string, SQL | null> {
  if (to === 'REQUESTING') return { timeInitiated: sql`now()` };
  if (to === 'PENDING') return { timeInitiated: null };
  return to === 'SUCCESS' || to === 'FAILED' ? { timeCompleted: sql`now()`, backupId: null } : {};
}

/** deleteRestore: a pending record goes; one at work is hidden, and goes when its restore ends. */
export async function removeRestoreRecord(db: Db, restore: Pick<RestoreRow, 'id' | 'status'>): Promise<void> {
  if (restore.status === 'PENDING') await db.delete(restores).where(eq(restores.id, restore.id));
  else await db.update(restores).set({ isRemoved: true }).where(eq(restores.id, restore.id));
}

/** Takes away a hidden record whose restore has ended. */
export async function dropHiddenRestore(db: Db, id: number): Promise<void> {
  await db.delete(restores).where(and(eq(restores.id, id), restores.isRemoved));
}
