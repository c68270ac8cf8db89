/**
 * The documented rules as one table: for each mutation, the codes it can answer, in which stage each is looked
 * at, and the documented text. Sources: QRadar API 26.0 for codes below 2000; codes from 2001 are the gateway's
 * own, since ArcGIS documents those rules without codes.
 */

/** form: the input alone shows it; reference: the named records show it; conflict: something else is going on. */
export type Stage = 'form' | 'reference' | 'conflict' | 'engine';

interface Rule {
  /** The documented unique code; unique within one mutation, not across them. */
  readonly code: number;
  /** The documented HTTP status, told as data: over HTTP a violation is answered with 200. */
  readonly httpStatus: number;
  readonly stage: Stage;
  readonly message: string;
}

const form = (code: number, message: string): Rule => ({ code, httpStatus: 422, stage: 'form', message });
const reference = (code: number, message: string, httpStatus = 422): Rule => ({ code, httpStatus, stage: 'reference', message });
const notFound = (code: number, message: string): Rule => reference(code, message, 404);
const conflict = (code: number, message: string): Rule => ({ code, httpStatus: 409, stage: 'conflict', message });
const engine = (message: string): Rule => ({ code: 1000, httpStatus: 500, stage: 'engine', message });

const DESCRIPTION_TOO_LONG = form(1008, "The 'description' parameter value must not exceed 255 characters.");
const RETENTION_DATE_IN_PAST = form(2004, "The 'retentionDate' parameter value must lie in the future.");
const PASSCODE_REQUIRED = reference(2002, 'A passcode is required.');
const IDEMPOTENCY_KEY_REUSED = conflict(2006, 'The idempotency key was used before with another input.');
const RESTORE_IN_PROGRESS = conflict(1016, 'A restore is currently in progress. No new backup or restore processes can be initiated while the current process is running.');
const BACKUP_NOT_FOUND = notFound(1001, 'The backup does not exist.');
const RESTORE_NOT_FOUND = notFound(1001, 'The restore does not exist.');
const DEPLOYMENT_NOT_FOUND = notFound(2012, 'The deployment does not exist.');
const HOST_NOT_FOUND = reference(1009, 'The backup host does not exist.');
const CONFIGURATION_NOT_FOUND = reference(1007, 'The backup configuration does not exist.');
const STORE_NOT_FOUND = reference(2001, 'The backup store does not exist.');
const PASSCODE_WRONG = reference(2007, 'The passcode does not open the backup.');
const GROUPS_REQUIRED = form(1008, "The 'groups' parameter value cannot be null or empty.");
const GROUP_NOT_FOUND = reference(1010, 'A group was provided that does not exist.');
const DEPLOYMENT_CONFIG_REQUIRED = form(1009, 'The DEPLOYMENT_CONFIG group must be included with the INSTALLED_APPS_CONFIG or OFFENSES_DATA group.');
const BACKUP_NOT_CONFIG = reference(1004, 'The backup type must be config.');
const BACKUP_NOT_SUCCESSFUL = reference(1005, 'The backup status must be successful.');
const BACKUP_NOT_VALID = reference(1006, 'The backup must be valid.');
const BACKUP_NOT_COMPATIBLE = reference(1007, 'The backup must be compatible.');
const HOST_STORES_NO_DATA = reference(1013, 'Data backups can only be done on hosts that store ariel data. For more information, see the following Hosts API: api/config/deployment/hosts');

