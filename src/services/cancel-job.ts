/**
 * cancelJob: a backup's job is cancelled as deleteBackup would; a restore's, as long as nothing has been replaced; what
 * only reads, at any time.
 */
import { RuleCheck } from '../domain/rules.ts';
import type { JobOperation } from '../domain/vocabulary.ts';
import { findBackup } from '../records/backups.ts';
import { READING_OPERATIONS } from '../records/checks.ts';
import { changeJobStatus, findJob } from '../records/jobs.ts';
import { findRestore } from '../records/restores.ts';
import type { JobRow } from '../records/rows.ts';
import { cancelRunningBackup } from './change-backup.ts';
import type { ServiceContext } from './context.ts';

/** What can stop between any two steps: a scan keeps what it has found, and retention has removed what it has. */
const STOPPABLE: readonly JobOperation[] = [...READING_OPERATIONS, 'SCAN', 'RETENTION'];

/** Asks the worker to stop; the job ends CANCELLED soon after. @throws RuleViolationsError */
export async function cancelJob(context: ServiceContext, id: number | null): Promise<{ job: JobRow }> {
  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('cancelJob');
    const found = id === null ? undefined : await findJob(tx, id);
    if (found === undefined) throw rules.refusal('JOB_NOT_FOUND', 'id');
    // Locks in the order of all transactions: the backup or restore, then the job.
    const backup = found.operation === 'BACKUP' && found.backupId !== null ? await findBackup(tx, found.backupId, 'lock') : undefined;
    if (found.operation === 'RESTORE' && found.restoreId !== null) await findRestore(tx, found.restoreId, 'lock');
    const job = await findJob(tx, found.id, 'lock');
    if (job === undefined) throw rules.refusal('JOB_NOT_FOUND', 'id');

    const isActive = job.status === 'SUBMITTED' || job.status === 'EXECUTING';
    if (job.status === 'CANCELLING') return { job };
    if (!isActive || job.isSwapping) throw rules.refusal('JOB_NOT_CANCELLABLE', 'id');
    if (job.operation === 'BACKUP' && backup !== undefined) await cancelRunningBackup(tx, context, backup);
    else if (job.operation === 'RESTORE' || STOPPABLE.includes(job.operation)) await changeJobStatus(tx, job.id, ['SUBMITTED', 'EXECUTING'], 'CANCELLING');
    else throw rules.refusal('JOB_NOT_CANCELLABLE', 'id');
    return { job: await findJob(tx, job.id) ?? job };
  });
}
