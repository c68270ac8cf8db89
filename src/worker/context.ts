/**
 * What a worker works with.
 */
import type { Logger } from 'pino';
import type { Sealing } from '../domain/sealing.ts';
import type { Pool } from '../records/rows.ts';
import type { Run } from './run.ts';

export interface WorkerContext {
  readonly db: Pool;
  readonly sealing: Sealing;
  readonly log: Logger;
  /** Calls back when there may be a job to claim or to cancel, a hint only; answers how to stop. */
  readonly onWake: (wake: () => void) => () => void;
  /** Where journals of restores are kept; the same on every start of this host's worker. */
  readonly journalDir: string;
  /** Marks this installation's partial files in a store that several share. */
  readonly installation: string;
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
