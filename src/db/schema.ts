/**
 * The tables. Status columns are guarded by the database itself: `drizzle/0001_status_feed.sql` refuses illegal
 * transitions and writes every legal one into `transitions`, in the transaction that makes it.
 */
import { isNotNull, sql } from 'drizzle-orm';
import {
  bigint, boolean, check, index, integer, jsonb, pgTable, primaryKey, text, timestamp, unique, uniqueIndex, uuid,
} from 'drizzle-orm/pg-core';
import type { DeploymentSpec, S3Spec } from '../domain/deployment.ts';
import type {
  BackupStatus, BackupType, ContentGroup, DeploymentKind, HaRole, HostComponent, HostStatus, JobOperation, JobStatus,
  RestoreStatus, ScheduleOperation, ScheduleOutcome, StoreStatus, StoreType, ValidityProblem,
} from '../domain/vocabulary.ts';
import type { RecordKind } from '../domain/lifecycle.ts';

const id = () => bigint({ mode: 'number' }).primaryKey().generatedAlwaysAsIdentity();
const reference = () => bigint({ mode: 'number' });
const instant = () => timestamp({ withTimezone: true, mode: 'date' });

export const deployments = pgTable('deployments', {
  id: id(),
  name: text().notNull(),
  kind: text().$type<DeploymentKind>().notNull(),
  product: text().notNull(),
  appliance: text().notNull(),
  version: text().notNull(),
  buildVersion: text(),
  isDefault: boolean().notNull().default(false),
  isRebalancing: boolean().notNull().default(false),
  hasUndeployedChanges: boolean().notNull().default(false),
  /** The deployment file as it was last read; what changes in it supersedes what was staged. */
  file: jsonb().$type<DeploymentSpec>().notNull(),
  /** What the next deploy puts into force. */
  staged: jsonb().$type<DeploymentSpec>().notNull(),
  /** What is in force: what the worker reads, and what the columns and tables around it show. */
  deployed: jsonb().$type<DeploymentSpec>().notNull(),
}, (table) => [
  uniqueIndex('one_default_deployment').on(table.isDefault).where(sql`${table.isDefault}`),
]);

export const hosts = pgTable('hosts', {
  id: id(),
  deploymentId: reference().notNull().references(() => deployments.id),
  /** QRadar `host_id`. */
  number: bigint({ mode: 'number' }).notNull(),
  hostname: text().notNull(),
  address: text(),
  isConsole: boolean().notNull(),
  status: text().$type<HostStatus>().notNull(),
  components: text().array().$type<HostComponent[]>().notNull(),
  version: text().notNull(),
  haRole: text().$type<HaRole>().notNull(),
}, (table) => [unique('host_number').on(table.deploymentId, table.number)]);

export const backupConfigurations = pgTable('backup_configurations', {
  id: id(),
  deploymentId: reference().notNull().references(() => deployments.id),
  /** QRadar `configuration_id`: 1 for the deployed one, 2 for the staged one while it differs. */
  number: bigint({ mode: 'number' }).notNull(),
  retentionPeriodDays: integer().notNull(),
  dataBackupHosts: bigint({ mode: 'number' }).array().notNull(),
  isDeployed: boolean().notNull(),
}, (table) => [unique('configuration_number').on(table.deploymentId, table.number)]);

export const stores = pgTable('stores', {
  id: id(),
  name: text().notNull().unique('store_name'),
  type: text().$type<StoreType>().notNull(),
  path: text().notNull(),
  isDefault: boolean().notNull(),
  requiresPasscode: boolean().notNull(),
  /** False once it has left the deployment: takes no new backup, its backups stay restorable. */
  isDeclared: boolean().notNull(),
  /** Its directory has been made once. One that is gone later may be a disk that is not mounted: it is not made again. */
  isPrepared: boolean().notNull().default(false),
  status: text().$type<StoreStatus>().notNull(),
  /** Why it is not READY, in words. */
  statusDetail: text(),
  /** Of an S3 store alone. */
  s3: jsonb().$type<S3Spec>(),
  /** Bytes of the volume, and what of them is free; null where the store cannot tell. */
  totalBytes: bigint({ mode: 'number' }),
  freeBytes: bigint({ mode: 'number' }),
  /** Every backup in it has been looked for once since it was declared. */
  isScanned: boolean().notNull().default(false),
});

