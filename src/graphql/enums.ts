/**
 * The enums, each value with its meaning.
 */
import type { EnumRef } from '@pothos/core';
import {
  BACKUP_PRIORITIES, BACKUP_STATUSES, BACKUP_TYPES, CONTENT_GROUPS, DEPLOYMENT_KINDS, HOST_COMPONENTS, HOST_STATUSES, JOB_OPERATIONS,
  JOB_STATUSES, RESTORE_STATUSES, SCHEDULE_OPERATIONS, SCHEDULE_OUTCOMES, STORE_STATUSES, STORE_TYPES, VALIDITY_PROBLEMS,
} from '../domain/vocabulary.ts';
import { BACKUP_ORDER_FIELDS } from '../records/backups.ts';
import { RESTORE_ORDER_FIELDS } from '../records/restores.ts';
import { RULE_NAMES, RULES, type RuleName } from '../domain/rules.ts';
import { builder, type Types } from './builder.ts';

/** An enum whose every value has a description; leaving one out does not compile. */
function enumOf<Value extends string>(name: string, values: readonly Value[], description: string, meanings: Record<Value, string>): EnumRef<Types, Value> {
  const entries = values.map((value) => [value, { description: meanings[value] }] as const);
  return builder.enumType(name, { description, values: Object.fromEntries(entries) }) as unknown as EnumRef<Types, Value>;
}

export const BackupTypeEnum = enumOf('BackupType', BACKUP_TYPES, 'What a backup holds.', {
  CONFIG: 'Configuration, by content group. Made on the console only, and restorable.',
  DATA: 'The ariel data of a host that stores it. Not restorable through this API, as the vendor documents.',
});

export const BackupPriorityEnum = enumOf('BackupPriority', BACKUP_PRIORITIES, "How much a backup may hold up other work on its host: QRadar's backup priority.", {
  LOW: 'What reads the sources gets processor and disk when nobody else wants them.',
  MEDIUM: 'What reads the sources stands back behind other work.',
  HIGH: 'It runs as the worker itself does.',
});

export const BackupStatusEnum = enumOf('BackupStatus', BACKUP_STATUSES, 'Where a backup is in its life.', {
  INITIALIZING: 'Recorded; the worker has not begun yet.',
  IN_PROGRESS: 'The worker writes and then verifies it.',
  FAILED: 'It could not be made; its job says why. No file of it is left.',
  SUCCESS: 'Complete, on disk, read back and verified.',
  CANCELLING: 'It was deleted while it ran; the worker is stopping.',
  DELETING: 'Its files are being removed; then the record goes.',
  MISSING: 'Its files have been moved away or removed from outside. SUCCESS again once they are back and verified.',
});

export const RestoreStatusEnum = enumOf('RestoreStatus', RESTORE_STATUSES, 'Where a restore is in its life.', {
  PENDING: 'Recorded; it starts when its status is set to REQUESTING.',
  REQUESTING: 'Asked for; the worker has not begun yet.',
  INITIALIZING: 'The worker looks up what goes where.',
  IN_PROGRESS: 'The backup is verified, unpacked beside its targets, then takes their place.',
  FAILED: 'It could not be done; its job says why. The old content is in place, unless the job says otherwise.',
  SUCCESS: 'Every group is exactly what the backup holds; what the patterns of a source leave out is as it was.',
});

export const JobStatusEnum = enumOf('JobStatus', JOB_STATUSES, 'Where a job is in its life.', {
  SUBMITTED: 'Waiting for a worker.',
  EXECUTING: 'A worker is at it. A job whose worker died is run again and stays EXECUTING.',
  CANCELLING: 'It was cancelled; the worker is stopping.',
  CANCELLED: 'It was stopped and left nothing behind. What a SCAN has found and a RETENTION has removed counts.',
  FAILED: 'It failed; `error` says why and what to do.',
  COMPLETED: 'Done.',
});

export const JobOperationEnum = enumOf('JobOperation', JOB_OPERATIONS, 'What a job does.', {
  BACKUP: 'Makes a backup.',
  RESTORE: 'Restores groups of a backup.',
  DELETE: 'Removes a backup, files and record.',
  VERIFY: 'Reads a backup again and compares it with its digests.',
  RETENTION: 'Removes backups that retention no longer keeps.',
  SCAN: 'Finds the backups in a store.',
  DRILL: 'Restores a backup into a scratch directory, checks it and removes it again.',
  PLAN: 'Finds out what a restore would change, without touching anything.',
});

export const ContentGroupEnum = enumOf('ContentGroup', CONTENT_GROUPS, 'What a CONFIG backup can hold and a restore can ask for.', {
  CUSTOM_RULES_CONFIG: 'Custom rules, reference sets and data, saved searches.',
  DEPLOYMENT_CONFIG: 'Deployment model, domains, log and flow sources, system settings, forwarding rules.',
  USERS_CONFIG: 'Users, authorized services, roles, security profiles, dashboards.',
  LICENSE_CONFIG: 'Licence keys.',
  QVM_CONFIG: 'Vulnerability manager configuration.',
  INSTALLED_APPS_CONFIG: 'Installed apps. Restored only together with DEPLOYMENT_CONFIG.',
  REPORT_TEMPLATES: 'Report templates.',
  ASSETS_DATA: 'The asset model.',
  OFFENSES_DATA: 'Offenses, restored as closed. Restored only together with DEPLOYMENT_CONFIG.',
});

export const DeploymentKindEnum = enumOf('DeploymentKind', DEPLOYMENT_KINDS, 'Which system is behind a deployment.', {
  NATIVE: "The gateway's own engine.",
  QRADAR: 'IBM QRadar.',
  JSA: 'Juniper Secure Analytics.',
  ARCGIS: 'ArcGIS Enterprise.',
});

