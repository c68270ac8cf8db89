import { consolesOf, countDeployments, countHosts, findDeployment, listDeployments, listHosts } from '../../records/deployments.ts';
import { deployStagedChanges, setRebalancing } from '../../services/deployment.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { DeploymentKindEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { readId, readOptionalId } from '../ids.ts';
import { Deployment, Host, idOf, load, mustLoad, Node } from '../refs.ts';
import { neededColumns, reads } from '../selection.ts';
import { HostConnection } from './host.ts';

Deployment.implement({
  description: 'A system whose configuration and data are backed up and restored: a console and its managed hosts.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('Deployment') }),
    name: t.exposeString('name', { description: 'Its name in the deployment file.' }),
    kind: t.expose('kind', { type: DeploymentKindEnum, description: 'Which system is behind it.' }),
    version: t.exposeString('version', { description: 'The deployed version. A backup can be restored onto the version that made it, and no other.' }),
    console: t.field({
      type: Host, nullable: true, extensions: reads(),
      description: 'The host on which CONFIG backups are made; null where the system behind it has none to show.',
      resolve: ({ id }, _args, context) => context.loaders.batch('console', 'of deployment', (ids: readonly number[]) => consolesOf(context.db, ids)).load(id),
    }),
    hosts: t.field({
      type: HostConnection, extensions: reads(), args: pageArguments(t.arg),
      description: 'Its hosts, in the order of their numbers.',
      resolve: ({ id }, args, context, info) => {
        // Fifty backups of one deployment read its hosts once.
        const columns = neededColumns(info, 'Host');
        return connectionOf(args,
          (page) => context.loaders.batch('hosts', JSON.stringify([page, [...columns].toSorted()]), (ids: readonly number[]) =>
            Promise.all(ids.map((deploymentId) => listHosts(context.db, { deploymentId, page, columns })))).load(id),
          () => context.loaders.batch('host count', '', (ids: readonly number[]) => Promise.all(ids.map((deploymentId) => countHosts(context.db, deploymentId)))).load(id),
        );
      },
    }),
    hasUndeployedChanges: t.exposeBoolean('hasUndeployedChanges', { description: 'Whether something is staged and not deployed, by a mutation or in the deployment file as the last start read it; meanwhile createBackup is refused (1011).' }),
    isRebalancing: t.exposeBoolean('isRebalancing', { description: 'Whether its data nodes are being rebalanced; meanwhile no restore starts (1014).' }),
  }),
});

const DeploymentConnection = connectionType(Deployment, 'Deployment', 'deployments');

builder.queryFields((t) => ({
  deployment: t.field({
    type: Deployment, nullable: true,
    description: 'A deployment, without id the default one; null where there is none.',
    args: { id: t.arg.id({ description: 'Its global id.' }) },
    resolve: async (_root, { id }, context, info) => {
      const ref = readOptionalId('Deployment', id);
      if (ref === 'none') return null;
      if (ref === null) return await findDeployment(context.db, null, neededColumns(info, 'Deployment')) ?? null;
      return load('Deployment', ref.by === 'id' ? ref.id : ref.number, context, info);
    },
  }),
  deployments: t.field({
    type: DeploymentConnection, args: pageArguments(t.arg),
    description: 'All deployments.',
    resolve: (_root, args, context, info) => connectionOf(args,
      (page) => listDeployments(context.db, { page, columns: neededColumns(info, 'Deployment') }),
      () => countDeployments(context.db),
    ),
  }),
}));

/** The payload of a mutation that answers with a deployment. */
const payload = (name: string, description: string) => builder.objectRef<{ deploymentId: number }>(name).implement({
  description,
  fields: (t) => ({
    deployment: t.field({ type: Deployment, description: 'The deployment as it is now.', resolve: ({ deploymentId }, _args, context, info) => mustLoad('Deployment', deploymentId, context, info) }),
  }),
});

const SetRebalancingInput = builder.inputType('SetRebalancingInput', {
  description: 'What setRebalancing needs.',
  fields: (t) => ({
    deploymentId: t.id({ description: 'Which deployment; the default one where it is left out (2012).' }),
    rebalancing: t.boolean({ required: true, description: 'Whether data nodes are being rebalanced.' }),
  }),
});

const DeployStagedChangesInput = builder.inputType('DeployStagedChangesInput', {
  description: 'What deployStagedChanges needs.',
  fields: (t) => ({ deploymentId: t.id({ description: 'Which deployment; the default one where it is left out (2012).' }) }),
});

const SetRebalancingPayload = payload('SetRebalancingPayload', 'The rebalancing was declared or ended.');
const DeployStagedChangesPayload = payload('DeployStagedChangesPayload', 'What was staged is in force.');

builder.mutationFields((t) => ({
  setRebalancing: t.field({
    type: SetRebalancingPayload, errors: orViolations('SetRebalancingResult'),
    description: "Declares, or ends, that the deployment's data nodes are being rebalanced; meanwhile no restore starts (1014).",
    args: { input: t.arg({ type: SetRebalancingInput, required: true, description: 'Which deployment, and whether.' }) },
    resolve: (_root, { input }, context) => change('setRebalancing', context, () =>
      setRebalancing(context, input.deploymentId == null ? null : readId('Deployment', input.deploymentId), input.rebalancing)),
  }),
  deployStagedChanges: t.field({
    type: DeployStagedChangesPayload, errors: orViolations('DeployStagedChangesResult'),
    description: 'Puts everything that is staged into force: what mutations have staged, and what had been edited in the deployment file when it was last read, at a start.',
    args: { input: t.arg({ type: DeployStagedChangesInput, required: true, description: 'Which deployment.' }) },
    resolve: (_root, { input }, context) => change('deployStagedChanges', context, () =>
      deployStagedChanges(context, readOptionalId('Deployment', input.deploymentId))),
  }),
}));