/** What starts by the clock. */
export const schedules = pgTable('schedules', {
  id: id(),
  deploymentId: reference().notNull().references(() => deployments.id),
  name: text().notNull(),
  operation: text().$type<ScheduleOperation>().notNull(),
  /** Cron expression of five fields, read in `timeZone`. */
  cron: text().notNull(),
  /** IANA name, such as Europe/Berlin. */
  timeZone: text().notNull(),
  isPaused: boolean().notNull().default(false),
  /** BACKUP: what is backed up; null for VERIFY. */
  type: text().$type<BackupType>(),
  hostId: reference().references(() => hosts.id),
  /** BACKUP: where to; VERIFY: whose backups, null: of all stores. */
  storeId: reference().references(() => stores.id),
  /** BACKUP: how each backup is named. */
  namePattern: text(),
  description: text(),
  /** Keeps each backup for so many days; null: the configuration's retention period. */
  keepDays: integer(),
  /** Keeps the newest so many, however old they are. */
  keepLast: integer(),
  /** Key pair of an encrypted schedule: the passcode itself is kept nowhere. */
  recipient: text(),
  wrappedIdentity: text(),
  nextRun: instant(),
  lastRun: instant(),
  lastOutcome: text().$type<ScheduleOutcome>(),
  /** Why the last run was not started. */
  lastReason: text(),
  createdBy: text().notNull(),
  timeCreated: instant().notNull().defaultNow(),
}, (table) => [
  unique('schedule_name').on(table.deploymentId, table.name),
  index('schedule_due').on(table.nextRun).where(sql`not ${table.isPaused}`),
]);

/** How a restore drill ended. */
export interface DrillReport {
  /** ISO 8601. */
  time: string;
  isSuccessful: boolean;
  files: number;
  bytes: number;
  seconds: number;
  /** Why it failed. */
  reason: string | null;
}

/** Whose a backup is that another console made. */
export interface BackupOrigin {
  deployment: string;
  hostId: number;
  hostname: string;
  consoleAddress: string | null;
  /** The backup's name there. */
  name?: string;
}

export const backups = pgTable('backups', {
  id: id(),
  deploymentId: reference().notNull().references(() => deployments.id),
  configurationId: reference().references(() => backupConfigurations.id, { onDelete: 'set null' }),
  hostId: reference().references(() => hosts.id),
  storeId: reference().notNull().references(() => stores.id),
  name: text().notNull(),
  description: text(),
  type: text().$type<BackupType>().notNull(),
  status: text().$type<BackupStatus>().notNull(),
  /** What a failed deletion goes back to. */
  formerStatus: text().$type<BackupStatus>(),
  version: text().notNull(),
  buildVersion: text(),
  product: text(),
  appliance: text(),
  haRole: text().$type<HaRole>(),
  managedHostAddresses: text().array().notNull().default([]),
  timeInitiated: instant().notNull().defaultNow(),
  timeCompleted: instant(),
  initiatedBy: text().notNull(),
  sizeOnDisk: bigint({ mode: 'number' }),
  /** Base name of its directory in the store. */
  directory: text().notNull(),
  contentFilePath: text(),
  groups: text().array().$type<ContentGroup[]>().notNull(),
  /** age recipient of an encrypted backup's archives. */
  recipient: text(),
  /** identity.age: the identity that opens them, wrapped by the passcode. Base64. */
  wrappedIdentity: text(),
  fileProblems: text().array().$type<ValidityProblem[]>().notNull().default([]),
  /** Which files have those problems, and what is wrong with each. */
  problemDetails: text().array().notNull().default([]),
  /** Files that could not be read and that its sources let be left out. */
  unreadableFiles: text().array().notNull().default([]),
  /** Bytes that it added to the store; less than `sizeOnDisk` where it shares files with an earlier backup. */
  sizeAdded: bigint({ mode: 'number' }),
  /** The backup whose unchanged files it may share. */
  baseBackupId: reference(),
  /** Identities that open the shared files, encrypted to this backup's own recipient. Base64. */
  sharedKeys: text(),
  retentionDate: instant(),
  /** Pinned: retention never removes it. */
  isKept: boolean().notNull().default(false),
  scheduleId: reference().references(() => schedules.id, { onDelete: 'set null' }),
  /** When its files were last read back, by the backup itself or by a verification. */
  timeVerified: instant(),
  lastDrill: jsonb().$type<DrillReport>(),
  /** Found in a store and made by another console: what its manifest says of that one. */
  origin: jsonb().$type<BackupOrigin>(),
}, (table) => [
  uniqueIndex('backup_name').on(table.deploymentId, table.name),
  // One running backup for each host (1015), whatever the number of gateways.
  uniqueIndex('one_running_backup').on(table.hostId)
    .where(sql`${table.status} in ('INITIALIZING', 'IN_PROGRESS', 'CANCELLING')`),
  uniqueIndex('backup_directory').on(table.storeId, table.directory),
  index('backup_by_time').on(table.timeInitiated, table.id),
  index('backup_by_status').on(table.status, table.id),
  index('backup_by_host').on(table.hostId, table.id),
  index('backup_by_schedule').on(table.scheduleId),
]);

