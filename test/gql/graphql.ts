/* eslint-disable */
/** Internal type. DO NOT USE DIRECTLY. */
type Exact<T extends { [key: string]: unknown }> = { [K in keyof T]: T[K] };
/** Internal type. DO NOT USE DIRECTLY. */
export type Incremental<T> = T | { [P in keyof T]?: P extends ' $fragmentName' | '__typename' ? T[P] : never };
import type { DocumentTypeDecoration } from '@graphql-typed-document-node/core';
/** Where a backup is in its life. */
export type BackupStatus =
  /** It was deleted while it ran; the worker is stopping. */
  | 'CANCELLING'
  /** Its files are being removed; then the record goes. */
  | 'DELETING'
  /** It could not be made; its job says why. No file of it is left. */
  | 'FAILED'
  /** Recorded; the worker has not begun yet. */
  | 'INITIALIZING'
  /** The worker writes and then verifies it. */
  | 'IN_PROGRESS'
  /** Its files have been moved away or removed from outside. SUCCESS again once they are back and verified. */
  | 'MISSING'
  /** Complete, on disk, read back and verified. */
  | 'SUCCESS';

/** What a backup holds. */
export type BackupType =
  /** Configuration, by content group. Made on the console only, and restorable. */
  | 'CONFIG'
  /** The ariel data of a host that stores it. Not restorable through this API, as the vendor documents. */
  | 'DATA';

/** What a CONFIG backup can hold and a restore can ask for. */
export type ContentGroup =
  /** The asset model. */
  | 'ASSETS_DATA'
  /** Custom rules, reference sets and data, saved searches. */
  | 'CUSTOM_RULES_CONFIG'
  /** Deployment model, domains, log and flow sources, system settings, forwarding rules. */
  | 'DEPLOYMENT_CONFIG'
  /** Installed apps. Restored only together with DEPLOYMENT_CONFIG. */
  | 'INSTALLED_APPS_CONFIG'
  /** Licence keys. */
  | 'LICENSE_CONFIG'
  /** Offenses, restored as closed. Restored only together with DEPLOYMENT_CONFIG. */
  | 'OFFENSES_DATA'
  /** Vulnerability manager configuration. */
  | 'QVM_CONFIG'
  /** Report templates. */
  | 'REPORT_TEMPLATES'
  /** Users, authorized services, roles, security profiles, dashboards. */
  | 'USERS_CONFIG';

/** What createBackup needs. */
export type CreateBackupInput = {
  /** The deployed backup configuration: its global id, or 1 (1006, 1007). */
  configurationId: string;
  /** Of which deployment; the default one where it is left out (2012). */
  deploymentId?: string | null | undefined;
  /** A note, up to 255 characters (1008). */
  description?: string | null | undefined;
  /** Of which host, by global id or host_id; the console where it is left out (1009, 1010, 1012, 1013, 1014). */
  hostId?: string | null | undefined;
  /** The same key and input from the same token, within 24 hours, answer the first result and start nothing (2006). */
  idempotencyKey?: string | null | undefined;
  /** Unique in the deployment; up to 100 of ASCII letters, digits, "_", "-" and "." (1002 to 1005). */
  name: string;
  /** Encrypts the content; at least 8 characters (2003). Needed to restore it, and kept nowhere. Required where the store requires it (2002). */
  passcode?: string | null | undefined;
  /** After it the backup may be cleaned up; left out: never (2004). */
  retentionDate?: string | null | undefined;
  /** Into which store; the default one where it is left out (2001, 2005). */
  storeName?: string | null | undefined;
  /** What it is to hold. */
  type: BackupType;
};

/** What createRestore needs. */
export type CreateRestoreInput = {
  /** Which backup: its global id, or its number (1002 to 1007). */
  backupId: string;
  /** What to restore; the backup must hold it (1008, 1009, 1010). */
  groups: Array<ContentGroup>;
  /** The same key and input from the same token, within 24 hours, answer the first result and record nothing (2006). */
  idempotencyKey?: string | null | undefined;
};

/** Where a job is in its life. */
export type JobStatus =
  /** It was stopped and left nothing behind. What a SCAN has found and a RETENTION has removed counts. */
  | 'CANCELLED'
  /** It was cancelled; the worker is stopping. */
  | 'CANCELLING'
  /** Done. */
  | 'COMPLETED'
  /** A worker is at it. A job whose worker died is run again and stays EXECUTING. */
  | 'EXECUTING'
  /** It failed; `error` says why and what to do. */
  | 'FAILED'
  /** Waiting for a worker. */
  | 'SUBMITTED';

