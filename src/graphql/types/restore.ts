import { createRestoreForm, updateRestoreForm } from '../../domain/forms.ts';
import { jobIdsOf } from '../../records/jobs.ts';
import { countRestores, listRestores, type RestoreFilter } from '../../records/restores.ts';
import type { JobRow, RestoreRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { createRestore, deleteRestore, requestRestore } from '../../services/restores.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { BackupTypeEnum, ContentGroupEnum, OrderDirectionEnum, RestoreOrderFieldEnum, RestoreStatusEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { globalId, readId, readOptionalId } from '../ids.ts';
import { Backup, Deployment, Host, idOf, Job, load, mustLoad, Node, Restore } from '../refs.ts';
import { neededColumns, reads } from '../selection.ts';
import { changesOf } from '../status-changes.ts';
import { RestoreStatusChangeConnection } from './restore-status-change.ts';

Restore.implement({
  description: 'A restore of groups of a CONFIG backup: recorded first, then requested. One at a time for each deployment.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('Restore') }),
    databaseId: t.field({ type: 'Long', extensions: reads(), description: "Its number, which the vendor calls id; unique among restores.", resolve: ({ id }) => id }),
    status: t.expose('status', { type: RestoreStatusEnum, description: 'Where it is in its life.' }),
    groups: t.expose('groups', { type: [ContentGroupEnum], description: 'What is restored.' }),
    host: t.field({ type: Host, nullable: true, extensions: reads('hostId'), description: 'The console, on which it runs; null where there was none when it was recorded.', resolve: ({ hostId }, _args, context, info) => load('Host', hostId, context, info) }),
    deployment: t.field({ type: Deployment, extensions: reads('deploymentId'), description: 'The deployment that it belongs to.', resolve: ({ deploymentId }, _args, context, info) => mustLoad('Deployment', deploymentId, context, info) }),
    backup: t.field({ type: Backup, nullable: true, extensions: reads('backupId'), description: 'The backup; null once the restore has ended, or the backup is gone.', resolve: ({ backupId }, _args, context, info) => load('Backup', backupId, context, info) }),
    backupName: t.exposeString('backupName', { description: "The backup's name, known for ever." }),
    backupVersion: t.exposeString('backupVersion', { description: 'The version that made the backup.' }),
    backupType: t.expose('backupType', { type: BackupTypeEnum, description: "The backup's type." }),
    backupFilename: t.exposeString('backupFilename', { nullable: true, description: "The name of the backup's directory in its store." }),
    isCrossDeploymentRestore: t.exposeBoolean('isCrossDeploymentRestore', { description: 'Whether the backup was made by another console; see Backup.origin.' }),
    initiatedBy: t.exposeString('initiatedBy', { description: 'Who recorded it; once it is requested, who requested it.' }),
    timeInitiated: t.expose('timeInitiated', { type: 'DateTime', nullable: true, description: 'When it was requested; null while it is PENDING.' }),
    timeCompleted: t.expose('timeCompleted', { type: 'DateTime', nullable: true, description: 'When it ended; null until then.' }),
    job: t.field({
      type: Job, nullable: true, extensions: reads(), description: 'The job that runs it, the last one if there were several; null until it is requested.',
      resolve: async ({ id }, _args, context, info) =>
        load('Job', await context.loaders.batch('job', 'of restore', (ids: readonly number[]) => jobIdsOf(context.db, 'RESTORE', ids)).load(id), context, info),
    }),
    transitions: t.field({
      type: RestoreStatusChangeConnection, extensions: reads(), args: pageArguments(t.arg),
      description: 'Its status changes, the oldest first. The cursors are those of the feed.',
      resolve: ({ id }, args, context) => changesOf('RESTORE', id, args, context),
    }),
  }),
});

const RestoreConnection = connectionType(Restore, 'Restore', 'restores');

const RestoreFilterInput = builder.inputType('RestoreFilter', {
  description: 'Which restores. Conditions are joined by "and"; a list matches any of its values, an empty list nothing.',
  fields: (t) => ({
    status: t.field({ type: [RestoreStatusEnum], description: 'In any of these statuses.' }),
    hostId: t.id({ description: 'Of this host: its global id, or its host_id.' }),
    deploymentId: t.id({ description: 'Of this deployment.' }),
    backupName: t.string({ description: 'Of the backup with exactly this name.' }),
  }),
});

const RestoreOrderInput = builder.inputType('RestoreOrder', {
  description: 'How a list of restores is sorted.',
  fields: (t) => ({
    field: t.field({ type: RestoreOrderFieldEnum, required: true, description: 'By what.' }),
    direction: t.field({ type: OrderDirectionEnum, required: true, description: 'Which end comes first.' }),
  }),
});