const NAME_REQUIRED = form(1002, "The 'name' parameter value cannot be null or empty.");
const NAME_TOO_LONG = form(1003, "The 'name' parameter value must not exceed 100 characters.");
const NAME_INVALID_CHARACTERS = form(1004, "The 'name' parameter must contain only alphanumerics and '_', '-' or '.'.");
const CONFIG_BACKUP_NEEDS_CONSOLE = reference(1012, 'The provided host_id corresponds to a host that is not the console and the backup type is CONFIG. A config backup can only take place on the console.');
const HOST_NOT_ACTIVE = reference(1010, 'The provided host_id corresponds to a host that is currently not active. For more information, see the following Hosts API: api/config/deployment/hosts');
const HOST_NOT_CONFIGURED_FOR_DATA = reference(1014, 'The host is not configured for data backups. See the Backup Configuration API for more information: api/config/backup_and_restore/scheduled_backup_configurations');
const PASSCODE_TOO_SHORT = form(2003, "The 'passcode' parameter value must have at least 8 characters.");
const SCHEDULE_NOT_FOUND = notFound(2020, 'The schedule does not exist.');
const NOT_FOR_VERIFICATION = 'A schedule that verifies makes no backup: it takes no type, host, name pattern, description, passcode or retention.';
/** What the creation and the change of a schedule share; the documented codes are those of the backups that it makes. */
const SCHEDULED = {
  NAME_REQUIRED,
  NAME_TOO_LONG,
  NAME_INVALID_CHARACTERS,
  DESCRIPTION_TOO_LONG,
  HOST_NOT_FOUND,
  HOST_NOT_ACTIVE,
  CONFIG_BACKUP_NEEDS_CONSOLE,
  HOST_STORES_NO_DATA,
  HOST_NOT_CONFIGURED_FOR_DATA,
  STORE_NOT_FOUND,
  PASSCODE_REQUIRED,
  PASSCODE_TOO_SHORT,
  SCHEDULE_NAME_NOT_UNIQUE: conflict(2021, "The 'name' parameter value must be unique among the deployment's schedules."),
  CRON_INVALID: form(2022, "The 'cron' parameter value must be a cron expression of five fields (minute, hour, day of month, month, day of week) that comes true sometime, such as '0 2 * * *'."),
  TIME_ZONE_INVALID: form(2023, "The 'timeZone' parameter value must be the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'."),
  NAME_PATTERN_INVALID: reference(2024, "The 'namePattern' parameter value must give names that obey the rules 1002 to 1004: at most 100 of ASCII letters, digits, '_', '-' and '.', with no placeholders but {schedule}, {host}, {type}, {date}, {time} and {n}."),
  KEEP_DAYS_INVALID: form(2027, "The 'keepDays' parameter value must be a number of days from 1 to 36500."),
  KEEP_LAST_INVALID: form(2028, "The 'keepLast' parameter value must be from 1 to 10000."),
} as const;

