/**
 * Every legal transition of a status, one table for each kind of record. The database holds the same table and
 * refuses anything else (`drizzle/`, function `refuse_illegal_transition`); a test compares the two.
 *
 * `null` on the left: the record is created in that status. `null` on the right: the record is removed.
 */
import type { BackupStatus, JobStatus, RestoreStatus } from './vocabulary.ts';

type Transition<Status> = readonly [from: Status | null, to: Status | null];

export const BACKUP_LIFECYCLE: readonly Transition<BackupStatus>[] = [
  [null, 'INITIALIZING'],
  [null, 'SUCCESS'], // found in a store by a scan
  ['INITIALIZING', 'IN_PROGRESS'],
  ['IN_PROGRESS', 'SUCCESS'],
  ['INITIALIZING', 'FAILED'],
  ['IN_PROGRESS', 'FAILED'],
  ['INITIALIZING', 'CANCELLING'],
  ['IN_PROGRESS', 'CANCELLING'],
  ['CANCELLING', 'DELETING'],
  ['SUCCESS', 'DELETING'],
  ['FAILED', 'DELETING'],
  ['MISSING', 'DELETING'],
  ['DELETING', null],
  ['DELETING', 'SUCCESS'], // the deletion failed for good: its former status
  ['DELETING', 'FAILED'],
  ['DELETING', 'MISSING'],
  ['SUCCESS', 'MISSING'],
  ['MISSING', 'SUCCESS'],
];

export const RESTORE_LIFECYCLE: readonly Transition<RestoreStatus>[] = [
  [null, 'PENDING'],
  ['PENDING', 'REQUESTING'],
  ['REQUESTING', 'INITIALIZING'],
  ['INITIALIZING', 'IN_PROGRESS'],
  ['IN_PROGRESS', 'SUCCESS'],
  ['REQUESTING', 'FAILED'],
  ['INITIALIZING', 'FAILED'],
  ['IN_PROGRESS', 'FAILED'],
  ['REQUESTING', 'PENDING'], // cancelled before the swap: nothing was touched
  ['INITIALIZING', 'PENDING'],
  ['IN_PROGRESS', 'PENDING'],
  ['PENDING', null], // deleteRestore removes the record; a restore that has begun runs to its end
  ['REQUESTING', null],
  ['INITIALIZING', null],
  ['IN_PROGRESS', null],
];

export const JOB_LIFECYCLE: readonly Transition<JobStatus>[] = [
  [null, 'SUBMITTED'],
  ['SUBMITTED', 'EXECUTING'],
  ['EXECUTING', 'COMPLETED'],
  ['SUBMITTED', 'FAILED'],
  ['EXECUTING', 'FAILED'],
  ['SUBMITTED', 'CANCELLING'],
  ['EXECUTING', 'CANCELLING'],
  ['CANCELLING', 'CANCELLED'],
];

/** All three, by the kind under which the database and the feed know them. */
export const LIFECYCLES = { BACKUP: BACKUP_LIFECYCLE, RESTORE: RESTORE_LIFECYCLE, JOB: JOB_LIFECYCLE } as const;

/** The kinds of record whose status changes are in the feed. */
export type RecordKind = keyof typeof LIFECYCLES;

const endsOf = <Status>(lifecycle: readonly Transition<Status>[]): ReadonlySet<Status | null> => {
  const left = new Set(lifecycle.map(([from]) => from).filter((from) => from !== null));
  return new Set(lifecycle.map(([, to]) => to).filter((to) => to === null || !left.has(to)));
};

const ENDS: Record<RecordKind, ReadonlySet<string | null>> = {
  BACKUP: endsOf(BACKUP_LIFECYCLE),
  RESTORE: endsOf(RESTORE_LIFECYCLE),
  JOB: endsOf(JOB_LIFECYCLE),
};

/** Whether nothing can follow this status (`null`: the record is gone), so that a subscription to it is complete. */
export function isLastStatus(kind: RecordKind, status: string | null): boolean {
  return ENDS[kind].has(status);
}