/** Where a restore is in its life. */
export type RestoreStatus =
  /** It could not be done; its job says why. The old content is in place, unless the job says otherwise. */
  | 'FAILED'
  /** The worker looks up what goes where. */
  | 'INITIALIZING'
  /** The backup is verified, unpacked beside its targets, then takes their place. */
  | 'IN_PROGRESS'
  /** Recorded; it starts when its status is set to REQUESTING. */
  | 'PENDING'
  /** Asked for; the worker has not begun yet. */
  | 'REQUESTING'
  /** Every group is exactly what the backup holds; what the patterns of a source leave out is as it was. */
  | 'SUCCESS';

/** Every rule that a mutation can find broken, by a symbol to switch on. Values will be added. */
export type RuleName =
  /** createRestore 1002 (422): The 'backup_id' parameter value cannot be null or empty. */
  | 'BACKUP_ID_REQUIRED'
  /**
   * createBackup 1015 (409): A backup is already in progress on the host.
   * updateRestore 1015 (409): A backup is currently in progress. No new backup or restore processes can be initiated while the current process is running.
   */
  | 'BACKUP_IN_PROGRESS'
  /** deleteBackup 2010 (409): A restore of the backup is in progress. Try again when it has ended. */
  | 'BACKUP_IN_USE'
  /**
   * createRestore 1007 (422): The backup must be compatible.
   * restorePlan 1007 (422): The backup must be compatible.
   */
  | 'BACKUP_NOT_COMPATIBLE'
  /**
   * createRestore 1004 (422): The backup type must be config.
   * restorePlan 1004 (422): The backup type must be config.
   */
  | 'BACKUP_NOT_CONFIG'
  /** deleteBackup 1017 (422): Backups can be deleted only in the following states: INITIALIZING, IN_PROGRESS, FAILED, SUCCESS, MISSING. */
  | 'BACKUP_NOT_DELETABLE'
  /**
   * updateBackup 1001 (404): The backup does not exist.
   * deleteBackup 1001 (404): The backup does not exist.
   * createRestore 1003 (422): The backup does not exist.
   * verifyBackup 1001 (404): The backup does not exist.
   * drillRestore 1001 (404): The backup does not exist.
   */
  | 'BACKUP_NOT_FOUND'
  /**
   * createRestore 1005 (422): The backup status must be successful.
   * drillRestore 1005 (422): The backup status must be successful.
   * restorePlan 1005 (422): The backup status must be successful.
   */
  | 'BACKUP_NOT_SUCCESSFUL'
  /**
   * createRestore 1006 (422): The backup must be valid.
   * restorePlan 1006 (422): The backup must be valid.
   */
  | 'BACKUP_NOT_VALID'
  /** verifyBackup 2014 (422): Backups can be verified only in the following states: SUCCESS, MISSING. */
  | 'BACKUP_NOT_VERIFIABLE'
  /** updateRestore 2011 (422): The backup is gone, or no longer successful, valid or compatible. Delete this restore and choose another backup. */
  | 'BACKUP_UNAVAILABLE'
  /**
   * createBackup 1007 (422): The backup configuration does not exist.
   * stageBackupConfiguration 1007 (422): The backup configuration does not exist.
   */
  | 'CONFIGURATION_NOT_FOUND'
  /** createBackup 1006 (422): The 'configuration_id' parameter value cannot be null or empty. */
  | 'CONFIGURATION_REQUIRED'
  /**
   * createBackup 1012 (422): The provided host_id corresponds to a host that is not the console and the backup type is CONFIG. A config backup can only take place on the console.
   * createSchedule 1012 (422): The provided host_id corresponds to a host that is not the console and the backup type is CONFIG. A config backup can only take place on the console.
   * updateSchedule 1012 (422): The provided host_id corresponds to a host that is not the console and the backup type is CONFIG. A config backup can only take place on the console.
   */
  | 'CONFIG_BACKUP_NEEDS_CONSOLE'
  /**
   * createSchedule 2022 (422): The 'cron' parameter value must be a cron expression of five fields (minute, hour, day of month, month, day of week) that comes true sometime, such as '0 2 * * *'.
   * updateSchedule 2022 (422): The 'cron' parameter value must be a cron expression of five fields (minute, hour, day of month, month, day of week) that comes true sometime, such as '0 2 * * *'.
   */
  | 'CRON_INVALID'
  /**
   * createRestore 1009 (422): The DEPLOYMENT_CONFIG group must be included with the INSTALLED_APPS_CONFIG or OFFENSES_DATA group.
   * restorePlan 1009 (422): The DEPLOYMENT_CONFIG group must be included with the INSTALLED_APPS_CONFIG or OFFENSES_DATA group.
   */
  | 'DEPLOYMENT_CONFIG_REQUIRED'
  /**
   * createBackup 2012 (404): The deployment does not exist.
   * createSchedule 2012 (404): The deployment does not exist.
   * applyRetention 2012 (404): The deployment does not exist.
   * setRebalancing 2012 (404): The deployment does not exist.
   * deployStagedChanges 2012 (404): The deployment does not exist.
   */
  | 'DEPLOYMENT_NOT_FOUND'
  /**
   * createBackup 1008 (422): The 'description' parameter value must not exceed 255 characters.
   * updateBackup 1008 (422): The 'description' parameter value must not exceed 255 characters.
   * createSchedule 1008 (422): The 'description' parameter value must not exceed 255 characters.
   * updateSchedule 1008 (422): The 'description' parameter value must not exceed 255 characters.
   */
  | 'DESCRIPTION_TOO_LONG'
  /** drillRestore 2015 (409): A restore drill of the backup is already in progress. Wait for its end, or cancel its job. */
  | 'DRILL_IN_PROGRESS'
  /**
   * createBackup 1000 (500): An error occurred during the attempt to create the backup.
   * updateBackup 1000 (500): An error occurred during the attempt to update the backup.
   * deleteBackup 1000 (500): An error occurred during the attempt to delete the backup.
   * createRestore 1000 (500): An error occurred during the attempt to create the restore.
   * updateRestore 1000 (500): An error occurred during the attempt to update the restore.
   * deleteRestore 1000 (500): An error occurred during the attempt to delete the restore.
   * cancelJob 1000 (500): An error occurred during the attempt to cancel the job.
   * verifyBackup 1000 (500): An error occurred during the attempt to verify the backup.
   * drillRestore 1000 (500): An error occurred during the attempt to start the restore drill.
   * restorePlan 1000 (500): An error occurred during the attempt to plan the restore.
   * scanStore 1000 (500): An error occurred during the attempt to scan the store.
   * createSchedule 1000 (500): An error occurred during the attempt to create the schedule.
   * updateSchedule 1000 (500): An error occurred during the attempt to update the schedule.
   * deleteSchedule 1000 (500): An error occurred during the attempt to delete the schedule.
   * applyRetention 1000 (500): An error occurred during the attempt to apply the retention.
   * setRebalancing 1000 (500): An error occurred during the attempt to declare the rebalancing.
   * stageHost 1000 (500): An error occurred during the attempt to stage the host.
   * stageBackupConfiguration 1000 (500): An error occurred during the attempt to stage the backup configuration.
   * deployStagedChanges 1000 (500): An error occurred during the attempt to deploy the staged changes.
   */
  | 'ENGINE_ERROR'
  /** updateRestore 1033 (422): The restore_site_event_collector_id does not exist. */
  | 'EVENT_COLLECTOR_NOT_FOUND'
  /**
   * createRestore 1008 (422): The 'groups' parameter value cannot be null or empty.
   * drillRestore 1008 (422): The 'groups' parameter value cannot be null or empty.
   * restorePlan 1008 (422): The 'groups' parameter value cannot be null or empty.
   */
  | 'GROUPS_REQUIRED'
  /**
   * createRestore 1010 (422): A group was provided that does not exist.
   * drillRestore 1010 (422): A group was provided that does not exist.
   * restorePlan 1010 (422): A group was provided that does not exist.
   */
  | 'GROUP_NOT_FOUND'
  /**
   * createBackup 1010 (422): The provided host_id corresponds to a host that is currently not active. For more information, see the following Hosts API: api/config/deployment/hosts
   * createSchedule 1010 (422): The provided host_id corresponds to a host that is currently not active. For more information, see the following Hosts API: api/config/deployment/hosts
   * updateSchedule 1010 (422): The provided host_id corresponds to a host that is currently not active. For more information, see the following Hosts API: api/config/deployment/hosts
   */
  | 'HOST_NOT_ACTIVE'
  /**
   * createBackup 1014 (422): The host is not configured for data backups. See the Backup Configuration API for more information: api/config/backup_and_restore/scheduled_backup_configurations
   * createSchedule 1014 (422): The host is not configured for data backups. See the Backup Configuration API for more information: api/config/backup_and_restore/scheduled_backup_configurations
   * updateSchedule 1014 (422): The host is not configured for data backups. See the Backup Configuration API for more information: api/config/backup_and_restore/scheduled_backup_configurations
   */
  | 'HOST_NOT_CONFIGURED_FOR_DATA'
  /**
   * createBackup 1009 (422): The backup host does not exist.
   * createSchedule 1009 (422): The backup host does not exist.
   * updateSchedule 1009 (422): The backup host does not exist.
   * stageHost 1009 (422): The backup host does not exist.
   * stageBackupConfiguration 1009 (422): The backup host does not exist.
   */
  | 'HOST_NOT_FOUND'
  /**
   * createBackup 1013 (422): Data backups can only be done on hosts that store ariel data. For more information, see the following Hosts API: api/config/deployment/hosts
   * createSchedule 1013 (422): Data backups can only be done on hosts that store ariel data. For more information, see the following Hosts API: api/config/deployment/hosts
   * updateSchedule 1013 (422): Data backups can only be done on hosts that store ariel data. For more information, see the following Hosts API: api/config/deployment/hosts
   * stageBackupConfiguration 1013 (422): Data backups can only be done on hosts that store ariel data. For more information, see the following Hosts API: api/config/deployment/hosts
   */
  | 'HOST_STORES_NO_DATA'
  /**
   * createBackup 2006 (409): The idempotency key was used before with another input.
   * createRestore 2006 (409): The idempotency key was used before with another input.
   */
  | 'IDEMPOTENCY_KEY_REUSED'
  /** cancelJob 2009 (422): The job has ended, is a deletion, or is a restore that has begun to replace files; it cannot be cancelled. */
  | 'JOB_NOT_CANCELLABLE'
  /** cancelJob 2008 (404): The job does not exist. */
  | 'JOB_NOT_FOUND'
  /**
   * createSchedule 2027 (422): The 'keepDays' parameter value must be a number of days from 1 to 36500.
   * updateSchedule 2027 (422): The 'keepDays' parameter value must be a number of days from 1 to 36500.
   */
  | 'KEEP_DAYS_INVALID'
  /**
   * createSchedule 2028 (422): The 'keepLast' parameter value must be from 1 to 10000.
   * updateSchedule 2028 (422): The 'keepLast' parameter value must be from 1 to 10000.
   */
  | 'KEEP_LAST_INVALID'
  /**
   * createBackup 1004 (422): The 'name' parameter must contain only alphanumerics and '_', '-' or '.'.
   * createSchedule 1004 (422): The 'name' parameter must contain only alphanumerics and '_', '-' or '.'.
   * updateSchedule 1004 (422): The 'name' parameter must contain only alphanumerics and '_', '-' or '.'.
   */
  | 'NAME_INVALID_CHARACTERS'
  /** createBackup 1005 (409): The 'name' parameter value must be unique. */
  | 'NAME_NOT_UNIQUE'
  /**
   * createSchedule 2024 (422): The 'namePattern' parameter value must give names that obey the rules 1002 to 1004: at most 100 of ASCII letters, digits, '_', '-' and '.', with no placeholders but {schedule}, {host}, {type}, {date}, {time} and {n}.
   * updateSchedule 2024 (422): The 'namePattern' parameter value must give names that obey the rules 1002 to 1004: at most 100 of ASCII letters, digits, '_', '-' and '.', with no placeholders but {schedule}, {host}, {type}, {date}, {time} and {n}.
   */
  | 'NAME_PATTERN_INVALID'
  /**
   * createBackup 1002 (422): The 'name' parameter value cannot be null or empty.
   * createSchedule 1002 (422): The 'name' parameter value cannot be null or empty.
   * updateSchedule 1002 (422): The 'name' parameter value cannot be null or empty.
   */
  | 'NAME_REQUIRED'
  /**
   * createBackup 1003 (422): The 'name' parameter value must not exceed 100 characters.
   * createSchedule 1003 (422): The 'name' parameter value must not exceed 100 characters.
   * updateSchedule 1003 (422): The 'name' parameter value must not exceed 100 characters.
   */
  | 'NAME_TOO_LONG'
  /** updateRestore 1032 (422): The restore_site_event_collector_id is not an event collector component. */
  | 'NOT_AN_EVENT_COLLECTOR'
  /**
   * createSchedule 2026 (422): A schedule that verifies makes no backup: it takes no type, host, name pattern, description, passcode or retention.
   * updateSchedule 2026 (422): A schedule that verifies makes no backup: it takes no type, host, name pattern, description, passcode or retention.
   */
  | 'NOT_FOR_VERIFICATION'
  /**
   * createBackup 2002 (422): A passcode is required.
   * updateRestore 2002 (422): A passcode is required.
   * drillRestore 2002 (422): A passcode is required.
   * restorePlan 2002 (422): A passcode is required.
   * createSchedule 2002 (422): A passcode is required.
   * updateSchedule 2002 (422): A passcode is required.
   */
  | 'PASSCODE_REQUIRED'
  /**
   * createBackup 2003 (422): The 'passcode' parameter value must have at least 8 characters.
   * createSchedule 2003 (422): The 'passcode' parameter value must have at least 8 characters.
   * updateSchedule 2003 (422): The 'passcode' parameter value must have at least 8 characters.
   */
  | 'PASSCODE_TOO_SHORT'
  /**
   * updateRestore 2007 (422): The passcode does not open the backup.
   * drillRestore 2007 (422): The passcode does not open the backup.
   * restorePlan 2007 (422): The passcode does not open the backup.
   */
  | 'PASSCODE_WRONG'
  /** updateRestore 1014 (409): Rebalancing is currently in progress. No restore process can be initiated. */
  | 'REBALANCING_IN_PROGRESS'
  /** createRestore 1011 (409): A restore is currently pending or in progress. Only a single restore record can be created at a time and all other existing restores must be in a completed state. A completed restore has the status of SUCCESS or FAILED. */
  | 'RESTORE_EXISTS'
  /**
   * createBackup 1016 (409): A restore is currently in progress. No new backup or restore processes can be initiated while the current process is running.
   * updateRestore 1016 (409): A restore is currently in progress. No new backup or restore processes can be initiated while the current process is running.
   */
  | 'RESTORE_IN_PROGRESS'
  /** deleteRestore 1017 (422): Restores can be deleted only in the following states: PENDING, REQUESTING, INITIALIZING, IN_PROGRESS. */
  | 'RESTORE_NOT_DELETABLE'
  /**
   * updateRestore 1001 (404): The restore does not exist.
   * deleteRestore 1001 (404): The restore does not exist.
   */
  | 'RESTORE_NOT_FOUND'
  /** updateRestore 1012 (422): Only restores that are in the PENDING state are updated. */
  | 'RESTORE_NOT_PENDING'
  /** updateRestore 1030 (422): The restore_site_host_id must have a qflow component. */
  | 'RESTORE_SITE_HOST_HAS_NO_QFLOW'
  /** updateRestore 1031 (422): The restore_site_host_id must be a valid host ID. */
  | 'RESTORE_SITE_HOST_INVALID'
  /**
   * createBackup 2004 (422): The 'retentionDate' parameter value must lie in the future.
   * updateBackup 2004 (422): The 'retentionDate' parameter value must lie in the future.
   */
  | 'RETENTION_DATE_IN_PAST'
  /** stageBackupConfiguration 2013 (422): The 'retentionPeriodDays' parameter value must be a number of days from 1 to 36500. */
  | 'RETENTION_PERIOD_INVALID'
  /**
   * createSchedule 2021 (409): The 'name' parameter value must be unique among the deployment's schedules.
   * updateSchedule 2021 (409): The 'name' parameter value must be unique among the deployment's schedules.
   */
  | 'SCHEDULE_NAME_NOT_UNIQUE'
  /**
   * updateSchedule 2020 (404): The schedule does not exist.
   * deleteSchedule 2020 (404): The schedule does not exist.
   */
  | 'SCHEDULE_NOT_FOUND'
  /** updateRestore 1013 (422): The 'status' parameter value can only be updated to REQUESTING. */
  | 'STATUS_NOT_REQUESTING'
  /**
   * createBackup 2001 (422): The backup store does not exist.
   * scanStore 2001 (422): The backup store does not exist.
   * createSchedule 2001 (422): The backup store does not exist.
   * updateSchedule 2001 (422): The backup store does not exist.
   */
  | 'STORE_NOT_FOUND'
  /** createBackup 2005 (409): The backup store cannot be written now. Look at its status, and try again once it is READY. */
  | 'STORE_NOT_READY'
  /**
   * createSchedule 2023 (422): The 'timeZone' parameter value must be the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'.
   * updateSchedule 2023 (422): The 'timeZone' parameter value must be the IANA name of a time zone, such as 'Europe/Berlin' or 'UTC'.
   */
  | 'TIME_ZONE_INVALID'
  /** restorePlan 2016 (409): As many restore plans as may be made at once are being made already. Try again when one has ended. */
  | 'TOO_MANY_PLANS'
  /** createSchedule 2025 (422): The 'type' parameter value cannot be null in a schedule that makes backups. */
  | 'TYPE_REQUIRED'
  /** createBackup 1011 (409): An undeployed configuration change has been detected. Deploy staged changes then try again. */
  | 'UNDEPLOYED_CHANGES';

