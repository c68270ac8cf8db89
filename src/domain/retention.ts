/**
 * Which backups are kept, and why. Pure: the same facts give the same answer; nothing is read and nothing removed.
 *
 * Only two things remove a backup: its own retention date, or, where it has none and a schedule made it, its age. Each
 * rule that keeps one is looked at before those, so that a doubt keeps it. Source: QRadar ages out scheduled backups
 * and keeps those made on demand; ArcGIS removes a backup whose retention date has passed.
 */
import type { BackupStatus } from './vocabulary.ts';

/** What retention knows of a backup. */
export interface RetentionFacts {
  id: number;
  status: BackupStatus;
  /** The files were found damaged when they were last read. */
  isDamaged: boolean;
  /** Which schedule made it; null: none, or one that has been deleted since. */
  scheduleId: number | null;
  timeInitiated: Date;
  retentionDate: Date | null;
  /** Pinned by a person. */
  isKept: boolean;
  /** A restore of it is recorded or runs. */
  isInRestore: boolean;
}

/** What a schedule keeps of its backups. */
export interface RetentionPolicy {
  scheduleId: number;
  /** The schedule's name. */
  name: string;
  /** Days of 24 hours; null: the deployment's retention period. */
  keepDays: number | null;
  /** How many of the newest good ones are kept however old they are; null: the newest alone. */
  keepLast: number | null;
}

/** What becomes of one backup, and why in words. */
export interface RetentionDecision<Facts extends RetentionFacts = RetentionFacts> {
  backup: Facts;
  isRemoved: boolean;
  reason: string;
}

const DAY = 24 * 60 * 60_000;
const days = (count: number): string => `${count} ${count === 1 ? 'day' : 'days'}`;

/** Whether it can be restored, as far as its record tells. */
const isGood = ({ status, isDamaged }: RetentionFacts): boolean => status === 'SUCCESS' && !isDamaged;

/** Retention lets go only of what has ended. */
const HAS_ENDED: readonly BackupStatus[] = ['SUCCESS', 'FAILED', 'MISSING'];

/**
 * Decides on all backups of a deployment, or on all of some of its schedules, in the order given; a schedule's backups
 * belong together. `periodDays` is the deployed retention period.
 */
export function decideRetention<Facts extends RetentionFacts>(
  backups: readonly Facts[], policies: readonly RetentionPolicy[], { now, periodDays }: { now: Date; periodDays: number },
): RetentionDecision<Facts>[] {
  const policyOf = new Map(policies.map((policy) => [policy.scheduleId, policy]));
  const rankOf = ranks(backups);
  const lastResorts = withoutGoodOnes(backups, rankOf);
  return backups.map((backup) => {
    const policy = backup.scheduleId === null ? undefined : policyOf.get(backup.scheduleId);
    const kept = reasonToKeep(backup, policy, lastResorts.has(backup.id) ? 'LAST_RESORT' : rankOf.get(backup.id), now, periodDays);
    return kept === null ? { backup, isRemoved: true, reason: reasonToRemove(backup, policy, periodDays) } : { backup, isRemoved: false, reason: kept };
  });
}

/** The place of each good backup among its schedule's, the newest being 1. */
function ranks(backups: readonly RetentionFacts[]): Map<number, number> {
  const rank = new Map<number, number>();
  const good = backups.filter((backup) => backup.scheduleId !== null && isGood(backup))
    .toSorted(newestFirst);
  for (const ofSchedule of Map.groupBy(good, ({ scheduleId }) => scheduleId).values()) {
    ofSchedule.forEach(({ id }, nth) => rank.set(id, nth + 1));
  }
  return rank;
}

/** Of each schedule that has no good backup, the newest of which files remain, or may come back. */
function withoutGoodOnes(backups: readonly RetentionFacts[], rankOf: ReadonlyMap<number, number>): Set<number> {
  const withGood = new Set(backups.filter(({ id }) => rankOf.has(id)).map(({ scheduleId }) => scheduleId));
  const others = backups.filter(({ status, scheduleId }) => scheduleId !== null && !withGood.has(scheduleId) && (status === 'SUCCESS' || status === 'MISSING'))
    .toSorted(newestFirst);
  return new Set([...Map.groupBy(others, ({ scheduleId }) => scheduleId).values()].flatMap(([newest]) => newest?.id ?? []));
}

const newestFirst = (a: RetentionFacts, b: RetentionFacts): number => b.timeInitiated.getTime() - a.timeInitiated.getTime() || b.id - a.id;

function reasonToKeep(backup: RetentionFacts, policy: RetentionPolicy | undefined, rank: number | 'LAST_RESORT' | undefined, now: Date, periodDays: number): string | null {
  if (backup.status === 'DELETING') return 'it is being removed already';
  if (!HAS_ENDED.includes(backup.status)) return 'it has not ended';
  if (backup.isKept) return 'pinned';
  if (backup.isInRestore) return 'a restore is using it';
  // What a person has decided about this very backup goes before what holds for all.
  if (backup.retentionDate !== null) return backup.retentionDate > now ? `until its retention date ${backup.retentionDate.toISOString()}` : null;
  if (policy === undefined) return 'made on demand, without a retention date';
  const { keepDays, keepLast, name } = policy;
  if (rank === 'LAST_RESORT') return 'the newest backup of its schedule, which has no good one';
  if (rank !== undefined && rank <= (keepLast ?? 0)) return keepLast === 1 ? `the newest of schedule ${name}` : `among the newest ${keepLast} of schedule ${name}`;
  if (rank === 1) return 'the newest good backup of its schedule';
  const limit = keepDays ?? periodDays;
  return now.getTime() - backup.timeInitiated.getTime() <= limit * DAY ? `not older than ${periodOf(policy, periodDays)}` : null;
}

const reasonToRemove = ({ retentionDate }: RetentionFacts, policy: RetentionPolicy | undefined, periodDays: number): string =>
  (retentionDate === null && policy !== undefined ? `older than ${periodOf(policy, periodDays)}` : `its retention date ${retentionDate?.toISOString()} has passed`);

const periodOf = ({ keepDays, name }: RetentionPolicy, periodDays: number): string =>
  (keepDays === null ? `the ${days(periodDays)} of the backup configuration` : `the ${days(keepDays)} of schedule ${name}`);
