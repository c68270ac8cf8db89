import { createScheduleForm, updateScheduleForm } from '../../domain/forms.ts';
import type { ScheduleRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { createSchedule, deleteSchedule, updateSchedule, type ScheduleChanges } from '../../services/schedules.ts';
import { builder } from '../builder.ts';
import { BackupTypeEnum, ScheduleOperationEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { globalId, readId, readOptionalId } from '../ids.ts';
import { Schedule } from '../refs.ts';

const PATTERN = 'With {schedule}, {host}, {type}, {date} (2026-11-21) and {time} (023000), both in the time zone, and {n}, a number that rises; all names must obey 1002 to 1004 (2024). A name that is taken gets a suffix, such as -2.';

const CreateScheduleInput = builder.inputType('CreateScheduleInput', {
  description: 'What createSchedule needs.',
  validate: createScheduleForm,
  fields: (t) => ({
    name: t.string({ required: true, description: 'Unique among the schedules of the deployment (2021); up to 100 of ASCII letters, digits, "_", "-" and "." (1002 to 1004).' }),
    operation: t.field({ type: ScheduleOperationEnum, required: true, description: 'What it starts. VERIFY takes name, cron, time zone, store and pause alone (2026).' }),
    cron: t.string({ required: true, description: 'A cron expression of five fields, such as "0 2 * * *" (2022).' }),
    timeZone: t.string({ description: 'The IANA name of the time zone in which it is read; UTC where it is left out (2023).' }),
    paused: t.boolean({ description: 'Whether it begins paused; left out: it does not.' }),
    deploymentId: t.id({ description: 'Of which deployment; the default one where it is left out (2012).' }),
    type: t.field({ type: BackupTypeEnum, description: 'What the backups are to hold; needed for BACKUP (2025).' }),
    hostId: t.id({ description: 'Of which host, by global id or host_id; left out: of the console, whichever host that is at the time (1009, 1010, 1012, 1013, 1014).' }),
    storeName: t.string({ description: 'Into which store; left out: the default one at the time. For VERIFY: whose backups; left out: those of all stores (2001).' }),
    namePattern: t.string({ description: `How the backups are named; {schedule}-{date}-{time} where it is left out. ${PATTERN}` }),
    description: t.string({ description: 'The note that each backup gets, up to 255 characters (1008).' }),
    passcode: t.string({ description: 'Encrypts every backup; at least 8 characters (2003). Needed to restore them, and kept nowhere: only a key pair that it wraps is. Required where the store requires it (2002).' }),
    keepDays: t.int({ description: 'For how many days backups are kept, 1 to 36500; left out: for the retention period of the deployed backup configuration (2027).' }),
    keepLast: t.int({ description: 'How many of the newest good ones are kept however old they are, 1 to 10000; left out: one (2028).' }),
  }),
});

const UpdateScheduleInput = builder.inputType('UpdateScheduleInput', {
  description: 'What updateSchedule needs. A field left out stays as it is; null clears it, and changes nothing of name, cron, time zone and pause.',
  validate: updateScheduleForm,
  fields: (t) => ({
    id: t.id({ required: true, description: 'Which schedule: its global id, or its number (2020).' }),
    name: t.string({ description: 'The new name (1002 to 1004, 2021).' }),
    cron: t.string({ description: 'The new cron expression (2022).' }),
    timeZone: t.string({ description: 'The new time zone (2023).' }),
    paused: t.boolean({ description: 'Pauses or resumes it. What would have been run meanwhile is not made up for.' }),
    hostId: t.id({ description: 'The new host; null: the console (1009, 1010, 1012, 1013, 1014).' }),
    storeName: t.string({ description: 'The new store; null: the default one, or, for VERIFY, all (2001, 2002).' }),
    namePattern: t.string({ description: `The new name pattern; null: {schedule}-{date}-{time}. ${PATTERN}` }),
    description: t.string({ description: 'The new note, up to 255 characters (1008).' }),
    passcode: t.string({ description: 'A new passcode, for the backups from now on; those before keep theirs. null: they are not encrypted any more (2002, 2003).' }),
    keepDays: t.int({ description: 'For how many days backups are kept, those before included; null: for the configured retention period (2027).' }),
    keepLast: t.int({ description: 'How many of the newest are kept however old they are; null: one (2028).' }),
  }),
});

const DeleteScheduleInput = builder.inputType('DeleteScheduleInput', {
  description: 'What deleteSchedule needs.',
  fields: (t) => ({ id: t.id({ required: true, description: 'Which schedule: its global id, or its number (2020).' }) }),
});

/** The payload of a mutation that answers with a schedule. */
const payload = (name: string, description: string) => builder.objectRef<{ schedule: ScheduleRow }>(name).implement({
  description,
  fields: (t) => ({ schedule: t.field({ type: Schedule, description: 'The schedule as it is now.', resolve: ({ schedule }) => schedule }) }),
});
const CreateSchedulePayload = payload('CreateSchedulePayload', 'The schedule was made.');
const UpdateSchedulePayload = payload('UpdateSchedulePayload', 'The schedule was changed.');

const DeleteSchedulePayload = builder.objectRef<{ scheduleId: number }>('DeleteSchedulePayload').implement({
  description: 'The schedule was deleted.',
  fields: (t) => ({ deletedId: t.id({ description: 'The global id that it had.', resolve: ({ scheduleId }) => globalId('Schedule', scheduleId) }) }),
});

builder.mutationFields((t) => ({
  createSchedule: t.field({
    type: CreateSchedulePayload, errors: orViolations('CreateScheduleResult'),
    description: 'Makes a schedule. Each of its runs obeys the rules of createBackup; one that they refuse is tried again every minute until the next is due. Where the volume of the store is 75% full or more, scheduled backups are left out.',
    args: { input: t.arg({ type: CreateScheduleInput, required: true, description: 'What to start, and when.' }) },
    resolve: (_root, { input }, context) => change('createSchedule', context, () => createSchedule(context, {
      name: input.name, operation: input.operation, cron: input.cron, timeZone: input.timeZone ?? 'UTC', isPaused: input.paused ?? false,
      deployment: readOptionalId('Deployment', input.deploymentId), type: input.type ?? null, host: readOptionalId('Host', input.hostId),
      storeName: input.storeName ?? null, namePattern: input.namePattern ?? null, description: input.description ?? null,
      passcode: input.passcode ?? null, keepDays: input.keepDays ?? null, keepLast: input.keepLast ?? null,
    })),
  }),
  updateSchedule: t.field({
    type: UpdateSchedulePayload, errors: orViolations('UpdateScheduleResult'),
    description: 'Changes, pauses or resumes a schedule. What it has started goes on.',
    args: { input: t.arg({ type: UpdateScheduleInput, required: true, description: 'Which schedule, and what changes.' }) },
    resolve: (_root, { input }, context) => change('updateSchedule', context, () => {
      const { id, name, cron, timeZone, paused, hostId, ...clearable } = input;
      const changes: ScheduleChanges = {
        ...clearable,
        ...(name == null ? {} : { name }), ...(cron == null ? {} : { cron }), ...(timeZone == null ? {} : { timeZone }),
        ...(paused == null ? {} : { isPaused: paused }), ...(hostId === undefined ? {} : { host: readOptionalId('Host', hostId) }),
      };
      return updateSchedule(context, ownId(readId('Schedule', id)), changes);
    }),
  }),
  deleteSchedule: t.field({
    type: DeleteSchedulePayload, errors: orViolations('DeleteScheduleResult'),
    description: 'Deletes a schedule. Its backups stay, and retention treats them like those made on demand from then on; what it has started goes on.',
    args: { input: t.arg({ type: DeleteScheduleInput, required: true, description: 'Which schedule.' }) },
    resolve: (_root, { input }, context) => change('deleteSchedule', context, () => deleteSchedule(context, ownId(readId('Schedule', input.id)))),
  }),
}));