export const restores = pgTable('restores', {
  id: id(),
  deploymentId: reference().notNull().references(() => deployments.id),
  hostId: reference().references(() => hosts.id),
  backupId: reference().references(() => backups.id, { onDelete: 'set null' }),
  status: text().$type<RestoreStatus>().notNull(),
  groups: text().array().$type<ContentGroup[]>().notNull(),
  backupName: text().notNull(),
  backupVersion: text().notNull(),
  backupType: text().$type<BackupType>().notNull(),
  backupFilename: text(),
  isCrossDeploymentRestore: boolean().notNull(),
  restoreSiteHostId: reference().references(() => hosts.id),
  restoreSiteEventCollectorId: reference().references(() => hosts.id),
  initiatedBy: text().notNull(),
  timeInitiated: instant(),
  timeCompleted: instant(),
  /** deleteRestore took the record away while its restore ran: hidden from everybody, gone when it ends. */
  isRemoved: boolean().notNull().default(false),
}, (table) => [
  // One unfinished record (1011) and one running restore (1016) for each deployment.
  uniqueIndex('one_unfinished_restore').on(table.deploymentId)
    .where(sql`${table.status} in ('PENDING', 'REQUESTING', 'INITIALIZING', 'IN_PROGRESS') and not ${table.isRemoved}`),
  uniqueIndex('one_running_restore').on(table.deploymentId)
    .where(sql`${table.status} in ('REQUESTING', 'INITIALIZING', 'IN_PROGRESS')`),
  index('restore_by_backup').on(table.backupId),
]);