export type WatchSubscriptionVariables = Exact<{ [key: string]: never; }>;


export type WatchSubscription = { backupStatusChanged: { backupName: string, from: BackupStatus | null, to: BackupStatus | null } };

export type CreateMutationVariables = Exact<{
  input: CreateBackupInput;
}>;


export type CreateMutation = { createBackup:
    | { __typename: 'CreateBackupPayload', backup: { id: string } }
    | { __typename: 'RuleViolations', violations: Array<{ rule: RuleName }> }
   };

export type BackupByIdQueryVariables = Exact<{
  id: string;
}>;


export type BackupByIdQuery = { backup: { status: BackupStatus, sizeOnDisk: number | null, contentFilePath: string | null, isValid: boolean, job: { status: JobStatus, error: string | null } | null } | null };

export type CreateRestoreMutationVariables = Exact<{
  input: CreateRestoreInput;
}>;


export type CreateRestoreMutation = { createRestore:
    | { __typename: 'CreateRestorePayload', restore: { id: string } }
    | { __typename: 'RuleViolations', violations: Array<{ rule: RuleName }> }
   };

export type StartRestoreMutationVariables = Exact<{
  id: string;
}>;


export type StartRestoreMutation = { updateRestore:
    | { __typename: 'RuleViolations' }
    | { __typename: 'UpdateRestorePayload' }
   };

