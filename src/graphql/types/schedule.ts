import { countSchedules, listSchedules } from '../../records/schedules.ts';
import { nextRuns } from '../../domain/schedule.ts';
import { PageError } from '../../records/page.ts';
import { ownId } from '../../services/context.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { BackupTypeEnum, ScheduleOperationEnum, ScheduleOutcomeEnum } from '../enums.ts';
import { readId } from '../ids.ts';
import { BackupStore, Deployment, Host, idOf, load, mustLoad, Node, Schedule } from '../refs.ts';
import { neededColumns, reads } from '../selection.ts';

/** As many runs as anybody plots. */
const MOST_RUNS = 100;

Schedule.implement({
  description: 'What starts by the clock: backups, or verifications. A run that was missed, because nothing ran at the time, is made up for once.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('Schedule') }),
    databaseId: t.field({ type: 'Long', extensions: reads(), description: 'Its number.', resolve: ({ id }) => id }),
    deployment: t.field({ type: Deployment, extensions: reads('deploymentId'), description: 'The deployment that it belongs to.', resolve: ({ deploymentId }, _args, context, info) => mustLoad('Deployment', deploymentId, context, info) }),
    name: t.exposeString('name', { description: 'Its name, unique among the schedules of the deployment. What it starts shows "schedule" and this as `initiatedBy`.' }),
    operation: t.expose('operation', { type: ScheduleOperationEnum, description: 'What it starts.' }),
    cron: t.exposeString('cron', { description: 'When: a cron expression of five fields (minute, hour, day of month, month, day of week), read in `timeZone`.' }),
    timeZone: t.exposeString('timeZone', { description: 'The IANA name of the time zone in which `cron` is read.' }),
    isPaused: t.exposeBoolean('isPaused', { description: 'Whether it starts nothing for the time being.' }),
    nextRun: t.expose('nextRun', { type: 'DateTime', nullable: true, description: 'When it is run next, or a refused run is tried again; null while it is paused.' }),
    upcomingRuns: t.field({
      type: ['DateTime'], extensions: reads('cron', 'timeZone', 'isPaused'),
      description: 'The regular runs from now on, as the time zone\'s clock changes have them; empty while it is paused.',
      args: { first: t.arg.int({ defaultValue: 5, description: 'How many, 0 to 100.' }) },
      resolve: (schedule, { first }) => {
        const count = first ?? 5;
        if (count < 0 || count > MOST_RUNS) throw new PageError('BAD_USER_INPUT', `The argument 'first' is ${count}.`, `Ask for 0 to ${MOST_RUNS}.`);
        return schedule.isPaused ? [] : nextRuns(schedule, new Date(), count);
      },
    }),
    lastRun: t.expose('lastRun', { type: 'DateTime', nullable: true, description: 'When it was last run, or tried; null: never.' }),
    lastOutcome: t.expose('lastOutcome', { type: ScheduleOutcomeEnum, nullable: true, description: 'What became of that; null: it was never run.' }),
    lastReason: t.exposeString('lastReason', { nullable: true, description: 'Why it was not started, in words; null where it was.' }),
    type: t.expose('type', { type: BackupTypeEnum, nullable: true, description: 'What its backups hold; null where it verifies.' }),
    host: t.field({ type: Host, nullable: true, extensions: reads('hostId'), description: 'Of which host its backups are; null: of the console, whichever host that is at the time.', resolve: ({ hostId }, _args, context, info) => load('Host', hostId, context, info) }),
    store: t.field({ type: BackupStore, nullable: true, extensions: reads('storeId'), description: 'Into which store its backups go, null: the default one at the time; or whose backups it verifies, null: those of all stores.', resolve: ({ storeId }, _args, context, info) => load('BackupStore', storeId, context, info) }),
    namePattern: t.exposeString('namePattern', { nullable: true, description: 'How its backups are named; null where it verifies. See createSchedule.' }),
    description: t.exposeString('description', { nullable: true, description: 'The note that each of its backups gets.' }),
    isEncrypted: t.boolean({ extensions: reads('recipient'), description: 'Whether its backups are encrypted. All that are made with one passcode share one key pair; the passcode itself is kept nowhere.', resolve: ({ recipient }) => recipient !== null }),
    keepDays: t.exposeInt('keepDays', { nullable: true, description: 'For how many days of 24 hours its backups are kept; null: for the retention period of the deployed backup configuration.' }),
    keepLast: t.exposeInt('keepLast', { nullable: true, description: 'How many of its newest good backups are kept however old they are; null: one. A least number: younger ones are kept besides.' }),
    createdBy: t.exposeString('createdBy', { description: 'Who made it.' }),
    timeCreated: t.expose('timeCreated', { type: 'DateTime', description: 'When it was made.' }),
  }),
});

const ScheduleConnection = connectionType(Schedule, 'Schedule', 'schedules');

builder.queryFields((t) => ({
  schedule: t.field({
    type: Schedule, nullable: true,
    description: 'A schedule; null where there is none.',
    args: { id: t.arg.id({ required: true, description: 'Its global id, or its number.' }) },
    resolve: (_root, { id }, context, info) => load('Schedule', ownId(readId('Schedule', id)), context, info),
  }),
  schedules: t.field({
    type: ScheduleConnection, args: pageArguments(t.arg),
    description: 'All schedules, in the order of their making.',
    resolve: (_root, args, context, info) => connectionOf(args,
      (page) => listSchedules(context.db, { page, columns: neededColumns(info, 'Schedule') }),
      () => countSchedules(context.db),
    ),
  }),
}));
