/**
 * restorePlan: what a restore would change. The console's worker finds out, since it alone sees the targets; the
 * answer is in its job.
 */
import { RuleCheck } from '../domain/rules.ts';
import type { ContentGroup } from '../domain/vocabulary.ts';
import { findBackup } from '../records/backups.ts';
import { countPlans } from '../records/checks.ts';
import { findConsole, lockDeployment } from '../records/deployments.ts';
import { changeJobStatus, findJob, insertJob } from '../records/jobs.ts';
import type { BackupRow, JobRow } from '../records/rows.ts';
import { openIdentityOf, type ServiceContext } from './context.ts';
import { judge } from './validity.ts';

/** So many wait or run at once for a deployment: each reads whole archives, and whoever asks may ask again and again. */
const LARGEST_NUMBER = 4;

/** The input, its form checked. */
export interface PlanRequest { backupId: number | null; groups: ContentGroup[]; passcode: string | null }

/** Queues a plan. The rules are those of createRestore and of its passcode. @returns null: there is no such backup. @throws RuleViolationsError */
export async function planRestore(context: ServiceContext, request: PlanRequest): Promise<{ backup: BackupRow; job: JobRow } | null> {
  // Opening the key takes about a second, which no transaction should last.
  const identity = await openIdentityOf(context, request.backupId, request.passcode);

  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('restorePlan');
    const found = request.backupId === null ? undefined : await findBackup(tx, request.backupId);
    const deployment = found === undefined ? undefined : await lockDeployment(tx, found.deploymentId);
    const backup = found === undefined ? undefined : await findBackup(tx, found.id, 'lock');
    if (backup === undefined || deployment === undefined) return null;
    if (backup.type !== 'CONFIG') throw rules.refusal('BACKUP_NOT_CONFIG', 'backupId');
    if (backup.status !== 'SUCCESS') throw rules.refusal('BACKUP_NOT_SUCCESSFUL', 'backupId');
    const verdict = judge(backup, deployment.deployed);
    rules.breaks(!verdict.isValid, 'BACKUP_NOT_VALID', 'backupId');
    rules.breaks(!verdict.isVersionCompatible, 'BACKUP_NOT_COMPATIBLE', 'backupId');
    rules.breaks(request.groups.some((group) => !backup.groups.includes(group)), 'GROUP_NOT_FOUND', 'groups');
    if (backup.recipient !== null) {
      rules.breaks(request.passcode === null, 'PASSCODE_REQUIRED', 'passcode');
      rules.breaks(request.passcode !== null && identity === null, 'PASSCODE_WRONG', 'passcode');
    }
    rules.done();
    // The deployment's lock makes the count hold until the commit.
    rules.breaks(await countPlans(tx, deployment.id) >= LARGEST_NUMBER, 'TOO_MANY_PLANS');
    rules.done();
    const console = await findConsole(tx, deployment.id);
    const job = await insertJob(tx, {
      deploymentId: deployment.id, hostId: console?.id ?? null, operation: 'PLAN', backupId: backup.id, groups: [...new Set(request.groups)],
      initiatedBy: context.principal.name, sealedIdentity: identity === null ? null : context.sealing.seal(identity),
    });
    return { backup, job };
  });
}

/** Stops a plan that nobody waits for any more. One that has ended stays as it is. */
export async function abandonPlan(context: Pick<ServiceContext, 'db'>, jobId: number): Promise<void> {
  await changeJobStatus(context.db, jobId, ['SUBMITTED', 'EXECUTING'], 'CANCELLING');
}

/** The job as it is now. */
export const readPlan = (context: Pick<ServiceContext, 'db'>, jobId: number): Promise<JobRow | undefined> => findJob(context.db, jobId);