export const RULES = {
  createBackup: {
    NAME_REQUIRED,
    NAME_TOO_LONG,
    NAME_INVALID_CHARACTERS,
    CONFIGURATION_REQUIRED: form(1006, "The 'configuration_id' parameter value cannot be null or empty."),
    CONFIGURATION_NOT_FOUND,
    DESCRIPTION_TOO_LONG,
    HOST_NOT_FOUND,
    HOST_NOT_ACTIVE,
    CONFIG_BACKUP_NEEDS_CONSOLE,
    HOST_STORES_NO_DATA,
    HOST_NOT_CONFIGURED_FOR_DATA,
    NAME_NOT_UNIQUE: conflict(1005, "The 'name' parameter value must be unique."),
    UNDEPLOYED_CHANGES: conflict(1011, 'An undeployed configuration change has been detected. Deploy staged changes then try again.'),
    BACKUP_IN_PROGRESS: conflict(1015, 'A backup is already in progress on the host.'),
    RESTORE_IN_PROGRESS,
    STORE_NOT_FOUND,
    PASSCODE_REQUIRED,
    PASSCODE_TOO_SHORT,
    RETENTION_DATE_IN_PAST,
    STORE_NOT_READY: conflict(2005, 'The backup store cannot be written now. Look at its status, and try again once it is READY.'),
    IDEMPOTENCY_KEY_REUSED,
    DEPLOYMENT_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to create the backup.'),
  },
  updateBackup: {
    BACKUP_NOT_FOUND,
    DESCRIPTION_TOO_LONG,
    RETENTION_DATE_IN_PAST,
    ENGINE_ERROR: engine('An error occurred during the attempt to update the backup.'),
  },
  deleteBackup: {
    BACKUP_NOT_FOUND,
    BACKUP_NOT_DELETABLE: reference(1017, 'Backups can be deleted only in the following states: INITIALIZING, IN_PROGRESS, FAILED, SUCCESS, MISSING.'),
    BACKUP_IN_USE: conflict(2010, 'A restore of the backup is in progress. Try again when it has ended.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to delete the backup.'),
  },
  createRestore: {
    BACKUP_ID_REQUIRED: form(1002, "The 'backup_id' parameter value cannot be null or empty."),
    BACKUP_NOT_FOUND: reference(1003, 'The backup does not exist.'),
    BACKUP_NOT_CONFIG,
    BACKUP_NOT_SUCCESSFUL,
    BACKUP_NOT_VALID,
    BACKUP_NOT_COMPATIBLE,
    GROUPS_REQUIRED,
    DEPLOYMENT_CONFIG_REQUIRED,
    GROUP_NOT_FOUND,
    RESTORE_EXISTS: conflict(1011, 'A restore is currently pending or in progress. Only a single restore record can be created at a time and all other existing restores must be in a completed state. A completed restore has the status of SUCCESS or FAILED.'),
    IDEMPOTENCY_KEY_REUSED,
    ENGINE_ERROR: engine('An error occurred during the attempt to create the restore.'),
  },
  updateRestore: {
    RESTORE_NOT_FOUND,
    RESTORE_NOT_PENDING: reference(1012, 'Only restores that are in the PENDING state are updated.'),
    STATUS_NOT_REQUESTING: form(1013, "The 'status' parameter value can only be updated to REQUESTING."),
    REBALANCING_IN_PROGRESS: conflict(1014, 'Rebalancing is currently in progress. No restore process can be initiated.'),
    BACKUP_IN_PROGRESS: conflict(1015, 'A backup is currently in progress. No new backup or restore processes can be initiated while the current process is running.'),
    RESTORE_IN_PROGRESS,
    RESTORE_SITE_HOST_HAS_NO_QFLOW: reference(1030, 'The restore_site_host_id must have a qflow component.'),
    RESTORE_SITE_HOST_INVALID: reference(1031, 'The restore_site_host_id must be a valid host ID.'),
    NOT_AN_EVENT_COLLECTOR: reference(1032, 'The restore_site_event_collector_id is not an event collector component.'),
    EVENT_COLLECTOR_NOT_FOUND: reference(1033, 'The restore_site_event_collector_id does not exist.'),
    PASSCODE_REQUIRED,
    PASSCODE_WRONG,
    BACKUP_UNAVAILABLE: reference(2011, 'The backup is gone, or no longer successful, valid or compatible. Delete this restore and choose another backup.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to update the restore.'),
  },
  deleteRestore: {
    RESTORE_NOT_FOUND,
    RESTORE_NOT_DELETABLE: reference(1017, 'Restores can be deleted only in the following states: PENDING, REQUESTING, INITIALIZING, IN_PROGRESS.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to delete the restore.'),
  },
  cancelJob: {
    JOB_NOT_FOUND: notFound(2008, 'The job does not exist.'),
    JOB_NOT_CANCELLABLE: reference(2009, 'The job has ended, is a deletion, or is a restore that has begun to replace files; it cannot be cancelled.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to cancel the job.'),
  },
  verifyBackup: {
    BACKUP_NOT_FOUND,
    BACKUP_NOT_VERIFIABLE: reference(2014, 'Backups can be verified only in the following states: SUCCESS, MISSING.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to verify the backup.'),
  },
  drillRestore: {
    BACKUP_NOT_FOUND,
    BACKUP_NOT_SUCCESSFUL,
    GROUPS_REQUIRED,
    GROUP_NOT_FOUND,
    PASSCODE_REQUIRED,
    PASSCODE_WRONG,
    DRILL_IN_PROGRESS: conflict(2015, 'A restore drill of the backup is already in progress. Wait for its end, or cancel its job.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to start the restore drill.'),
  },
  restorePlan: {
    BACKUP_NOT_CONFIG,
    BACKUP_NOT_SUCCESSFUL,
    BACKUP_NOT_VALID,
    BACKUP_NOT_COMPATIBLE,
    GROUPS_REQUIRED,
    DEPLOYMENT_CONFIG_REQUIRED,
    GROUP_NOT_FOUND,
    PASSCODE_REQUIRED,
    PASSCODE_WRONG,
    TOO_MANY_PLANS: conflict(2016, 'As many restore plans as may be made at once are being made already. Try again when one has ended.'),
    ENGINE_ERROR: engine('An error occurred during the attempt to plan the restore.'),
  },
  scanStore: {
    STORE_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to scan the store.'),
  },
  createSchedule: {
    ...SCHEDULED,
    TYPE_REQUIRED: form(2025, "The 'type' parameter value cannot be null in a schedule that makes backups."),
    NOT_FOR_VERIFICATION: form(2026, NOT_FOR_VERIFICATION),
    DEPLOYMENT_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to create the schedule.'),
  },
  updateSchedule: {
    ...SCHEDULED,
    SCHEDULE_NOT_FOUND,
    NOT_FOR_VERIFICATION: reference(2026, NOT_FOR_VERIFICATION),
    ENGINE_ERROR: engine('An error occurred during the attempt to update the schedule.'),
  },
  deleteSchedule: {
    SCHEDULE_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to delete the schedule.'),
  },
  applyRetention: {
    DEPLOYMENT_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to apply the retention.'),
  },
  setRebalancing: {
    DEPLOYMENT_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to declare the rebalancing.'),
  },
  stageHost: {
    HOST_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to stage the host.'),
  },
  stageBackupConfiguration: {
    CONFIGURATION_NOT_FOUND,
    HOST_NOT_FOUND,
    HOST_STORES_NO_DATA,
    RETENTION_PERIOD_INVALID: form(2013, "The 'retentionPeriodDays' parameter value must be a number of days from 1 to 36500."),
    ENGINE_ERROR: engine('An error occurred during the attempt to stage the backup configuration.'),
  },
  deployStagedChanges: {
    DEPLOYMENT_NOT_FOUND,
    ENGINE_ERROR: engine('An error occurred during the attempt to deploy the staged changes.'),
  },
} as const satisfies Record<string, Record<string, Rule>>;

