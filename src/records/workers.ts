/**
 * Workers: for which hosts each works, its sign of life, and the jobs for which none is there.
 */
import { eq, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { deployments, hosts, workers } from '../db/schema.ts';
import { arrayOf } from './rows.ts';
import type { JournalPlace } from './swaps.ts';

/** How old a worker's last sign of life may be while it counts as there, in seconds: three signs fit in. */
export const WORKER_ALIVE_SECONDS = 15;
/** How long one that has gone without a word is still shown, in hours. */
const KEPT_HOURS = 24;

/** The hosts that a worker works for. */
export interface ServedHosts {
  /** Whatever host there is, also one that is deployed later. */
  readonly isEvery: boolean;
  /** By `hosts.id`: those whose jobs it runs. */
  readonly ids: readonly number[];
  /** By `host_id`. */
  readonly numbers: readonly number[];
  /** The console's worker also does what belongs to no host, and looks after the stores. */
  readonly hasConsole: boolean;
}

/** Of a worker that serves them all. */
export const EVERY_HOST: ServedHosts = { isEvery: true, ids: [], numbers: [], hasConsole: true };

/** Finds a deployment's hosts by the names that a worker was given. */
export interface HostSearch {
  readonly served: ServedHosts;
  /** Names of no host. */
  readonly unknown: readonly string[];
  /** Every host there is, such as `ep1 (2)`. */
  readonly known: readonly string[];
}

/**
 * Finds the hosts of the deployed configuration with these hostnames or host_ids; undefined: nothing has been deployed
 * yet. Where the console is among them, so are the hosts that have left the deployment: their backups remain.
 */
export async function findServedHosts(db: Db, names: readonly string[]): Promise<HostSearch | undefined> {
  const rows = await db.select({ id: hosts.id, number: hosts.number, hostname: hosts.hostname, isConsole: hosts.isConsole, status: hosts.status })
    .from(hosts).innerJoin(deployments, eq(deployments.id, hosts.deploymentId)).where(eq(deployments.isDefault, true)).orderBy(hosts.number)
    .prepare('served_hosts').execute();
  if (rows.length === 0) return undefined;
  const there = rows.filter(({ status }) => status !== 'DELETED');
  const found = names.map((name) => there.find(({ hostname }) => hostname.toLowerCase() === name.toLowerCase())
    ?? there.find(({ number }) => String(number) === name));
  const own = [...new Set(found.filter((host) => host !== undefined))];
  const hasConsole = own.some(({ isConsole }) => isConsole);
  return {
    served: {
      isEvery: false, numbers: own.map(({ number }) => number), hasConsole,
      ids: [...own, ...hasConsole ? rows.filter(({ status }) => status === 'DELETED') : []].map(({ id }) => id),
    },
    unknown: names.filter((_name, nth) => found[nth] === undefined),
    known: there.map(({ hostname, number }) => `${hostname} (${number})`),
  };
}

/** Shows that the worker lives. */
export async function showWorker(db: Db, worker: { id: string; machine: string; served: ServedHosts }): Promise<void> {
  const hostIds = worker.served.isEvery ? null : [...worker.served.ids];
  await db.insert(workers).values({ id: worker.id, machine: worker.machine, hostIds })
    .onConflictDoUpdate({ target: workers.id, set: { hostIds: sql`excluded.host_ids`, timeSeen: sql`now()` } });
}

/** Takes a worker that stops in order off the list. */
export async function removeWorker(db: Db, id: string): Promise<void> {
  await db.delete(workers).where(eq(workers.id, id));
}

/** Forgets workers that went without a word long ago. */
export async function forgetDeadWorkers(db: Db): Promise<void> {
  await db.delete(workers).where(sql`${workers.timeSeen} < now() - make_interval(hours => ${KEPT_HOURS})`);
}

/** The worker of a host, as it last showed itself. */
export interface HostWorker {
  machine: string;
  timeStarted: Date;
  timeSeen: Date;
  isOnline: boolean;
}

const isAlive = sql`w.time_seen > now() - make_interval(secs => ${WORKER_ALIVE_SECONDS})`;

/** The worker that each of these hosts (by `hosts.id`) was last served by; null: none that is still known. */
export async function workersOf(db: Db, hostIds: readonly number[]): Promise<(HostWorker | null)[]> {
  const rows = await db.execute<{ host: string; machine: string; started: string; seen: string; online: boolean }>(sql`
    select h.id as host, w.machine, w.time_started as started, w.time_seen as seen, ${isAlive} as online
    from unnest(${arrayOf(hostIds)}::bigint[]) h(id)
    cross join lateral (select * from workers w where w.host_ids is null or h.id = any(w.host_ids) order by w.time_seen desc limit 1) w`);
  const byHost = new Map(rows.map((row) => [Number(row.host), row]));
  return hostIds.map((id) => {
    const row = byHost.get(id);
    return row === undefined ? null
      : { machine: row.machine, timeStarted: new Date(row.started), timeSeen: new Date(row.seen), isOnline: row.online };
  });
}

/**
 * A job that nobody works on, and for whose host no worker is there, or none with the journal of the restore; null: it
 * needs none.
 */
export interface WaitingJob { id: number; jobId: string; operation: string; hostname: string; journal: JournalPlace | null }

/** How long a job may be without a worker before it is said to wait for one with its journal, in seconds. */
const CLAIMED_WITHIN = 5;

/**
 * Which jobs wait for a worker that is not there, or for the one that has the journal of the restore; among these or, with
 * null, among all that have waited for longer than a worker needs to show itself. `hostname`: whose worker would do it; the console's, where the job has no host.
 */
export async function jobsWithoutWorker(db: Db, ids: readonly number[] | null): Promise<WaitingJob[]> {
  const rows = await db.execute<{ id: string; job_id: string; operation: string; hostname: string; journal: JournalPlace | null }>(sql`
    select j.id, j.job_id, j.operation, coalesce(h.hostname, '') as hostname, case when j.is_swapping then j.result -> 'journal' end as journal
    from jobs j
    left join lateral (
      select * from hosts h where h.deployment_id = j.deployment_id and case
        when h.id = j.host_id then h.status <> 'DELETED'
        else h.is_console and not exists (select from hosts own where own.id = j.host_id and own.status <> 'DELETED') end
    ) h on true
    where j.status in ('SUBMITTED', 'EXECUTING', 'CANCELLING') and (j.lease_until is null or j.lease_until < now())
      and ${ids === null ? sql`j.time_updated < now() - make_interval(secs => ${WORKER_ALIVE_SECONDS})` : sql`j.id = any(${arrayOf(ids)}::bigint[])`}
      and (not exists (select from workers w where ${isAlive} and (w.host_ids is null or h.id = any(w.host_ids)))
        or j.is_swapping and j.result -> 'journal' is not null and coalesce(j.lease_until, j.time_updated) < now() - make_interval(secs => ${CLAIMED_WITHIN}))`);
  return rows.map((row) => ({ id: Number(row.id), jobId: row.job_id, operation: row.operation, hostname: row.hostname, journal: row.journal }));
}
