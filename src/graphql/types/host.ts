import { countHosts, listHosts } from '../../records/deployments.ts';
import { WORKER_ALIVE_SECONDS, workersOf, type HostWorker } from '../../records/workers.ts';
import { storesArielData } from '../../services/create-backup.ts';
import { stageHost } from '../../services/deployment.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { HostComponentEnum, HostStatusEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { readId } from '../ids.ts';
import { Deployment, Host, idOf, mustLoad, Node } from '../refs.ts';
import { neededColumns, reads } from '../selection.ts';

const HostWorkerType = builder.objectRef<HostWorker>('HostWorker').implement({
  description: 'The worker that does the jobs of a host.',
  fields: (t) => ({
    machine: t.exposeString('machine', { description: 'The name of the machine that it runs on.' }),
    timeStarted: t.expose('timeStarted', { type: 'DateTime', description: 'When it started.' }),
    timeSeen: t.expose('timeSeen', { type: 'DateTime', description: 'When it last gave a sign of life; a running one does so every few seconds.' }),
    isOnline: t.exposeBoolean('isOnline', { description: `Whether it is there: it has given a sign of life within the last ${WORKER_ALIVE_SECONDS} seconds.` }),
  }),
});

Host.implement({
  description: 'A machine of a deployment, as it is deployed.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('Host') }),
    databaseId: t.field({ type: 'Long', extensions: reads('number'), description: "The vendor's host_id, unique in the deployment.", resolve: ({ number }) => number }),
    hostname: t.exposeString('hostname', { description: 'Its host name.' }),
    isConsole: t.exposeBoolean('isConsole', { description: 'Whether it is the console: the one host on which CONFIG backups are made (1012).' }),
    status: t.expose('status', { type: HostStatusEnum, description: 'Where it is in its life; only an ACTIVE host is backed up (1010).' }),
    components: t.expose('components', { type: [HostComponentEnum], description: 'What runs on it, which decides what it can be asked for (1013, 1030, 1032).' }),
    storesArielData: t.boolean({ extensions: reads('components'), description: 'Whether it stores ariel data, which a DATA backup needs (1013).', resolve: storesArielData }),
    version: t.exposeString('version', { description: "The version of what runs on it; the deployment's, where the deployment file says nothing else." }),
    worker: t.field({
      type: HostWorkerType, nullable: true, extensions: reads(),
      description: 'The worker that last worked for it; null where none has in the last day, or it was stopped in order. Without one its jobs wait.',
      resolve: ({ id }, _args, context) => context.loaders.batch('host-worker', '', (ids: readonly number[]) => workersOf(context.db, ids)).load(id),
    }),
    deployment: t.field({ type: Deployment, extensions: reads('deploymentId'), description: 'The deployment that it belongs to.', resolve: ({ deploymentId }, _args, context, info) => mustLoad('Deployment', deploymentId, context, info) }),
  }),
});

export const HostConnection = connectionType(Host, 'Host', 'hosts');

builder.queryField('hosts', (t) => t.field({
  type: HostConnection, args: pageArguments(t.arg),
  description: 'The hosts of all deployments, in the order of their numbers.',
  resolve: (_root, args, context, info) => connectionOf(args,
    (page) => listHosts(context.db, { deploymentId: null, page, columns: neededColumns(info, 'Host') }),
    () => countHosts(context.db, null),
  ),
}));

const StageHostInput = builder.inputType('StageHostInput', {
  description: 'What stageHost needs.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'Which host: its global id, or its host_id (1009).' }),
    status: t.field({ type: HostStatusEnum, description: 'The status that it has once it is deployed; left out: as it is.' }),
  }),
});

const StageHostPayload = builder.objectRef<{ deploymentId: number }>('StageHostPayload').implement({
  description: 'The change was staged. The host shows it once it is deployed.',
  fields: (t) => ({
    deployment: t.field({ type: Deployment, description: 'The deployment; it tells whether changes wait to be deployed.', resolve: ({ deploymentId }, _args, context, info) => mustLoad('Deployment', deploymentId, context, info) }),
  }),
});

builder.mutationField('stageHost', (t) => t.field({
  type: StageHostPayload, errors: orViolations('StageHostResult'),
  description: 'Stages a change; until it is deployed hasUndeployedChanges is true and createBackup is refused (1011).',
  args: { input: t.arg({ type: StageHostInput, required: true, description: 'Which host, and what changes.' }) },
  resolve: (_root, { input }, context) => change('stageHost', context, () => stageHost(context, readId('Host', input.id), input.status ?? null)),
}));
