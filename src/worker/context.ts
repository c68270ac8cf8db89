/**
 * What a worker works with.
 */
import type { Logger } from 'pino';
import type { Sealing } from '../domain/sealing.ts';
import type { Pool } from '../records/rows.ts';
import type { ClockTasks } from './clock.ts';
import type { RetentionTasks } from './retention-operation.ts';
import type { Run } from './run.ts';

export interface WorkerContext {
  readonly db: Pool;
  readonly sealing: Sealing;
  readonly log: Logger;
  /** Calls back when there may be a job to claim or to cancel, a hint only; answers how to stop. */
  readonly onWake: (wake: () => void) => () => void;
  /** Where journals of restores are kept; the same on every start of this host's worker. */
  readonly journalDir: string;
  /** Where restore drills unpack; likewise, and of this host alone. */
  readonly drillDir: string;
  /** Where the names of the last DATA backups are kept, for incremental ones; likewise. */
  readonly indexDir: string;
  /** Marks this installation's partial files in a store that several share. */
  readonly installation: string;
  /** Stores, by id, that kept something of a run that has ended: they are swept as soon as they can be written again. */
  readonly unswept: Set<number>;
  /** The use cases that the clock and RETENTION jobs call; handed over, since a worker knows no use case itself. */
  readonly tasks: ClockTasks & RetentionTasks;
}

/** How one operation is carried out. */
export interface Operation {
  /** Does the work, and writes its success together with the job's, in one transaction. */
  run(context: WorkerContext, run: Run): Promise<void>;
  /** Removes what is left and writes the record's and the job's failure together. Answers false where the job is cancelled or lost. */
  fail(context: WorkerContext, run: Run, reason: string): Promise<boolean>;
  /** Writes that the run was cancelled, once nothing of it is left. */
  cancel(context: WorkerContext, run: Run): Promise<void>;
}

/** Three attempts: a job that kills its worker must not kill it for ever. */
export const MAX_ATTEMPTS = 3;