builder.queryFields((t) => ({
  restore: t.field({
    type: Restore, nullable: true,
    description: 'A restore; null where there is none.',
    args: { id: t.arg.id({ required: true, description: 'Its global id, or its number.' }) },
    resolve: (_root, { id }, context, info) => load('Restore', ownId(readId('Restore', id)), context, info),
  }),
  restores: t.field({
    type: RestoreConnection,
    description: 'Restores, the newest first unless another order is asked for.',
    args: {
      ...pageArguments(t.arg),
      filter: t.arg({ type: RestoreFilterInput, description: 'Which; all where it is left out.' }),
      orderBy: t.arg({ type: RestoreOrderInput, description: 'In which order; a cursor is valid for the order that it came from.' }),
    },
    resolve: (_root, { filter: input, orderBy, ...args }, context, info) => {
      const { hostId, deploymentId, ...plain } = input ?? {};
      const filter: RestoreFilter = { ...plain, host: readOptionalId('Host', hostId), deployment: readOptionalId('Deployment', deploymentId) };
      return connectionOf(args,
        (page) => listRestores(context.db, { filter, order: orderBy ?? null, page, columns: neededColumns(info, 'Restore') }),
        () => countRestores(context.db, filter),
      );
    },
  }),
}));

const CreateRestoreInput = builder.inputType('CreateRestoreInput', {
  description: 'What createRestore needs.',
  validate: createRestoreForm,
  fields: (t) => ({
    backupId: t.id({ required: true, description: 'Which backup: its global id, or its number (1002 to 1007).' }),
    groups: t.field({ type: [ContentGroupEnum], required: true, description: 'What to restore; the backup must hold it (1008, 1009, 1010).' }),
    idempotencyKey: t.string({ description: 'The same key and input from the same token, within 24 hours, answer the first result and record nothing (2006).' }),
  }),
});

const CreateRestorePayload = builder.objectRef<{ restore: RestoreRow }>('CreateRestorePayload').implement({
  description: 'The restore was recorded; nothing is touched yet.',
  fields: (t) => ({ restore: t.field({ type: Restore, description: 'The restore, PENDING. Set its status to REQUESTING to start it.', resolve: ({ restore }) => restore }) }),
});

const UpdateRestoreInput = builder.inputType('UpdateRestoreInput', {
  description: 'What updateRestore needs.',
  validate: updateRestoreForm,
  fields: (t) => ({
    id: t.id({ required: true, description: 'Which restore: its global id, or its number (1001, 1012).' }),
    status: t.field({ type: RestoreStatusEnum, required: true, description: 'Only REQUESTING is accepted (1013).' }),
    passcode: t.string({ description: "The backup's passcode, where it is encrypted (2002, 2007)." }),
    restoreSiteHostId: t.id({ description: 'The restore site host, by global id or host_id; it needs a QFLOW component (1030, 1031). Recorded, and handed to hooks.' }),
    restoreSiteEventCollectorId: t.id({ description: 'The restore site event collector, by global id or host_id (1032, 1033). Recorded, and handed to hooks.' }),
  }),
});

const UpdateRestorePayload = builder.objectRef<{ restore: RestoreRow; job: JobRow }>('UpdateRestorePayload').implement({
  description: 'The restore was requested.',
  fields: (t) => ({
    restore: t.field({ type: Restore, description: 'The restore, REQUESTING.', resolve: ({ restore }) => restore }),
    job: t.field({ type: Job, description: 'The RESTORE job; watch it for progress.', resolve: ({ job }) => job }),
  }),
});

const DeleteRestoreInput = builder.inputType('DeleteRestoreInput', {
  description: 'What deleteRestore needs.',
  fields: (t) => ({ id: t.id({ required: true, description: 'Which restore: its global id, or its number (1001, 1017).' }) }),
});

const DeleteRestorePayload = builder.objectRef<{ restoreId: number }>('DeleteRestorePayload').implement({
  description: 'The record was removed. A restore that has begun runs to its end all the same.',
  fields: (t) => ({ deletedId: t.id({ description: 'The global id of the record that is gone.', resolve: ({ restoreId }) => globalId('Restore', restoreId) }) }),
});

builder.mutationFields((t) => ({
  createRestore: t.field({
    type: CreateRestorePayload, errors: orViolations('CreateRestoreResult'),
    description: 'Records a restore of groups of a backup; nothing is touched until its status is set to REQUESTING.',
    args: { input: t.arg({ type: CreateRestoreInput, required: true, description: 'Which backup, and what of it.' }) },
    resolve: (_root, { input }, context) => change('createRestore', context, () => createRestore(context, {
      backupId: ownId(readId('Backup', input.backupId)), groups: input.groups, idempotencyKey: input.idempotencyKey ?? null,
    })),
  }),
  updateRestore: t.field({
    type: UpdateRestorePayload, errors: orViolations('UpdateRestoreResult'),
    description: 'Starts a PENDING restore, by setting its status to REQUESTING.',
    args: { input: t.arg({ type: UpdateRestoreInput, required: true, description: 'Which restore, and its passcode.' }) },
    resolve: (_root, { input }, context) => change('updateRestore', context, () => requestRestore(context, {
      restoreId: ownId(readId('Restore', input.id)), passcode: input.passcode ?? null,
      siteHost: readOptionalId('Host', input.restoreSiteHostId), siteEventCollector: readOptionalId('Host', input.restoreSiteEventCollectorId),
    })),
  }),
  deleteRestore: t.field({
    type: DeleteRestorePayload, errors: orViolations('DeleteRestoreResult'),
    description: 'Removes the record of an unfinished restore. One that has begun runs to its end, and until then no other starts (1016).',
    args: { input: t.arg({ type: DeleteRestoreInput, required: true, description: 'Which restore.' }) },
    resolve: (_root, { input }, context) => change('deleteRestore', context, () => deleteRestore(context, ownId(readId('Restore', input.id)))),
  }),
}));
