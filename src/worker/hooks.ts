/**
 * Hooks: the programs that a host declares around its backups and restores, such as those that stop and start a
 * service. `before` hooks run once the job is begun and before anything is read or touched; where one fails, the work
 * does not begin. `after` hooks run however the work ended, before its last status is written, so that whoever sees
 * that status finds the services up again.
 */
import type { HookSpec, HooksSpec, HostSpec } from '../domain/deployment.ts';
import { GatewayError } from '../domain/errors.ts';
import { findBackup } from '../records/backups.ts';
import { findDeployment, placesOf } from '../records/deployments.ts';
import { findJob } from '../records/jobs.ts';
import { findRestore } from '../records/restores.ts';
import { rowsById } from '../records/rows.ts';
import type { WorkerContext } from './context.ts';
import { runHook, type HookEnd } from './hook-process.ts';
import { WorkerStoppedError, type Run } from './run.ts';

/** How the work ended, as far as it is known when the `after` hooks run. */
export type Outcome = 'SUCCESS' | 'FAILED' | 'CANCELLED';

/**
 * How long `after` hooks may go on when the worker stops, in milliseconds: what stopped a service should start it
 * again. With what ending a process takes it is less than a stop may last.
 */
const STOP_GRACE = 8_000;

/** How much of a hook's last line the reason of a failure cites, in characters; the messages have more. */
const LAST_WORDS = 300;

/** The runs whose `after` hooks have been run by this attempt. */
const finished = new WeakSet<Run>();

/**
 * Runs the `before` hooks of a job, in order; the first that fails ends them.
 * @throws GatewayError HOOK_FAILED, and why the run must end where it is cancelled, lost or stopped meanwhile
 */
export async function runBeforeHooks(context: WorkerContext, run: Run): Promise<void> {
  const operation = run.job.operation === 'RESTORE' ? 'Restore' : 'Backup';
  const { host, variables } = await describe(context, run);
  for (const [index, hook] of (host?.hooks?.[`before${operation}`] ?? []).entries()) {
    const name = nameOf(`before${operation}`, index, hook);
    const end = await runNoted(run, name, hook, { HOOK: `before${operation}`, ...variables }, run.signal);
    if (isGood(end)) continue;
    const said = end.output.split('\n').at(-1)?.slice(-LAST_WORDS) ?? '';
    throw new GatewayError('HOOK_FAILED', `The hook ${name} ${manner(end)}${said === '' ? '' : ` (${said})`}, so the ${operation.toLowerCase()} was not begun.${operation === 'Restore' ? ' Nothing was touched.' : ''}`,
      'Run the program by hand as the user that runs the worker; what it wrote is among the messages of the job. Then try again.');
  }
}

/**
 * Runs the `after` hooks of a job that had begun, in order, once for each attempt. One that fails is noted, and keeps
 * neither the others from running nor the work from counting. A cancellation does not end them; the worker's stop
 * does after a while, and the next attempt runs them again.
 * @throws JobLostError, WorkerStoppedError
 */
export async function runAfterHooks(context: WorkerContext, run: Run, outcome: Outcome, reason = ''): Promise<void> {
  if (finished.has(run)) return;
  // Cancelled or given up before it began: nothing was stopped that must be started again.
  if ((await findJob(context.db, run.job.id))?.timeStarted == null) return;
  const when: keyof HooksSpec = run.job.operation === 'RESTORE' ? 'afterRestore' : 'afterBackup';
  const { host, variables } = await describe(context, run);
  const stop = delayedStop(run.away);
  try {
    for (const [index, hook] of (host?.hooks?.[when] ?? []).entries()) {
      await runNoted(run, nameOf(when, index, hook), hook, { HOOK: when, ...variables, STATUS: outcome, ERROR: reason }, stop.signal);
    }
  } finally {
    stop.dispose();
  }
  finished.add(run);
  // A message is refused once the job has its last status.
  await run.noted();
}

