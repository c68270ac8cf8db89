/**
 * The runs of schedules that are due: each by the rules that hold for everybody, and once, whatever the number of
 * processes. All times are the database's.
 */
import { backupName, DEFAULT_NAME_PATTERN, freeName, nextNumber, regularRun, retryRun, tooFull } from '../domain/schedule.ts';
import { RuleViolationsError } from '../domain/rules.ts';
import type { ScheduleOutcome } from '../domain/vocabulary.ts';
import { findBackupIdByName } from '../records/backups.ts';
import { findStoreById } from '../records/checks.ts';
import { DEPLOYED_CONFIGURATION, findStore, isReadable, lockDeployment } from '../records/deployments.ts';
import type { Db, ScheduleRow } from '../records/rows.ts';
import {
  bringRunForward, claimDueSchedule, countVerifications, databaseTime, lockLeastVerified, namesOfSchedule,
  namesThatBegin, noteRun, runningSchedules,
} from '../records/schedules.ts';
import type { ServiceContext } from './context.ts';
import { startBackup } from './create-backup.ts';
import { hostOf } from './schedules.ts';
import { queueVerification } from './verify.ts';

/** How many backups one run of a schedule verifies: the next goes on with those that were not read for the longest time. */
const VERIFIED_AT_ONCE = 10;

type Shared = Omit<ServiceContext, 'principal'>;
interface Outcome { lastOutcome: ScheduleOutcome; lastReason: string | null }
const STARTED: Outcome = { lastOutcome: 'STARTED', lastReason: null };

/** One run, for the log. */
export interface ScheduleRun extends Outcome {
  schedule: string;
  /** Whether it went otherwise than the run before, so that a person may want to know. */
  isNews: boolean;
  /** An unexpected failure; the run is tried again. */
  error?: unknown;
}

/** What one look at the schedules came to. */
export interface ScheduleRound {
  runs: ScheduleRun[];
  /** Milliseconds until the next run; null: there is none. Zero or less: one is due, and another process is at it. */
  next: number | null;
}

/** Starts every run that is due, and brings forward what a clock that was wrong has put too far ahead. */
export async function runDueSchedules(shared: Shared): Promise<ScheduleRound> {
  const now = await databaseTime(shared.db);
  const runs: ScheduleRun[] = [];
  for (const schedule of await runningSchedules(shared.db)) {
    const regular = regularRun(schedule, now);
    if (schedule.nextRun !== null && schedule.nextRun <= now) {
      const run = await runOne(shared, schedule.id).catch((error: unknown) => putOff(shared, schedule, error));
      if (run !== undefined) runs.push(run);
    } else if (regular !== null && (schedule.nextRun === null || schedule.nextRun > regular)) {
      await bringRunForward(shared.db, schedule.id, regular);
    }
  }
  const later = await databaseTime(shared.db);
  const nexts = (await runningSchedules(shared.db)).flatMap(({ nextRun }) => (nextRun === null ? [] : [nextRun.getTime()]));
  return { runs, next: nexts.length === 0 ? null : Math.min(...nexts) - later.getTime() };
}

/** One run, with all that it starts, in one transaction; undefined: another process has it. */
async function runOne(shared: Shared, id: number): Promise<ScheduleRun | undefined> {
  return shared.db.transaction(async (tx) => {
    const schedule = await claimDueSchedule(tx, id);
    if (schedule === undefined) return undefined;
    const now = await databaseTime(tx);
    // The locks of a use case: the deployment after the schedule.
    await lockDeployment(tx, schedule.deploymentId);
    const outcome = schedule.operation === 'BACKUP' ? await backUp(tx, shared, schedule, now) : await verify(tx, schedule);
    const regular = regularRun({ ...schedule, lastRun: now }, now);
    await noteRun(tx, id, { ...outcome, lastRun: now, nextRun: outcome.lastOutcome === 'REFUSED' ? retryRun(regular, now) : regular });
    return { schedule: schedule.name, isNews: outcome.lastOutcome !== schedule.lastOutcome || outcome.lastReason !== schedule.lastReason, ...outcome };
  });
}

