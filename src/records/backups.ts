/**
 * Backups: the list with its filters and orders, what the rules need to know of others, and each write.
 */
import { and, desc, eq, gte, ilike, inArray, isNotNull, isNull, lt, sql, type SQL } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { backups, hosts, restores } from '../db/schema.ts';
import { RUNNING_BACKUP_STATUSES, type BackupStatus, type BackupType } from '../domain/vocabulary.ts';
import { DEFAULT_DEPLOYMENT, type RecordRef } from './ids.ts';
import { countRows, readPage, type Page, type PageArguments, type SortKey } from './page.ts';
import { isAnyOf, type BackupRow, type Columns } from './rows.ts';

export interface BackupFilter {
  status?: readonly BackupStatus[] | null;
  type?: readonly BackupType[] | null;
  /** null inside: a host that does not exist, which matches nothing. */
  host?: RecordRef | 'none' | null;
  deployment?: RecordRef | 'none' | null;
  scheduleId?: number | 'none' | null;
  nameContains?: string | null;
  initiatedBy?: string | null;
  initiatedFrom?: Date | null;
  initiatedUntil?: Date | null;
}

const plain = (text: string): string => text.replaceAll(/[\\%_]/g, '\\$&');

/** A condition on the host, by its id or its number in the default deployment. */
export function hostCondition(column: typeof backups.hostId, host: RecordRef | 'none'): SQL {
  if (host === 'none') return sql`false`;
  return host.by === 'id' ? eq(column, host.id)
    : sql`${column} = (select h.id from hosts h where h.deployment_id = ${DEFAULT_DEPLOYMENT} and h.number = ${host.number})`;
}

function condition(filter: BackupFilter): SQL | undefined {
  const { host, deployment, scheduleId } = filter;
  return and(
    filter.status == null ? undefined : isAnyOf(backups.status, filter.status, 'text'),
    filter.type == null ? undefined : isAnyOf(backups.type, filter.type, 'text'),
    host == null ? undefined : hostCondition(backups.hostId, host),
    deployment == null ? undefined : deployment === 'none' ? sql`false` : eq(backups.deploymentId, deployment.by === 'id' ? deployment.id : deployment.number),
    scheduleId == null ? undefined : scheduleId === 'none' ? sql`false` : eq(backups.scheduleId, scheduleId),
    filter.nameContains == null ? undefined : ilike(backups.name, `%${plain(filter.nameContains)}%`),
    filter.initiatedBy == null ? undefined : eq(backups.initiatedBy, filter.initiatedBy),
    filter.initiatedFrom == null ? undefined : gte(backups.timeInitiated, filter.initiatedFrom),
    filter.initiatedUntil == null ? undefined : lt(backups.timeInitiated, filter.initiatedUntil),
  );
}

const key = (name: string, expression: SQL, type: SortKey['type']): SortKey => ({ name, expression, type });
/** Text sorts by code point, the same on every server whatever its locale. */
export const textKey = (name: string, column: SQL): SortKey => key(name, sql`${column} collate "C"`, 'text');

/** QRadar's documented sort fields. */
const SORT_KEYS = {
  ID: key('ID', sql`${backups.id}`, 'bigint'),
  HOST_ID: key('HOST_ID', sql`(select h.number from ${hosts} h where h.id = ${backups.hostId})`, 'bigint'),
  NAME: textKey('NAME', sql`${backups.name}`),
  DESCRIPTION: textKey('DESCRIPTION', sql`${backups.description}`),
  TYPE: textKey('TYPE', sql`${backups.type}`),
  VERSION: textKey('VERSION', sql`${backups.version}`),
  TIME_INITIATED: key('TIME_INITIATED', sql`${backups.timeInitiated}`, 'timestamptz'),
  TIME_COMPLETED: key('TIME_COMPLETED', sql`${backups.timeCompleted}`, 'timestamptz'),
  INITIATED_BY: textKey('INITIATED_BY', sql`${backups.initiatedBy}`),
  STATUS: textKey('STATUS', sql`${backups.status}`),
  SIZE_ON_DISK: key('SIZE_ON_DISK', sql`${backups.sizeOnDisk}`, 'bigint'),
  CONTENT_FILE_PATH: textKey('CONTENT_FILE_PATH', sql`${backups.contentFilePath}`),
} satisfies Record<string, SortKey>;
export type BackupOrderField = keyof typeof SORT_KEYS;
export const BACKUP_ORDER_FIELDS = Object.keys(SORT_KEYS) as BackupOrderField[];

