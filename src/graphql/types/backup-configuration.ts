import { stageBackupConfigurationForm } from '../../domain/forms.ts';
import { countConfigurations, hostsByNumber, listConfigurations } from '../../records/deployments.ts';
import type { RunLimits } from '../../domain/deployment.ts';
import type { ConfigurationRow } from '../../records/rows.ts';
import { stageBackupConfiguration } from '../../services/deployment.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import type { RequestContext } from '../context.ts';
import { BackupPriorityEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { readId } from '../ids.ts';
import { BackupConfiguration, Host, idOf, Node } from '../refs.ts';
import { neededColumns, reads } from '../selection.ts';

const BackupLimits = builder.objectRef<RunLimits>('BackupLimits').implement({
  description: 'How backups of one type are run, as the deployment file says.',
  fields: (t) => ({
    priority: t.expose('priority', { type: BackupPriorityEnum, nullable: true, description: 'How much they may hold up other work; null: as HIGH.' }),
    timeLimitMinutes: t.exposeFloat('timeLimitMinutes', { nullable: true, description: 'After how many minutes from its beginning, `before` hooks included, a backup that is not done ends FAILED; null: never.' }),
  }),
});

/** They are kept in the deployment's description alone. */
async function limitsOf({ deploymentId, isDeployed }: ConfigurationRow, type: 'config' | 'data', context: RequestContext): Promise<RunLimits> {
  const deployment = await context.loaders.record('Deployment', deploymentId, new Set(['deployed', 'staged']));
  return (isDeployed ? deployment?.deployed : deployment?.staged)?.backupConfiguration[type] ?? {};
}

BackupConfiguration.implement({
  description: 'How a deployment is backed up. The deployed one is in force; a staged one is listed beside it while it differs.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('BackupConfiguration') }),
    databaseId: t.field({ type: 'Long', extensions: reads('number'), description: "The vendor's configuration_id: 1 for the deployed one, 2 for the staged one.", resolve: ({ number }) => number }),
    retentionPeriodDays: t.exposeInt('retentionPeriodDays', { description: 'For how many days of 24 hours the backups of a schedule are kept that has no keepDays of its own.' }),
    dataBackupHosts: t.field({
      type: [Host], extensions: reads('deploymentId', 'dataBackupHosts'),
      description: 'The hosts configured for DATA backups (1014).',
      resolve: async ({ deploymentId, dataBackupHosts }, _args, context) => {
        const loader = context.loaders.batch('host', 'by number', (keys: readonly string[]) => hostsByNumber(context.db, keys));
        const hosts = await Promise.all(dataBackupHosts.map((number) => loader.load(`${deploymentId}:${number}`)));
        return hosts.filter((host) => host !== null);
      },
    }),
    configLimits: t.field({ type: BackupLimits, extensions: reads('deploymentId', 'isDeployed'), description: 'How CONFIG backups are run.', resolve: (row, _args, context) => limitsOf(row, 'config', context) }),
    dataLimits: t.field({ type: BackupLimits, extensions: reads('deploymentId', 'isDeployed'), description: 'How DATA backups are run.', resolve: (row, _args, context) => limitsOf(row, 'data', context) }),
    isDeployed: t.exposeBoolean('isDeployed', { description: 'Whether it is in force. A backup can only be made under a deployed one (1007).' }),
  }),
});

const BackupConfigurationConnection = connectionType(BackupConfiguration, 'BackupConfiguration', 'backup configurations');

builder.queryField('backupConfigurations', (t) => t.field({
  type: BackupConfigurationConnection, args: pageArguments(t.arg),
  description: 'The backup configurations: the deployed one and, while it differs, the staged one.',
  resolve: (_root, args, context, info) => connectionOf(args,
    (page) => listConfigurations(context.db, { page, columns: neededColumns(info, 'BackupConfiguration') }),
    () => countConfigurations(context.db),
  ),
}));

const StageBackupConfigurationInput = builder.inputType('StageBackupConfigurationInput', {
  description: 'What stageBackupConfiguration needs. What is left out stays as it is.',
  validate: stageBackupConfigurationForm,
  fields: (t) => ({
    id: t.id({ required: true, description: 'Which configuration: its global id, or its configuration_id (1007).' }),
    retentionPeriodDays: t.int({ description: 'For how many days the backups of a schedule are kept that has no keepDays of its own, 1 to 36500 (2013).' }),
    dataBackupHostIds: t.idList({ description: 'All hosts configured for DATA backups, by global ids or host_ids, in place of those before (1009, 1013).' }),
  }),
});

const StageBackupConfigurationPayload = builder.objectRef<{ configuration: ConfigurationRow }>('StageBackupConfigurationPayload').implement({
  description: 'The change was staged.',
  fields: (t) => ({
    configuration: t.field({ type: BackupConfiguration, description: 'The staged configuration; the deployed one where they no longer differ.', resolve: ({ configuration }) => configuration }),
  }),
});

builder.mutationField('stageBackupConfiguration', (t) => t.field({
  type: StageBackupConfigurationPayload, errors: orViolations('StageBackupConfigurationResult'),
  description: 'Stages a change; until it is deployed hasUndeployedChanges is true and createBackup is refused (1011).',
  args: { input: t.arg({ type: StageBackupConfigurationInput, required: true, description: 'Which configuration, and what changes.' }) },
  resolve: (_root, { input }, context) => change('stageBackupConfiguration', context, () => stageBackupConfiguration(context, readId('BackupConfiguration', input.id), {
    retentionDays: input.retentionPeriodDays ?? null,
    dataBackupHosts: input.dataBackupHostIds?.map((id) => readId('Host', id)) ?? null,
  })),
}));
