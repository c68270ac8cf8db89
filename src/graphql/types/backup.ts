import { findBackupIdByName } from '../../records/backups.ts';
import { jobIdsOf } from '../../records/jobs.ts';
import type { BackupRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { judge, VALIDITY_COLUMNS } from '../../services/validity.ts';
import { builder } from '../builder.ts';
import type { RequestContext } from '../context.ts';
import { BackupStatusEnum, BackupTypeEnum, ContentGroupEnum, ValidityProblemEnum } from '../enums.ts';
import { pageArguments } from '../connections.ts';
import { readId, readOptionalId } from '../ids.ts';
import { Backup, BackupConfiguration, BackupStore, Deployment, Host, idOf, Job, load, mustLoad, Node, Schedule } from '../refs.ts';
import { reads } from '../selection.ts';
import { changesOf } from '../status-changes.ts';
import { BackupStatusChangeConnection } from './backup-status-change.ts';

/** What judging a backup reads. */
const JUDGED = reads(...VALIDITY_COLUMNS, 'deploymentId');

async function judged(backup: BackupRow, context: RequestContext) {
  const deployment = await context.loaders.record('Deployment', backup.deploymentId, new Set(['deployed']));
  if (deployment === undefined) throw new TypeError(`Deployment ${backup.deploymentId} is gone.`);
  return judge(backup, deployment.deployed);
}

Backup.implement({
  description: 'A backup: an archive of real content in a store, with a manifest. Anyone can list and extract it with tar, zstd and age.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('Backup') }),
    databaseId: t.field({ type: 'Long', extensions: reads(), description: "Its number, which the vendor calls id; unique among backups.", resolve: ({ id }) => id }),
    name: t.exposeString('name', { description: 'Its name, unique in the deployment.' }),
    description: t.exposeString('description', { nullable: true, description: 'What a person noted about it, or its schedule; null: nothing.' }),
    type: t.expose('type', { type: BackupTypeEnum, description: 'What it holds.' }),
    status: t.expose('status', { type: BackupStatusEnum, description: 'Where it is in its life. SUCCESS means read back and verified.' }),
    configuration: t.field({
      type: BackupConfiguration, nullable: true, extensions: reads('configurationId'),
      description: 'The configuration under which it was made; null for one found in a store that another console made, or whose manifest could not be read.',
      resolve: ({ configurationId }, _args, context, info) => load('BackupConfiguration', configurationId, context, info),
    }),
    host: t.field({
      type: Host, nullable: true, extensions: reads('hostId'),
      description: 'The host that it is of; null for one found in a store, made on a host not known here.',
      resolve: ({ hostId }, _args, context, info) => load('Host', hostId, context, info),
    }),
    deployment: t.field({ type: Deployment, extensions: reads('deploymentId'), description: 'The deployment that it belongs to.', resolve: ({ deploymentId }, _args, context, info) => mustLoad('Deployment', deploymentId, context, info) }),
    store: t.field({ type: BackupStore, extensions: reads('storeId'), description: 'Where it is kept.', resolve: ({ storeId }, _args, context, info) => mustLoad('BackupStore', storeId, context, info) }),
    version: t.exposeString('version', { description: 'The version that made it; empty where it was found damaged and this is not known.' }),
    buildVersion: t.exposeString('buildVersion', { nullable: true, description: 'The build that made it, where known.' }),
    timeInitiated: t.expose('timeInitiated', { type: 'DateTime', description: 'When it was asked for.' }),
    timeCompleted: t.expose('timeCompleted', { type: 'DateTime', nullable: true, description: 'When it ended, in success or failure; null until then. Of one that was found in a store: when its last archive was written, null where that is not known.' }),
    initiatedBy: t.exposeString('initiatedBy', { description: 'Who asked for it: the name of the token, or "schedule" and the name of the schedule. Empty where it was found damaged and this is not known.' }),
    unreadableFiles: t.exposeStringList('unreadableFiles', { description: 'Files that it lacks or does not hold whole, each with the reason: they could not be read, changed while they were read or vanished, and their source lets that pass. At most the first thousand of a source, then how many more.' }),
    sizeOnDisk: t.expose('sizeOnDisk', { type: 'Long', nullable: true, description: 'Bytes: the sizes of its files added up, manifest included; null until known.' }),
    sizeAdded: t.expose('sizeAdded', { type: 'Long', nullable: true, description: 'Bytes that it has added to its store: less than `sizeOnDisk` where a DATA backup shares unchanged files with an earlier one. What deleting it frees depends on which others share them. Null until known, and for one that was found in a store.' }),
    contentFilePath: t.exposeString('contentFilePath', { nullable: true, description: 'Where it lies: the path of its directory, or an s3 address. null until it is there.' }),
    groups: t.expose('groups', { type: [ContentGroupEnum], description: 'The content groups that a CONFIG backup holds, which a restore can ask for; empty for DATA.' }),
    isEncrypted: t.boolean({ extensions: reads('recipient'), description: 'Whether a passcode is needed to restore it.', resolve: ({ recipient }) => recipient !== null }),
    isValid: t.boolean({ extensions: JUDGED, description: 'Whether it can be restored here, its version apart (isVersionCompatible): judged by the deployed configuration and the last reading of its files. false, without problems, until it has ended.', resolve: async (backup, _args, context) => (await judged(backup, context)).isValid }),
    validityProblems: t.field({ type: [ValidityProblemEnum], extensions: JUDGED, description: 'Every reason why it is not valid; empty where it is, and until it has ended.', resolve: async (backup, _args, context) => (await judged(backup, context)).validityProblems }),
    isVersionCompatible: t.boolean({ extensions: JUDGED, description: "Whether its version is the one that is deployed now, without which it cannot be restored (1007).", resolve: async (backup, _args, context) => (await judged(backup, context)).isVersionCompatible }),
    retentionDate: t.expose('retentionDate', { type: 'DateTime', nullable: true, description: 'After it the backup is cleaned up, and not before; null: one made on demand is kept, and one made by a schedule is kept by the rules of that. `retentionPreview` says what happens.' }),
    isKept: t.exposeBoolean('isKept', { description: 'Whether it is pinned: retention never removes it, whatever its age or retention date.' }),
    schedule: t.field({ type: Schedule, nullable: true, extensions: reads('scheduleId'), description: 'The schedule that made it; null for one made on demand, and where the schedule has been deleted.', resolve: ({ scheduleId }, _args, context, info) => load('Schedule', scheduleId, context, info) }),
    job: t.field({
      type: Job, nullable: true, extensions: reads(),
      description: 'The job that made it; its `error` says why a backup FAILED. null for one that was found in a store.',
      resolve: async ({ id }, _args, context, info) =>
        load('Job', await context.loaders.batch('job', 'of backup', (ids: readonly number[]) => jobIdsOf(context.db, 'BACKUP', ids)).load(id), context, info),
    }),
    transitions: t.field({
      type: BackupStatusChangeConnection, extensions: reads(), args: pageArguments(t.arg),
      description: 'Its status changes, the oldest first. The cursors are those of the feed.',
      resolve: ({ id }, args, context) => changesOf('BACKUP', id, args, context),
    }),
  }),
});

builder.queryFields((t) => ({
  backup: t.field({
    type: Backup, nullable: true,
    description: 'A backup; null where there is none.',
    args: { id: t.arg.id({ required: true, description: 'Its global id, or its number.' }) },
    resolve: (_root, { id }, context, info) => load('Backup', ownId(readId('Backup', id)), context, info),
  }),
  backupByName: t.field({
    type: Backup, nullable: true,
    description: 'A backup by its name, which is unique in a deployment; null where there is none.',
    args: {
      name: t.arg.string({ required: true, description: 'Its whole name, as it is written.' }),
      deploymentId: t.arg.id({ description: 'Of which deployment; the default one where it is left out.' }),
    },
    resolve: async (_root, { name, deploymentId }, context, info) => {
      const deployment = readOptionalId('Deployment', deploymentId);
      return deployment === 'none' ? null : load('Backup', await findBackupIdByName(context.db, name, ownId(deployment)), context, info);
    },
  }),
}));