export const HostStatusEnum = enumOf('HostStatus', HOST_STATUSES, 'Where a host is in its life. Values will be added.', {
  ACTIVE: 'In service; the only status in which it is backed up.',
  NEW: 'Known, not yet added.',
  ADDING: 'Being added.',
  DELETING: 'Being removed.',
  DELETED: 'Removed; shown because backups of it remain.',
  ADD_FAILED: 'It could not be added.',
});

export const HostComponentEnum = enumOf('HostComponent', HOST_COMPONENTS, 'What runs on a host. Values will be added.', {
  QFLOW: 'Flow collection; a restore site host needs it.',
  EVENT_COLLECTOR: 'Event collection.',
  EVENT_PROCESSOR: 'Event processing; stores ariel data.',
  DATA_NODE: 'Additional storage; stores ariel data.',
});

export const BackupStoreTypeEnum = enumOf('BackupStoreType', STORE_TYPES, 'What kind of place a store is. Values will be added.', {
  DIRECTORY: 'A directory of a file system.',
  S3: 'A prefix of a bucket in an S3-compatible object store.',
});

export const BackupStoreStatusEnum = enumOf('BackupStoreStatus', STORE_STATUSES, 'Whether a store can be used.', {
  READY: 'It can be read and written.',
  UNREACHABLE: 'Nothing can be written to it now, and often nothing read; its statusDetail says why.',
  FULL: 'It has no room left for any backup.',
});

export const ValidityProblemEnum = enumOf('ValidityProblem', VALIDITY_PROBLEMS, 'Why a backup is not valid. Values will be added.', {
  MANIFEST_PROPERTIES_MISSING: 'The manifest lacks properties.',
  MANIFEST_UNREADABLE: 'The manifest cannot be read.',
  HA_STANDBY_MISMATCH: 'The backup is of a system that is no HA standby, and the console is one.',
  PRODUCT_MISMATCH: 'The backup is of another product.',
  APPLIANCE_MISMATCH: 'The backup is of another appliance.',
  CONSOLE_ADDRESS_IN_USE: "The backup uses the console's present address for a managed host.",
  DIGEST_MISMATCH: 'A file is not what the manifest says.',
  FILE_MISSING: 'A file, or the whole backup, is not there.',
});

export const ScheduleOperationEnum = enumOf('ScheduleOperation', SCHEDULE_OPERATIONS, 'What a schedule starts. Values will be added.', {
  BACKUP: 'A backup, by the rules of createBackup.',
  VERIFY: 'Verifications of backups, those first that were not read for the longest time.',
});

export const ScheduleOutcomeEnum = enumOf('ScheduleOutcome', SCHEDULE_OUTCOMES, "What became of a schedule's last run. Values will be added.", {
  STARTED: 'It was started; how that ended, its job tells.',
  SKIPPED: "It was left out, such as for a store that is too full; `lastReason` says why. It is not made up for.",
  REFUSED: 'A rule refused it, such as for a backup that was running; `lastReason` says which. It is tried again every minute until the next run is due.',
});

export const OrderDirectionEnum = enumOf('OrderDirection', ['ASC', 'DESC'] as const, 'Which end of an order comes first.', {
  ASC: 'The smallest first; those without a value last.',
  DESC: 'The greatest first; those without a value before all others.',
});

export const BackupOrderFieldEnum = enumOf('BackupOrderField', BACKUP_ORDER_FIELDS, "What a list of backups can be sorted by: the vendor's sort fields. Ties are broken by the id.", {
  ID: 'The number.', HOST_ID: "The host's number.", NAME: 'The name, by code point.', DESCRIPTION: 'The description, by code point.',
  TYPE: 'The type.', VERSION: 'The version, by code point.', TIME_INITIATED: 'When it was started.', TIME_COMPLETED: 'When it ended.',
  INITIATED_BY: 'Who started it.', STATUS: 'The status, by name.', SIZE_ON_DISK: 'Its size.', CONTENT_FILE_PATH: 'Where it lies.',
});

export const RestoreOrderFieldEnum = enumOf('RestoreOrderField', RESTORE_ORDER_FIELDS, "What a list of restores can be sorted by: the vendor's sort fields. Ties are broken by the id.", {
  ID: 'The number.', INITIATED_BY: 'Who started it.', TIME_INITIATED: 'When it was requested.', TIME_COMPLETED: 'When it ended.',
  IS_CROSS_DEPLOYMENT_RESTORE: "Whether the backup is another deployment's.", BACKUP_NAME: "The backup's name, by code point.",
  BACKUP_TYPE: "The backup's type.", BACKUP_VERSION: "The backup's version, by code point.", BACKUP_FILENAME: "The backup's file name.",
});

/** Which codes a rule has, from the table itself, so that the description can't differ from what is answered. */
const ruleMeaning = (name: RuleName): string => Object.entries(RULES).flatMap(([mutation, rules]) => {
  const rule = (rules as Partial<Record<RuleName, { code: number; httpStatus: number; message: string }>>)[name];
  return rule === undefined ? [] : [`${mutation} ${rule.code} (${rule.httpStatus}): ${rule.message}`];
}).join('\n');

export const RuleNameEnum = enumOf('RuleName', RULE_NAMES, 'Every rule that a mutation can find broken, by a symbol to switch on. Values will be added.',
  Object.fromEntries(RULE_NAMES.map((name) => [name, ruleMeaning(name)])) as Record<RuleName, string>);
