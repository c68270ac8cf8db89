import { countBackups, listBackups, type BackupFilter } from '../../records/backups.ts';
import { ownId } from '../../services/context.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { BackupOrderFieldEnum, BackupStatusEnum, BackupTypeEnum, OrderDirectionEnum } from '../enums.ts';
import { readOptionalId } from '../ids.ts';
import { Backup } from '../refs.ts';
import { neededColumns } from '../selection.ts';

const BackupConnection = connectionType(Backup, 'Backup', 'backups');

const BackupFilterInput = builder.inputType('BackupFilter', {
  description: 'Which backups. Conditions are joined by "and"; a list matches any of its values, an empty list nothing.',
  fields: (t) => ({
    status: t.field({ type: [BackupStatusEnum], description: 'In any of these statuses.' }),
    type: t.field({ type: [BackupTypeEnum], description: 'Of any of these types.' }),
    hostId: t.id({ description: 'Of this host: its global id, or its host_id.' }),
    deploymentId: t.id({ description: 'Of this deployment.' }),
    scheduleId: t.id({ description: 'Made by this schedule.' }),
    nameContains: t.string({ description: 'With this text anywhere in the name; capitals do not matter, and no character has a special meaning.' }),
    initiatedBy: t.string({ description: 'Started by exactly this user.' }),
    initiatedFrom: t.field({ type: 'DateTime', description: 'Started then or later.' }),
    initiatedUntil: t.field({ type: 'DateTime', description: 'Started before then.' }),
  }),
});

const BackupOrderInput = builder.inputType('BackupOrder', {
  description: 'How a list of backups is sorted.',
  fields: (t) => ({
    field: t.field({ type: BackupOrderFieldEnum, required: true, description: 'By what.' }),
    direction: t.field({ type: OrderDirectionEnum, required: true, description: 'Which end comes first.' }),
  }),
});

builder.queryField('backups', (t) => t.field({
  type: BackupConnection,
  description: 'Backups, the newest first unless another order is asked for.',
  args: {
    ...pageArguments(t.arg),
    filter: t.arg({ type: BackupFilterInput, description: 'Which; all where it is left out.' }),
    orderBy: t.arg({ type: BackupOrderInput, description: 'In which order; a cursor is valid for the order that it came from.' }),
  },
  resolve: (_root, { filter: input, orderBy, ...args }, context, info) => {
    const { hostId, deploymentId, scheduleId, ...plain } = input ?? {};
    const schedule = readOptionalId('Schedule', scheduleId);
    const filter: BackupFilter = { ...plain, scheduleId: schedule === null ? null : ownId(schedule) ?? 'none', host: readOptionalId('Host', hostId), deployment: readOptionalId('Deployment', deploymentId) };
    return connectionOf(args,
      (page) => listBackups(context.db, { filter, order: orderBy ?? null, page, columns: neededColumns(info, 'Backup') }),
      () => countBackups(context.db, filter),
    );
  },
}));