/** Runs a hook, and notes how it ended among the messages of the job. */
async function runNoted(run: Run, name: string, hook: HookSpec, variables: Record<string, string>, stop: AbortSignal): Promise<HookEnd> {
  try {
    const end = await runHook(hook, variables, stop);
    run.note(`Hook ${name}: ${manner(end)}${end.output === '' ? '.' : `; it wrote: ${end.output}`}`, isGood(end) ? 'info' : 'warn');
    return end;
  } catch (error) {
    run.note(`Hook ${name}: ended, because: ${error instanceof GatewayError ? error.message : String(error)}`);
    throw error;
  }
}

const isGood = (end: HookEnd): boolean => end.code === 0 && !end.isOverdue;

function manner({ code, signal, startFailure, isOverdue, seconds }: HookEnd): string {
  if (startFailure !== null) return `could not be started: ${startFailure}`;
  const after = `after ${seconds.toFixed(1)} s`;
  if (isOverdue) return `did not end in its time and was ended ${after}`;
  return code === null ? `was ended by ${signal ?? 'a signal'} ${after}` : `ended with code ${code} ${after}`;
}

/** By its place in the deployment file. */
const nameOf = (when: keyof HooksSpec, index: number, hook: HookSpec): string => `${when}[${index}] ${hook.run[0] ?? ''}`;

/** Aborted with the reason of `away`: at once where the job is lost, and later where the worker stops. */
function delayedStop(away: AbortSignal): { signal: AbortSignal; dispose(): void } {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const leave = () => {
    const abort = () => late.abort(away.reason);
    if (away.reason instanceof WorkerStoppedError) timer = setTimeout(abort, STOP_GRACE);
    else abort();
  };
  if (away.aborted) leave();
  else away.addEventListener('abort', leave, { once: true });
  return {
    signal: late.signal,
    dispose() {
      clearTimeout(timer);
      away.removeEventListener('abort', leave);
    },
  };
}

/** The host whose hooks run, and what they are told; each name with BACKUP_GATEWAY_ in front. */
async function describe(context: WorkerContext, run: Run): Promise<{ host: HostSpec | undefined; variables: Record<string, string> }> {
  const { job } = run;
  const deployed = (await findDeployment(context.db, job.deploymentId))?.deployed;
  const common = (host: HostSpec | undefined) => ({
    OPERATION: job.operation, JOB_ID: job.jobId, ATTEMPT: String(job.attempt), DEPLOYMENT: deployed?.name ?? '',
    HOST_ID: String(host?.id ?? ''), HOSTNAME: host?.hostname ?? '',
  });
  if (job.operation === 'RESTORE') {
    const restore = job.restoreId === null ? undefined : await findRestore(context.db, job.restoreId);
    const host = deployed?.hosts.find((candidate) => candidate.console);
    const [site, collector] = await hostsById(context, [restore?.restoreSiteHostId ?? null, restore?.restoreSiteEventCollectorId ?? null]);
    return { host, variables: {
      ...common(host), BACKUP_NAME: restore?.backupName ?? '', BACKUP_TYPE: restore?.backupType ?? '', GROUPS: restore?.groups.join(',') ?? '',
      RESTORE_SITE_HOST_ID: String(site?.number ?? ''), RESTORE_SITE_HOSTNAME: site?.hostname ?? '',
      RESTORE_SITE_EVENT_COLLECTOR_ID: String(collector?.number ?? ''), RESTORE_SITE_EVENT_COLLECTOR_HOSTNAME: collector?.hostname ?? '',
    } };
  }
  const backup = job.backupId === null ? undefined : await findBackup(context.db, job.backupId);
  const number = (await placesOf(context.db, backup)).host?.number;
  const host = deployed?.hosts.find((candidate) => candidate.id === number);
  return { host, variables: { ...common(host), BACKUP_NAME: backup?.name ?? '', BACKUP_TYPE: backup?.type ?? '' } };
}

async function hostsById(context: WorkerContext, ids: readonly (number | null)[]) {
  const known = ids.filter((id) => id !== null);
  const rows = known.length === 0 ? [] : await rowsById(context.db, 'Host', known, new Set(['number', 'hostname']));
  return ids.map((id) => rows.find((row) => row?.id === id));
}
