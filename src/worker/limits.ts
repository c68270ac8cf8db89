/**
 * Backup priorities and time limits, as the deployment configures them for each type of backup. Source: QRadar's
 * backup priority and backup time limit.
 */
import type { DeploymentSpec, RunLimits } from '../domain/deployment.ts';
import { GatewayError } from '../domain/errors.ts';
import type { BackupType } from '../domain/vocabulary.ts';
import { hasIonice } from '../engine/index.ts';
import { secondsSinceStart } from '../records/jobs.ts';
import type { WorkerContext } from './context.ts';
import type { Run } from './run.ts';

const keyOf = (type: BackupType): 'config' | 'data' => (type === 'CONFIG' ? 'config' : 'data');

/** How backups of a type are run. */
export const limitsOf = (deployed: DeploymentSpec, type: BackupType): RunLimits => deployed.backupConfiguration[keyOf(type)] ?? {};

/**
 * Does the work of a backup and gives it up once the job's time is over. It is counted from the job's beginning, by
 * the database's clock for earlier attempts and from here on by one that nobody can move.
 */
export async function withinTimeLimit<T>(context: WorkerContext, run: Run, type: BackupType, minutes: number | undefined, work: () => Promise<T>): Promise<T> {
  if (minutes === undefined) return work();
  const left = minutes * 60 - await secondsSinceStart(context.db, run.hold);
  const timer = setTimeout(() => run.giveUp(new GatewayError('TIME_LIMIT',
    `The backup took longer than its limit of ${minutes} ${minutes === 1 ? 'minute' : 'minutes'}, so it was given up and removed.`,
    `Raise backupConfiguration.${keyOf(type)}.timeLimitMinutes in the deployment file and deploy, or leave out what need not be backed up.`)), Math.max(0, left) * 1_000);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
  }
}

let isIoniceLookedFor = false;

/** Says once in the log where this system can't do all that a LOW priority means. */
export async function checkPriority(context: WorkerContext, { priority }: RunLimits): Promise<void> {
  if (priority !== 'LOW' || isIoniceLookedFor) return;
  isIoniceLookedFor = true;
  if (!await hasIonice()) context.log.info('there is no ionice on the PATH: backups of LOW priority have the lowest niceness, and no I/O class of their own');
}