/** What a list is sorted by, and whether the greatest comes first. */
export interface Order<Field> { field: Field; direction: 'ASC' | 'DESC' }

/** A page of backups, the newest first unless another order is asked for. */
export function listBackups(db: Db, list: { filter: BackupFilter; order: Order<BackupOrderField> | null; page: PageArguments; columns: Columns }): Promise<Page<BackupRow>> {
  const order = list.order ?? { field: 'ID', direction: 'DESC' } as const;
  return readPage<BackupRow>(db, backups, {
    columns: list.columns, page: list.page, where: condition(list.filter),
    sort: SORT_KEYS[order.field], descending: order.direction === 'DESC',
  });
}

export const countBackups = (db: Db, filter: BackupFilter): Promise<number> => countRows(db, backups, condition(filter));

/** Finds a backup by its name, which is unique in a deployment. Without `deploymentId`: in the default one. */
export async function findBackupIdByName(db: Db, name: string, deploymentId: number | null): Promise<number | undefined> {
  const deployment = deploymentId === null ? DEFAULT_DEPLOYMENT : sql`${deploymentId}`;
  const [row] = await db.select({ id: backups.id }).from(backups)
    .where(and(sql`${backups.deploymentId} = ${deployment}`, eq(backups.name, name))).prepare('backup_by_name').execute();
  return row?.id;
}

/** Reads a backup whole. With `lock`, nobody else can change or remove it until the transaction ends. */
export async function findBackup(db: Db, id: number, lock?: 'lock'): Promise<BackupRow | undefined> {
  const query = db.select().from(backups).where(eq(backups.id, id));
  const [row] = await (lock === undefined ? query.prepare('backup') : query.for('no key update').prepare('backup')).execute();
  return row;
}

/** What a new DATA backup needs of one that it may be based on. */
export type BaseRow = Pick<BackupRow, 'id' | 'wrappedIdentity' | 'sharedKeys'>;

/**
 * The newest DATA backup of a host in a store that is successful and without a known damage.
 *
 * @param place.encryption 'none': only of those in clear; 'any': only of encrypted ones; or of those with this recipient
 */
export async function newestDataBackup(
  db: Db, { hostId, storeId, encryption }: { hostId: number; storeId: number; encryption: 'none' | 'any' | { recipient: string } },
): Promise<BaseRow | undefined> {
  const [row] = await db.select({ id: backups.id, wrappedIdentity: backups.wrappedIdentity, sharedKeys: backups.sharedKeys }).from(backups).where(and(
    eq(backups.hostId, hostId), eq(backups.storeId, storeId), eq(backups.type, 'DATA'), eq(backups.status, 'SUCCESS'), sql`cardinality(${backups.fileProblems}) = 0`,
    encryption === 'none' ? isNull(backups.recipient) : encryption === 'any' ? isNotNull(backups.recipient) : eq(backups.recipient, encryption.recipient),
  )).orderBy(desc(backups.id)).limit(1).execute();
  return row;
}

/** Whether a backup runs on the host, or, where `hostId` is null, on any host of the deployment. */
export async function isBackupRunning(db: Db, deploymentId: number, hostId: number | null): Promise<boolean> {
  const [row] = await db.select({ id: backups.id }).from(backups).where(and(
    eq(backups.deploymentId, deploymentId), inArray(backups.status, [...RUNNING_BACKUP_STATUSES]),
    hostId === null ? undefined : eq(backups.hostId, hostId),
  )).limit(1).prepare('running_backup').execute();
  return row !== undefined;
}