export type RestoreByIdQueryVariables = Exact<{
  id: string;
}>;


export type RestoreByIdQuery = { restore: { status: RestoreStatus, job: { error: string | null } | null } | null };

export class TypedDocumentString<TResult, TVariables>
  extends String
  implements DocumentTypeDecoration<TResult, TVariables>
{
  __apiType?: NonNullable<DocumentTypeDecoration<TResult, TVariables>['__apiType']>;
  private value: string;
  public __meta__?: Record<string, any> | undefined;

  constructor(value: string, __meta__?: Record<string, any> | undefined) {
    super(value);
    this.value = value;
    this.__meta__ = __meta__;
  }

  override toString(): string & DocumentTypeDecoration<TResult, TVariables> {
    return this.value;
  }
}

export const WatchDocument = new TypedDocumentString(`
    subscription Watch {
  backupStatusChanged {
    backupName
    from
    to
  }
}
    `) as unknown as TypedDocumentString<WatchSubscription, WatchSubscriptionVariables>;
export const CreateDocument = new TypedDocumentString(`
    mutation Create($input: CreateBackupInput!) {
  createBackup(input: $input) {
    __typename
    ... on CreateBackupPayload {
      backup {
        id
      }
    }
    ... on RuleViolations {
      violations {
        rule
      }
    }
  }
}
    `) as unknown as TypedDocumentString<CreateMutation, CreateMutationVariables>;