export const jobs = pgTable('jobs', {
  id: id(),
  /** "j" and a UUID, as ArcGIS names its jobs. */
  jobId: text().notNull().unique('job_id'),
  deploymentId: reference().notNull().references(() => deployments.id),
  /** Whose worker runs it; null: any. */
  hostId: reference().references(() => hosts.id),
  operation: text().$type<JobOperation>().notNull(),
  status: text().$type<JobStatus>().notNull(),
  backupId: reference().references(() => backups.id, { onDelete: 'set null' }),
  restoreId: reference().references(() => restores.id, { onDelete: 'set null' }),
  initiatedBy: text().notNull(),
  bytesDone: bigint({ mode: 'number' }),
  bytesTotal: bigint({ mode: 'number' }),
  filesDone: bigint({ mode: 'number' }),
  filesTotal: bigint({ mode: 'number' }),
  messages: text().array().notNull().default([]),
  error: text(),
  /** The backup's identity, sealed with SECRET_KEY; erased when the job ends. */
  sealedIdentity: text(),
  /** SCAN: which store. */
  storeId: reference().references(() => stores.id),
  scheduleId: reference().references(() => schedules.id, { onDelete: 'set null' }),
  /** PLAN and DRILL: which groups. */
  groups: text().array().$type<ContentGroup[]>(),
  /** Files that could not be read and that their sources let be left out. */
  unreadableFiles: text().array().notNull().default([]),
  /** What the job found out, in the form of its operation. */
  result: jsonb().$type<unknown>(),
  /** A restore that has begun to swap can no longer be cancelled (2009). */
  isSwapping: boolean().notNull().default(false),
  attempt: integer().notNull().default(0),
  /** Rises with each claim: a worker whose epoch is not the row's has lost the job, and its writes are refused. */
  epoch: integer().notNull().default(0),
  leaseUntil: instant(),
  timeSubmitted: instant().notNull().defaultNow(),
  timeStarted: instant(),
  timeUpdated: instant().notNull().defaultNow(),
  timeEnded: instant(),
}, (table) => [
  index('job_to_claim').on(table.id).where(sql`${table.status} in ('SUBMITTED', 'EXECUTING', 'CANCELLING')`),
  index('job_by_backup').on(table.backupId, table.id),
  index('job_by_restore').on(table.restoreId, table.id),
]);

/** The feed: every status change, in commit order. Written by a trigger alone. */
export const transitions = pgTable('transitions', {
  position: bigint({ mode: 'number' }).primaryKey(),
  kind: text().$type<RecordKind>().notNull(),
  recordId: bigint({ mode: 'number' }).notNull(),
  /** The backup's name, or the job's jobId. */
  label: text(),
  fromStatus: text(),
  toStatus: text(),
  at: instant().notNull(),
}, (table) => [
  index('transition_of_kind').on(table.kind, table.position),
  index('transition_of_record').on(table.kind, table.recordId, table.position),
]);

/** One row: which feed the cursors belong to, and up to where it has been pruned. */
export const feed = pgTable('feed', {
  singleton: boolean().primaryKey().default(true),
  id: uuid().notNull().defaultRandom(),
  /** The last position that is no longer kept. */
  floor: bigint({ mode: 'number' }).notNull().default(0),
}, (table) => [check('feed_has_one_row', sql`${table.singleton}`)]);

/** The legal transitions, as in `domain/lifecycle.ts`. '' stands for "no record". */
export const lifecycles = pgTable('lifecycles', {
  kind: text().$type<RecordKind>().notNull(),
  fromStatus: text().notNull(),
  toStatus: text().notNull(),
}, (table) => [primaryKey({ columns: [table.kind, table.fromStatus, table.toStatus] })]);

/** What an idempotency key stands for; it goes with its record, and after 24 hours. */
export const idempotencyKeys = pgTable('idempotency_keys', {
  token: text().notNull(),
  mutation: text().notNull(),
  key: text().notNull(),
  /** HMAC of the input: a passcode may be among it. */
  inputMac: text().notNull(),
  backupId: reference().references(() => backups.id, { onDelete: 'cascade' }),
  restoreId: reference().references(() => restores.id, { onDelete: 'cascade' }),
  jobId: reference().references(() => jobs.id, { onDelete: 'cascade' }),
  timeCreated: instant().notNull().defaultNow(),
}, (table) => [
  primaryKey({ columns: [table.token, table.mutation, table.key] }),
  index('idempotency_key_by_time').on(table.timeCreated),
  index('idempotency_key_of_backup').on(table.backupId).where(isNotNull(table.backupId)),
]);

/** The workers that run, or ran not long ago: a sign of life of each. */
export const workers = pgTable('workers', {
  /** Made anew at each start. */
  id: uuid().primaryKey(),
  /** The machine it runs on. */
  machine: text().notNull(),
  /** Whose jobs it runs, by `hosts.id`; null: any host's. */
  hostIds: bigint({ mode: 'number' }).array(),
  timeStarted: instant().notNull().defaultNow(),
  timeSeen: instant().notNull().defaultNow(),
});
