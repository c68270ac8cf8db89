/**
 * Retention: what it would do, the job that does it, and each removal by the rules of deleteBackup.
 */
import { decideRetention, type RetentionDecision } from '../domain/retention.ts';
import { RuleCheck, RuleViolationsError } from '../domain/rules.ts';
import { findBackup } from '../records/backups.ts';
import { findDeployment, lockDeployment } from '../records/deployments.ts';
import { insertJob, type Hold } from '../records/jobs.ts';
import {
  findRetentionJob, noteRemoval, retentionFacts, retentionPolicies, type NamedFacts, type RetentionScope,
} from '../records/retention.ts';
import type { Db, DeploymentRow, JobRow } from '../records/rows.ts';
import { databaseTime } from '../records/schedules.ts';
import { deleteLockedBackup } from './change-backup.ts';
import { ownId, type InputRef, type ServiceContext } from './context.ts';

/** What the jobs and deletions that retention starts by itself show as `initiatedBy`. */
const RETENTION = { name: 'retention', tokenId: 'retention' };

/** What retention makes of a deployment's backups now, by the database's clock; the newest backup first. */
export async function retentionDecisions(db: Db, deployment: Pick<DeploymentRow, 'id' | 'deployed'>, scope: RetentionScope): Promise<RetentionDecision<NamedFacts>[]> {
  const facts = await retentionFacts(db, deployment.id, scope);
  const policies = await retentionPolicies(db, deployment.id);
  return decideRetention(facts, policies, { now: await databaseTime(db), periodDays: deployment.deployed.backupConfiguration.retentionDays });
}

/** What retention would remove now, the oldest first; nothing is changed. */
async function removableBackups(db: Db, deploymentId: number): Promise<NamedFacts[]> {
  const deployment = await findDeployment(db, deploymentId);
  if (deployment === undefined) return [];
  const decisions = await retentionDecisions(db, deployment, 'removable');
  return decisions.filter(({ isRemoved }) => isRemoved).map(({ backup }) => backup).reverse();
}

/** Queues a RETENTION job, or answers the one of the deployment that waits or runs. @throws RuleViolationsError */
export async function applyRetention(context: ServiceContext, ref: InputRef | null): Promise<{ job: JobRow }> {
  return context.db.transaction(async (tx) => {
    const deployment = ref === 'none' ? undefined : await lockDeployment(tx, ownId(ref));
    if (deployment === undefined) throw new RuleCheck('applyRetention').refusal('DEPLOYMENT_NOT_FOUND', 'deploymentId');
    return { job: await queueJob(tx, deployment.id, context.principal.name) };
  });
}

/** One at a time: the deployment is locked. */
const queueJob = async (tx: Db, deploymentId: number, initiatedBy: string): Promise<JobRow> =>
  await findRetentionJob(tx, deploymentId) ?? insertJob(tx, { deploymentId, hostId: null, operation: 'RETENTION', initiatedBy });

/** What became of one removal: done, not wanted (any more), or not allowed, since the job is no longer this worker's. */
export type RemovalOutcome = 'REMOVED' | 'KEPT' | 'JOB_LOST';

/** What the worker needs of retention: it knows no use case, so that these are handed to it. */
export interface RetentionTasks {
  /** Queues a RETENTION job where there is something to remove. */
  queueRetention(): Promise<void>;
  /** What there is to remove, the oldest first, by `backups.id`. */
  removableBackups(deploymentId: number): Promise<number[]>;
  /**
   * Removes one backup on behalf of a RETENTION job, if it is still to be removed. In one transaction: a restore that
   * is requested or a backup that is pinned in the same moment comes before it, or after it and finds no backup.
   */
  removeBackup(deploymentId: number, backupId: number, hold: Hold): Promise<RemovalOutcome>;
}

export function retentionTasks(shared: Omit<ServiceContext, 'principal'>): RetentionTasks {
  const context: ServiceContext = { ...shared, principal: RETENTION };
  const { db } = shared;
  return {
    async queueRetention() {
      const deployment = await findDeployment(db);
      if (deployment === undefined || (await removableBackups(db, deployment.id)).length === 0) return;
      await db.transaction(async (tx) => {
        await lockDeployment(tx, deployment.id);
        await queueJob(tx, deployment.id, RETENTION.name);
      });
    },
    removableBackups: async (deploymentId) => (await removableBackups(db, deploymentId)).map(({ id }) => id),
    async removeBackup(deploymentId, backupId, hold) {
      try {
        return await db.transaction((tx) => removeOne(tx, context, deploymentId, backupId, hold));
      } catch (error) {
        if (error instanceof JobLost) return 'JOB_LOST';
        // Somebody else was faster: it is being deleted, or restored. Whatever it is, it is not removed now.
        if (error instanceof RuleViolationsError) return 'KEPT';
        throw error;
      }
    },
  };
}

/** Rolls a removal back that has no job any more; never seen outside. */
class JobLost extends Error {}

async function removeOne(tx: Db, context: ServiceContext, deploymentId: number, backupId: number, hold: Hold): Promise<RemovalOutcome> {
  // The deployment's lock keeps restores, other deletions and new backups away; the backup's, its pin and its dates.
  const deployment = await lockDeployment(tx, deploymentId);
  const backup = await findBackup(tx, backupId, 'lock');
  if (deployment === undefined || backup === undefined) return 'KEPT';
  const decisions = await retentionDecisions(tx, deployment, { backupId, scheduleId: backup.scheduleId });
  const decision = decisions.find((candidate) => candidate.backup.id === backupId);
  if (decision === undefined || !decision.isRemoved) return 'KEPT';
  await deleteLockedBackup(tx, context, backupId, [`Removed by retention: ${decision.reason}.`]);
  if (!await noteRemoval(tx, hold, `${backup.name}: ${decision.reason}.`)) throw new JobLost();
  return 'REMOVED';
}
