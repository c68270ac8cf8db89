/**
 * The words of both vendor APIs, each list once. The database columns, the GraphQL enums and the engine take
 * their values from here.
 */

/** What a backup holds: configuration (by content group, console only) or a host's data. QRadar `type`. */
export const BACKUP_TYPES = ['CONFIG', 'DATA'] as const;
export type BackupType = (typeof BACKUP_TYPES)[number];

/** QRadar's backup states; `lifecycle.ts` says which follows which. */
export const BACKUP_STATUSES = [
  'INITIALIZING', 'IN_PROGRESS', 'FAILED', 'SUCCESS', 'CANCELLING', 'DELETING', 'MISSING',
] as const;
export type BackupStatus = (typeof BACKUP_STATUSES)[number];

/** A backup that holds its host: no other may start there (1015). */
export const RUNNING_BACKUP_STATUSES = ['INITIALIZING', 'IN_PROGRESS', 'CANCELLING'] as const satisfies BackupStatus[];

/** QRadar's restore states. */
export const RESTORE_STATUSES = ['PENDING', 'REQUESTING', 'INITIALIZING', 'IN_PROGRESS', 'FAILED', 'SUCCESS'] as const;
export type RestoreStatus = (typeof RESTORE_STATUSES)[number];

/** A restore at work: nothing else may start in its deployment (1016). */
export const RUNNING_RESTORE_STATUSES = ['REQUESTING', 'INITIALIZING', 'IN_PROGRESS'] as const satisfies RestoreStatus[];

/** A restore record that is not completed: no second one may be created (1011). */
export const UNFINISHED_RESTORE_STATUSES = ['PENDING', ...RUNNING_RESTORE_STATUSES] as const satisfies RestoreStatus[];

/** ArcGIS's job states. */
export const JOB_STATUSES = ['SUBMITTED', 'EXECUTING', 'CANCELLING', 'CANCELLED', 'FAILED', 'COMPLETED'] as const;
export type JobStatus = (typeof JOB_STATUSES)[number];

export const JOB_OPERATIONS = ['BACKUP', 'RESTORE', 'DELETE', 'VERIFY', 'RETENTION', 'SCAN', 'DRILL', 'PLAN'] as const;
export type JobOperation = (typeof JOB_OPERATIONS)[number];

/** What a CONFIG backup can hold and a restore can ask for. QRadar `groups`. */
export const CONTENT_GROUPS = [
  'CUSTOM_RULES_CONFIG', 'DEPLOYMENT_CONFIG', 'USERS_CONFIG', 'LICENSE_CONFIG', 'QVM_CONFIG',
  'INSTALLED_APPS_CONFIG', 'REPORT_TEMPLATES', 'ASSETS_DATA', 'OFFENSES_DATA',
] as const;
export type ContentGroup = (typeof CONTENT_GROUPS)[number];

export const DEPLOYMENT_KINDS = ['NATIVE', 'QRADAR', 'JSA', 'ARCGIS'] as const;
export type DeploymentKind = (typeof DEPLOYMENT_KINDS)[number];

export const HOST_STATUSES = ['ACTIVE', 'NEW', 'ADDING', 'DELETING', 'DELETED', 'ADD_FAILED'] as const;
export type HostStatus = (typeof HOST_STATUSES)[number];

export const HOST_COMPONENTS = ['QFLOW', 'EVENT_COLLECTOR', 'EVENT_PROCESSOR', 'DATA_NODE'] as const;
export type HostComponent = (typeof HOST_COMPONENTS)[number];

/** The components that store ariel data, which a DATA backup needs (1013). */
export const ARIEL_COMPONENTS = ['EVENT_PROCESSOR', 'DATA_NODE'] as const satisfies HostComponent[];

export const STORE_TYPES = ['DIRECTORY', 'S3'] as const;
export type StoreType = (typeof STORE_TYPES)[number];

export const STORE_STATUSES = ['READY', 'UNREACHABLE', 'FULL'] as const;
export type StoreStatus = (typeof STORE_STATUSES)[number];

/** Why a backup is not valid; `validity.ts` decides. */
export const VALIDITY_PROBLEMS = [
  'MANIFEST_PROPERTIES_MISSING', 'MANIFEST_UNREADABLE', 'HA_STANDBY_MISMATCH', 'PRODUCT_MISMATCH',
  'APPLIANCE_MISMATCH', 'CONSOLE_ADDRESS_IN_USE', 'DIGEST_MISMATCH', 'FILE_MISSING',
] as const;
export type ValidityProblem = (typeof VALIDITY_PROBLEMS)[number];

export const HA_ROLES = ['NONE', 'PRIMARY', 'STANDBY'] as const;
/** Whether a host is half of a high-availability pair, and which half. */
export type HaRole = (typeof HA_ROLES)[number];

/** How much a backup may hold up other work on its host. QRadar's backup priority. */
export const BACKUP_PRIORITIES = ['LOW', 'MEDIUM', 'HIGH'] as const;
export type BackupPriority = (typeof BACKUP_PRIORITIES)[number];

/** What a schedule starts. */
export const SCHEDULE_OPERATIONS = ['BACKUP', 'VERIFY'] as const;
export type ScheduleOperation = (typeof SCHEDULE_OPERATIONS)[number];

/** What became of a schedule's last run: it was started, or why it was not. */
export const SCHEDULE_OUTCOMES = ['STARTED', 'SKIPPED', 'REFUSED'] as const;
export type ScheduleOutcome = (typeof SCHEDULE_OUTCOMES)[number];