export async function insertBackup(db: Db, values: typeof backups.$inferInsert): Promise<BackupRow> {
  const [row] = await db.insert(backups).values(values).returning();
  return row as BackupRow;
}

/**
 * Moves a backup to a status, with the columns that go with it, if it is in one of `from`. The one place that
 * changes a backup's status; the database writes the transition and refuses an illegal one.
 * @returns false where it is in another status, or gone.
 */
export async function changeBackupStatus(
  db: Db, id: number, from: readonly BackupStatus[], to: BackupStatus, side: Partial<BackupRow> = {},
): Promise<boolean> {
  const ends = to === 'SUCCESS' || to === 'FAILED' ? { timeCompleted: sql`coalesce(${backups.timeCompleted}, now())` } : {};
  const changed = await db.update(backups).set({ ...side, ...ends, status: to })
    .where(and(eq(backups.id, id), inArray(backups.status, [...from]))).returning({ id: backups.id });
  return changed.length > 0;
}

/** Changes what a person may change: description, retention date and pin. */
export async function updateBackupDetails(db: Db, id: number, details: { description?: string | null; retentionDate?: Date | null; isKept?: boolean }): Promise<void> {
  if (Object.keys(details).length > 0) await db.update(backups).set(details).where(eq(backups.id, id));
}

/** Takes away the record of a backup whose files are gone. */
export async function removeBackupRecord(db: Db, id: number): Promise<void> {
  // Restores before jobs, as all transactions lock them; the foreign keys alone would go the other way round.
  await db.update(restores).set({ backupId: null }).where(eq(restores.backupId, id));
  await db.delete(backups).where(and(eq(backups.id, id), eq(backups.status, 'DELETING')));
}

/** The finished backups of a store, whose directories must be there or not; null: all, else those of these directories. */
export function backupsToReconcile(db: Db, storeId: number, directories: readonly string[] | null = null): Promise<Pick<BackupRow, 'id' | 'status' | 'directory'>[]> {
  return db.select({ id: backups.id, status: backups.status, directory: backups.directory }).from(backups)
    .where(and(eq(backups.storeId, storeId), inArray(backups.status, ['SUCCESS', 'MISSING']), directories === null ? undefined : isAnyOf(backups.directory, directories, 'text')))
    .prepare(directories === null ? 'reconcile' : 'reconcile_some').execute();
}

/**
 * Directories of backups that are in a store, or were when it was last looked at, a few and the newest first: of all, or of
 * those in one of these directories. One that is being deleted counts still.
 */
export async function someDirectoriesIn(db: Db, storeId: number, directories: readonly string[] | null = null): Promise<string[]> {
  const rows = await db.select({ directory: backups.directory }).from(backups).where(and(
    eq(backups.storeId, storeId),
    sql`(${backups.status} in ('SUCCESS', 'MISSING') or (${backups.status} = 'DELETING' and ${backups.formerStatus} <> 'FAILED'))`,
    directories === null ? undefined : isAnyOf(backups.directory, directories, 'text'),
  )).orderBy(desc(backups.id)).limit(5).prepare(directories === null ? 'directories_in' : 'known_directories_in').execute();
  return rows.map(({ directory }) => directory);
}

/** The directory of the last good backup of the same kind, of the same host in the same store. */
export async function lastDirectoryLike(db: Db, { type, hostId, storeId }: Pick<BackupRow, 'type' | 'hostId' | 'storeId'>): Promise<string | undefined> {
  const [row] = await db.select({ directory: backups.directory }).from(backups)
    .where(and(eq(backups.storeId, storeId), eq(backups.type, type), hostId === null ? isNull(backups.hostId) : eq(backups.hostId, hostId), eq(backups.status, 'SUCCESS')))
    .orderBy(desc(backups.id)).limit(1);
  return row?.directory;
}