/** A run that fails unexpectedly is put off, so that it neither keeps others from running nor is tried without a pause. */
async function putOff(shared: Shared, { id, name }: { id: number; name: string }, error: unknown): Promise<ScheduleRun> {
  const outcome: Outcome = { lastOutcome: 'REFUSED', lastReason: 'It could not be started for an unexpected reason; the log of the worker says more.' };
  await shared.db.transaction(async (tx) => {
    const schedule = await claimDueSchedule(tx, id);
    if (schedule === undefined) return;
    const now = await databaseTime(tx);
    await noteRun(tx, id, { ...outcome, lastRun: now, nextRun: retryRun(regularRun({ ...schedule, lastRun: now }, now), now) });
  });
  return { schedule: name, isNews: true, ...outcome, error };
}

const initiatorOf = (schedule: ScheduleRow): string => `schedule ${schedule.name}`;

async function backUp(tx: Db, shared: Shared, schedule: ScheduleRow, now: Date): Promise<Outcome> {
  const { id, type, hostId, storeId, recipient, wrappedIdentity } = schedule;
  const own = storeId === null ? undefined : await findStoreById(tx, storeId);
  const store = await findStore(tx, own?.name ?? null);
  const percent = store === undefined ? null : tooFull(store);
  if (percent !== null) {
    return { lastOutcome: 'SKIPPED', lastReason: `The volume of store ${store?.name} is ${percent}% full; scheduled backups stop at 75%. Free space there, or make the backup by createBackup.` };
  }
  try {
    await startBackup(tx, { ...shared, principal: { name: initiatorOf(schedule), tokenId: `schedule ${id}` } }, {
      name: await nameFor(tx, schedule, now), type: type ?? 'CONFIG', configuration: { by: 'number', number: DEPLOYED_CONFIGURATION },
      description: schedule.description, deployment: { by: 'id', id: schedule.deploymentId }, host: hostId === null ? null : { by: 'id', id: hostId },
      storeName: own?.name ?? null, passcode: null, retentionDate: null, idempotencyKey: null,
    }, recipient === null || wrappedIdentity === null ? null : { recipient, wrapped: Buffer.from(wrappedIdentity, 'base64') }, id);
    return STARTED;
  } catch (error) {
    if (!(error instanceof RuleViolationsError)) throw error;
    return { lastOutcome: 'REFUSED', lastReason: error.message };
  }
}

/** The name after the pattern, made unique by a suffix. The deployment is locked, so that it stays free. */
async function nameFor(tx: Db, schedule: ScheduleRow, now: Date): Promise<string> {
  const pattern = schedule.namePattern ?? DEFAULT_NAME_PATTERN;
  const host = await hostOf(tx, schedule.deploymentId, schedule.hostId);
  const name = backupName(pattern, {
    schedule: schedule.name, hostname: host?.hostname ?? 'host', type: schedule.type ?? 'CONFIG', time: now, timeZone: schedule.timeZone,
    n: pattern.includes('{n}') ? nextNumber(pattern, await namesOfSchedule(tx, schedule.id)) : 1,
  });
  if (await findBackupIdByName(tx, name, schedule.deploymentId) === undefined) return name;
  // A suffix may take the place of the end of a long name.
  return freeName(name, await namesThatBegin(tx, schedule.deploymentId, name.slice(0, 80)));
}

async function verify(tx: Db, schedule: ScheduleRow): Promise<Outcome> {
  const waiting = await countVerifications(tx, schedule.id);
  if (waiting > 0) return { lastOutcome: 'SKIPPED', lastReason: `Of the verifications of an earlier run, ${waiting} ${waiting === 1 ? 'has' : 'have'} not ended.` };
  const store = schedule.storeId === null ? undefined : await findStoreById(tx, schedule.storeId);
  if (store !== undefined && !isReadable(store)) return { lastOutcome: 'REFUSED', lastReason: `Store ${store.name} cannot be read now.` };
  const backups = (await lockLeastVerified(tx, schedule.deploymentId, schedule.storeId, VERIFIED_AT_ONCE)).filter(({ status }) => status === 'SUCCESS');
  for (const backup of backups) await queueVerification(tx, backup, initiatorOf(schedule), schedule.id);
  return backups.length > 0 ? STARTED : { lastOutcome: 'SKIPPED', lastReason: 'There is no successful backup to verify.' };
}