export const BackupByIdDocument = new TypedDocumentString(`
    query BackupById($id: ID!) {
  backup(id: $id) {
    status
    sizeOnDisk
    contentFilePath
    isValid
    job {
      status
      error
    }
  }
}
    `) as unknown as TypedDocumentString<BackupByIdQuery, BackupByIdQueryVariables>;
export const CreateRestoreDocument = new TypedDocumentString(`
    mutation CreateRestore($input: CreateRestoreInput!) {
  createRestore(input: $input) {
    __typename
    ... on CreateRestorePayload {
      restore {
        id
      }
    }
    ... on RuleViolations {
      violations {
        rule
      }
    }
  }
}
    `) as unknown as TypedDocumentString<CreateRestoreMutation, CreateRestoreMutationVariables>;
export const StartRestoreDocument = new TypedDocumentString(`
    mutation StartRestore($id: ID!) {
  updateRestore(input: {id: $id, status: REQUESTING}) {
    __typename
  }
}
    `) as unknown as TypedDocumentString<StartRestoreMutation, StartRestoreMutationVariables>;
export const RestoreByIdDocument = new TypedDocumentString(`
    query RestoreById($id: ID!) {
  restore(id: $id) {
    status
    job {
      error
    }
  }
}
    `) as unknown as TypedDocumentString<RestoreByIdQuery, RestoreByIdQueryVariables>;