/**
 * VERIFY jobs: every file of a backup is read and compared with its digest; what is found goes to the backup.
 */
import * as engine from '../engine/index.ts';
import { changeBackupStatus } from '../records/backups.ts';
import { noteVerification } from '../records/checks.ts';
import { backupOf, begin, complete, endings } from './checks.ts';
import type { Operation } from './context.ts';
import { missingFacts } from './found-backup.ts';
import { requireStore } from './store-marks.ts';
import { storeOf } from './store-of.ts';

/** So many findings are told among the job's messages; the backup has them all. */
const TOLD = 20;

export const verifyOperation: Operation = {
  async run(context, run) {
    await begin(context, run);
    const { backup, store: row, deployment } = await backupOf(context, run);
    const store = storeOf(row);
    const files = store.open(backup.directory);
    const reading = await engine.verifyBackup(files, { signal: run.signal, onProgress: (progress) => run.progress(progress) });
    const { problems, details, sizeOnDisk } = reading;
    const isThere = await store.has(backup.directory);
    if (!isThere) await requireStore(context, row);
    const facts = problems.length === 0 ? await missingFacts(context.db, deployment, backup, files, reading) : {};
    for (const detail of details.slice(0, TOLD)) run.note(detail);

    await complete(context, run, { result: { problems, details } }, async (tx, now) => {
      const findings = { ...facts, fileProblems: problems, problemDetails: details };
      if (!isThere) {
        await noteVerification(tx, backup.id, findings);
        if (now.status === 'SUCCESS') await changeBackupStatus(tx, backup.id, ['SUCCESS'], 'MISSING');
        return;
      }
      await noteVerification(tx, backup.id, { ...findings, timeVerified: new Date(), sizeOnDisk });
      // One that is back and not whole may still be being copied: whoever looks after the stores looks again.
      if (now.status === 'MISSING' && problems.length === 0) await changeBackupStatus(tx, backup.id, ['MISSING'], 'SUCCESS');
    });
    context.log.info({ backup: backup.directory, store: row.name, problems }, 'a backup was verified');
  },
  ...endings,
};
