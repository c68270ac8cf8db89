/**
 * Stage 1 of the rules: what the input alone shows. One schema for each input type, for the validation plugin;
 * an issue's message is the rule that it breaks.
 */
import { z } from 'zod';
import { isCron, isTimeZone } from './schedule.ts';
import { RuleViolationsError, violation, type MutationName, type RuleOf } from './rules.ts';
import type { BackupType, ContentGroup, RestoreStatus, ScheduleOperation } from './vocabulary.ts';

type Rules<M extends MutationName, Input> = readonly [rule: RuleOf<M>, field: keyof Input & string, isBroken: (input: Input) => boolean][];

/** A schema that reports every rule that the input breaks. */
const form = <M extends MutationName, Input>(mutation: M, rules: Rules<M, Input>) => z.custom<Input>().superRefine((input, context) => {
  for (const [rule, field, isBroken] of rules) {
    if (isBroken(input)) context.addIssue({ code: 'custom', path: [field], message: `${mutation}.${rule}` });
  }
});

/** Length in characters as a person counts them, not in UTF-16 units. */
const length = (text: string | null | undefined): number => (text == null ? 0 : [...text].length);
const isPast = (date: Date | null | undefined): boolean => date != null && date.getTime() <= Date.now();

const isName = (name: string): boolean => /^[A-Za-z0-9_.-]*$/.test(name);

interface ScheduleInput {
  name?: string | null; cron?: string | null; timeZone?: string | null; description?: string | null; passcode?: string | null;
  keepDays?: number | null; keepLast?: number | null;
}

const SCHEDULE_RULES: Rules<'createSchedule', ScheduleInput> & Rules<'updateSchedule', ScheduleInput> = [
  ['NAME_REQUIRED', 'name', ({ name }) => name === ''],
  ['NAME_TOO_LONG', 'name', ({ name }) => length(name) > 100],
  ['NAME_INVALID_CHARACTERS', 'name', ({ name }) => name != null && !isName(name)],
  ['DESCRIPTION_TOO_LONG', 'description', ({ description }) => length(description) > 255],
  ['PASSCODE_TOO_SHORT', 'passcode', ({ passcode }) => passcode != null && length(passcode) < 8],
  ['CRON_INVALID', 'cron', ({ cron }) => cron != null && !isCron(cron)],
  ['TIME_ZONE_INVALID', 'timeZone', ({ timeZone }) => timeZone != null && !isTimeZone(timeZone)],
  ['KEEP_DAYS_INVALID', 'keepDays', ({ keepDays }) => keepDays != null && (keepDays < 1 || keepDays > 36_500)],
  ['KEEP_LAST_INVALID', 'keepLast', ({ keepLast }) => keepLast != null && (keepLast < 1 || keepLast > 10_000)],
];

type CreateScheduleInput = ScheduleInput & {
  operation: ScheduleOperation; type?: BackupType | null; hostId?: string | null; namePattern?: string | null;
};
/** What makes no sense where nothing is backed up. */
const OF_BACKUPS = ['type', 'hostId', 'namePattern', 'description', 'passcode', 'keepDays', 'keepLast'] as const satisfies (keyof CreateScheduleInput)[];

export const createScheduleForm = form<'createSchedule', CreateScheduleInput>('createSchedule', [
  ...SCHEDULE_RULES,
  ['TYPE_REQUIRED', 'type', ({ operation, type }) => operation === 'BACKUP' && type == null],
  ['NOT_FOR_VERIFICATION', 'operation', (input) => input.operation === 'VERIFY' && OF_BACKUPS.some((name) => input[name] != null)],
]);

export const updateScheduleForm = form<'updateSchedule', ScheduleInput>('updateSchedule', SCHEDULE_RULES);

export const createBackupForm = form<'createBackup', {
  name: string; configurationId: string; description?: string | null; passcode?: string | null; retentionDate?: Date | null;
}>('createBackup', [
  ['NAME_REQUIRED', 'name', ({ name }) => name === ''],
  ['NAME_TOO_LONG', 'name', ({ name }) => length(name) > 100],
  ['NAME_INVALID_CHARACTERS', 'name', ({ name }) => name !== '' && !/^[A-Za-z0-9_.-]+$/.test(name)],
  ['CONFIGURATION_REQUIRED', 'configurationId', ({ configurationId }) => configurationId === ''],
  ['DESCRIPTION_TOO_LONG', 'description', ({ description }) => length(description) > 255],
  ['PASSCODE_TOO_SHORT', 'passcode', ({ passcode }) => passcode != null && length(passcode) < 8],
  ['RETENTION_DATE_IN_PAST', 'retentionDate', ({ retentionDate }) => isPast(retentionDate)],
]);

export const updateBackupForm = form<'updateBackup', { description?: string | null; retentionDate?: Date | null }>('updateBackup', [
  ['DESCRIPTION_TOO_LONG', 'description', ({ description }) => length(description) > 255],
  ['RETENTION_DATE_IN_PAST', 'retentionDate', ({ retentionDate }) => isPast(retentionDate)],
]);

/** The groups that are restored only together with DEPLOYMENT_CONFIG (1009). */
const NEED_DEPLOYMENT_CONFIG: readonly ContentGroup[] = ['INSTALLED_APPS_CONFIG', 'OFFENSES_DATA'];
const needsDeploymentConfig = (groups: readonly ContentGroup[]): boolean =>
  groups.some((group) => NEED_DEPLOYMENT_CONFIG.includes(group)) && !groups.includes('DEPLOYMENT_CONFIG');

export const createRestoreForm = form<'createRestore', { backupId: string; groups: readonly ContentGroup[] }>('createRestore', [
  ['BACKUP_ID_REQUIRED', 'backupId', ({ backupId }) => backupId === ''],
  ['GROUPS_REQUIRED', 'groups', ({ groups }) => groups.length === 0],
  ['DEPLOYMENT_CONFIG_REQUIRED', 'groups', ({ groups }) => needsDeploymentConfig(groups)],
]);

export const restorePlanForm = form<'restorePlan', { groups: readonly ContentGroup[] }>('restorePlan', [
  ['GROUPS_REQUIRED', 'groups', ({ groups }) => groups.length === 0],
  ['DEPLOYMENT_CONFIG_REQUIRED', 'groups', ({ groups }) => needsDeploymentConfig(groups)],
]);

export const drillRestoreForm = form<'drillRestore', { groups?: readonly ContentGroup[] | null }>('drillRestore', [
  ['GROUPS_REQUIRED', 'groups', ({ groups }) => groups?.length === 0],
]);

export const updateRestoreForm = form<'updateRestore', { status: RestoreStatus }>('updateRestore', [
  ['STATUS_NOT_REQUESTING', 'status', ({ status }) => status !== 'REQUESTING'],
]);

export const stageBackupConfigurationForm = form<'stageBackupConfiguration', { retentionPeriodDays?: number | null }>('stageBackupConfiguration', [
  ['RETENTION_PERIOD_INVALID', 'retentionPeriodDays', ({ retentionPeriodDays: days }) => days != null && (days < 1 || days > 36_500)],
]);

/** Turns what a form reports into the documented violations, in ascending code. */
export function violationsOf(issues: readonly { readonly message: string; readonly path?: readonly unknown[] | undefined }[]): RuleViolationsError {
  return new RuleViolationsError(issues.map(({ message, path }) => {
    const [mutation, rule] = message.split('.') as [MutationName, never];
    return violation(mutation, rule, String(path?.at(-1)));
  }).toSorted((a, b) => a.code - b.code));
}
