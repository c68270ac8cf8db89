/**
 * drillRestore: a backup is restored into a scratch directory, checked there, and removed again.
 */
import { RuleCheck } from '../domain/rules.ts';
import type { ContentGroup } from '../domain/vocabulary.ts';
import { findBackup } from '../records/backups.ts';
import { findCheckOf } from '../records/checks.ts';
import { insertJob } from '../records/jobs.ts';
import type { BackupRow, JobRow } from '../records/rows.ts';
import { openIdentityOf, type ServiceContext } from './context.ts';

/** The input, its form checked. `groups` null: everything that the backup holds. */
export interface DrillRequest { backupId: number | null; groups: ContentGroup[] | null; passcode: string | null }

/** Starts a drill. A backup that is damaged may be drilled: the drill is there to tell. @throws RuleViolationsError */
export async function drillRestore(context: ServiceContext, request: DrillRequest): Promise<{ backup: BackupRow; job: JobRow }> {
  // Opening the key takes about a second, which no transaction should last.
  const identity = await openIdentityOf(context, request.backupId, request.passcode);

  return context.db.transaction(async (tx) => {
    const rules = new RuleCheck('drillRestore');
    const backup = request.backupId === null ? undefined : await findBackup(tx, request.backupId, 'lock');
    if (backup === undefined) throw rules.refusal('BACKUP_NOT_FOUND', 'backupId');
    if (backup.status !== 'SUCCESS') throw rules.refusal('BACKUP_NOT_SUCCESSFUL', 'backupId');
    rules.breaks(request.groups?.some((group) => !backup.groups.includes(group)) === true, 'GROUP_NOT_FOUND', 'groups');
    if (backup.recipient !== null) {
      rules.breaks(request.passcode === null, 'PASSCODE_REQUIRED', 'passcode');
      rules.breaks(request.passcode !== null && identity === null, 'PASSCODE_WRONG', 'passcode');
    }
    rules.done();
    // The backup's lock makes this hold until the commit.
    rules.breaks(await findCheckOf(tx, 'DRILL', backup.id) !== undefined, 'DRILL_IN_PROGRESS', 'backupId');
    rules.done();
    const job = await insertJob(tx, {
      // Of no host: the store alone is needed, and the backup's host may have left the deployment.
      deploymentId: backup.deploymentId, hostId: null, operation: 'DRILL', backupId: backup.id,
      groups: request.groups === null ? null : [...new Set(request.groups)],
      initiatedBy: context.principal.name, sealedIdentity: identity === null ? null : context.sealing.seal(identity),
    });
    return { backup, job };
  });
}
