/**
 * Staged and deployed configuration: the deployment file on start, the mutations that stage, and the deploy.
 */
import type { DeploymentSpec } from '../domain/deployment.ts';
import { RuleCheck } from '../domain/rules.ts';
import { differences, mergeFile, stageBackupConfiguration as withBackupConfiguration, stageHostStatus } from '../domain/staging.ts';
import type { HostStatus } from '../domain/vocabulary.ts';
import {
  createDeployment, findConfiguration, findHost, lockDeployment, lockDeploymentFile, setRebalancing as writeRebalancing,
  STAGED_CONFIGURATION, writeDeployment,
} from '../records/deployments.ts';
import type { ConfigurationRow, Db, DeploymentRow, HostRow, Pool } from '../records/rows.ts';
import { storesArielData } from './create-backup.ts';
import type { InputRef, ServiceContext } from './context.ts';

/** What the start made of the deployment file. */
export interface FileOutcome {
  firstDeploy: boolean;
  /** What is staged and not deployed, a line for each difference. */
  undeployed: string[];
  /** What this start deployed, likewise. */
  deployed: string[];
  spec: DeploymentSpec;
}

/**
 * Reads the deployment file into the database: the first time it is deployed, later what changed in it is staged,
 * or deployed too with `deployOnStart`.
 */
export async function applyDeploymentFile(db: Pool, file: DeploymentSpec, options: { deployOnStart: boolean }): Promise<FileOutcome> {
  return db.transaction(async (tx) => {
    await lockDeploymentFile(tx);
    const deployment = await lockDeployment(tx);
    if (deployment === undefined) {
      await createDeployment(tx, file);
      return { firstDeploy: true, undeployed: [], deployed: [], spec: file };
    }
    const staged = mergeFile(deployment.file, file, deployment.staged);
    const changes = differences(deployment.deployed, staged);
    const deployed = options.deployOnStart ? staged : deployment.deployed;
    await writeDeployment(tx, deployment.id, { file, staged, deployed });
    return {
      firstDeploy: false, spec: deployed,
      undeployed: options.deployOnStart ? [] : changes, deployed: options.deployOnStart ? changes : [],
    };
  });
}

const stage = (db: Db, deployment: DeploymentRow, staged: DeploymentSpec) =>
  writeDeployment(db, deployment.id, { file: deployment.file, staged, deployed: deployment.deployed });

/** Finds a host that can be staged: one that the staged description no longer has keeps its row for its old backups alone. */
async function findStagedHost(db: Db, { id, staged }: DeploymentRow, ref: InputRef): Promise<HostRow | undefined> {
  const host = ref === 'none' ? undefined : await findHost(db, id, ref);
  return staged.hosts.some((candidate) => candidate.id === host?.number) ? host : undefined;
}

/** Stages a host's status. @throws RuleViolationsError */
export async function stageHost(context: ServiceContext, ref: InputRef, status: HostStatus | null): Promise<{ deploymentId: number }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('stageHost');
    const deployment = await lockDeployment(tx);
    const host = deployment === undefined ? undefined : await findStagedHost(tx, deployment, ref);
    if (deployment === undefined || host === undefined) throw rules.refusal('HOST_NOT_FOUND', 'id');
    if (status !== null) await stage(tx, deployment, stageHostStatus(deployment.staged, host.number, status));
    return { deploymentId: deployment.id };
  });
}

/** Stages retention and data hosts; what is null stays. @throws RuleViolationsError */
export async function stageBackupConfiguration(
  context: ServiceContext, ref: InputRef, change: { retentionDays: number | null; dataBackupHosts: InputRef[] | null },
): Promise<{ configuration: ConfigurationRow }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('stageBackupConfiguration');
    const deployment = await lockDeployment(tx);
    const isKnown = deployment !== undefined && ref !== 'none' && await findConfiguration(tx, deployment.id, ref) !== undefined;
    rules.breaks(!isKnown, 'CONFIGURATION_NOT_FOUND', 'id');
    if (deployment === undefined) throw rules.failure();
    const found = await Promise.all((change.dataBackupHosts ?? []).map((host) => findStagedHost(tx, deployment, host)));
    rules.breaks(found.includes(undefined), 'HOST_NOT_FOUND', 'dataBackupHostIds');
    const hosts = found.filter((host) => host !== undefined);
    rules.breaks(hosts.some((host) => !storesArielData(host)), 'HOST_STORES_NO_DATA', 'dataBackupHostIds');
    rules.done();
    await stage(tx, deployment, withBackupConfiguration(deployment.staged, {
      ...(change.retentionDays === null ? {} : { retentionDays: change.retentionDays }),
      ...(change.dataBackupHosts === null ? {} : { dataBackupHosts: hosts.map((host) => host.number) }),
    }));
    // While the staged one differs it is a record of its own; otherwise the deployed one says the same.
    const configuration = await findConfiguration(tx, deployment.id, { by: 'number', number: STAGED_CONFIGURATION })
      ?? await findConfiguration(tx, deployment.id, { by: 'number', number: 1 });
    return { configuration: configuration as ConfigurationRow };
  });
}

/** Puts everything that is staged into force. @throws RuleViolationsError */
export async function deployStagedChanges(context: ServiceContext, id: InputRef | null): Promise<{ deploymentId: number }> {
  return context.db.transaction(async (tx) => {
    const deployment = await lockNamed(tx, id);
    if (deployment === undefined) throw new RuleCheck('deployStagedChanges').refusal('DEPLOYMENT_NOT_FOUND', 'deploymentId');
    await writeDeployment(tx, deployment.id, { file: deployment.file, staged: deployment.staged, deployed: deployment.staged });
    return { deploymentId: deployment.id };
  });
}

/** Declares or ends a rebalancing of data nodes; meanwhile no restore starts (1014). @throws RuleViolationsError */
export async function setRebalancing(context: ServiceContext, id: InputRef | null, isRebalancing: boolean): Promise<{ deploymentId: number }> {
  return context.db.transaction(async (tx) => {
    const deployment = await lockNamed(tx, id);
    if (deployment === undefined) throw new RuleCheck('setRebalancing').refusal('DEPLOYMENT_NOT_FOUND', 'deploymentId');
    await writeRebalancing(tx, deployment.id, isRebalancing);
    return { deploymentId: deployment.id };
  });
}

const lockNamed = async (tx: Db, id: InputRef | null): Promise<DeploymentRow | undefined> =>
  (id === 'none' ? undefined : lockDeployment(tx, id === null ? null : id.by === 'id' ? id.id : id.number));