/** What answers broken rules as data: every mutation, and the query `restorePlan`. */
export type MutationName = keyof typeof RULES;
type UnionToKeys<T> = T extends unknown ? keyof T : never;
/** A rule's symbol, such as `NAME_NOT_UNIQUE`. */
export type RuleName = UnionToKeys<(typeof RULES)[MutationName]> & string;
/** The symbols one mutation can answer. */
export type RuleOf<M extends MutationName> = keyof (typeof RULES)[M] & string;

export interface RuleViolation {
  rule: RuleName;
  code: number;
  httpStatus: number;
  message: string;
  /** The input field at fault, such as `['input', 'name']`, or a query's argument; empty where none is. */
  path: readonly string[];
}

/** The request broke documented rules; nothing was changed. Answered as data, never as a GraphQL error. */
export class RuleViolationsError extends Error {
  override readonly name = 'RuleViolationsError';
  readonly violations: readonly RuleViolation[];

  constructor(violations: readonly RuleViolation[]) {
    super(violations.map((violation) => violation.message).join(' '));
    this.violations = violations;
  }
}

/** Every symbol there is, for the GraphQL enum. */
export const RULE_NAMES: readonly RuleName[] = [
  ...new Set(Object.values(RULES).flatMap((rules) => Object.keys(rules) as RuleName[])),
];

const rulesOf = (mutation: MutationName): Record<string, Rule> => RULES[mutation];

/** A query takes its arguments one by one; a mutation has them all in `input`. */
const pathOf = (mutation: MutationName, field: string): string[] => (mutation === 'restorePlan' ? [field] : ['input', field]);

/** The documented violation of one rule of a mutation. `field` is the input field at fault, if one is. */
export function violation<M extends MutationName>(mutation: M, rule: RuleOf<M>, field?: string): RuleViolation {
  const { code, httpStatus, message } = rulesOf(mutation)[rule] as Rule;
  return { rule: rule as RuleName, code, httpStatus, message, path: field === undefined ? [] : pathOf(mutation, field) };
}

/**
 * Collects what a request breaks, stage by stage: within a stage everything is told, in ascending code; a later
 * stage is entered only when the earlier one is clean, which calling `done` at its end sees to.
 */
export class RuleCheck<M extends MutationName> {
  readonly #mutation: M;
  readonly #broken: RuleViolation[] = [];

  constructor(mutation: M) {
    this.#mutation = mutation;
  }

  /** Notes the rule as broken where `isBroken` holds. */
  breaks(isBroken: boolean, rule: RuleOf<M>, field?: string): void {
    if (isBroken) this.#broken.push(violation(this.#mutation, rule, field));
  }

  /** Ends a stage. @throws RuleViolationsError with all that was noted. */
  done(): void {
    if (this.#broken.length > 0) throw this.failure();
  }

  /** What was noted so far, to be thrown. */
  failure(): RuleViolationsError {
    return new RuleViolationsError(this.#broken.toSorted((a, b) => a.code - b.code));
  }

  /** This violation alone, to be thrown. */
  refusal(rule: RuleOf<M>, field?: string): RuleViolationsError {
    return new RuleViolationsError([violation(this.#mutation, rule, field)]);
  }
}
