import type { BackupRow, JobRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { verifyBackup } from '../../services/verify.ts';
import { builder } from '../builder.ts';
import { change, orViolations } from '../errors.ts';
import { readId } from '../ids.ts';
import { Backup, Job } from '../refs.ts';
import { reads } from '../selection.ts';

builder.objectFields(Backup, (t) => ({
  timeVerified: t.expose('timeVerified', { type: 'DateTime', nullable: true, description: 'When its files were last read from end to end and compared with their digests: when it was made, or by a verification since; null: never.' }),
  validityDetails: t.stringList({ extensions: reads('problemDetails'), description: 'What the last reading of its files found: which file, and what is wrong with it. Empty where all is well.', resolve: ({ problemDetails }) => problemDetails }),
}));

const VerifyBackupInput = builder.inputType('VerifyBackupInput', {
  description: 'What verifyBackup needs.',
  fields: (t) => ({ id: t.id({ required: true, description: 'Which backup: its global id, or its number (1001, 2014).' }) }),
});

const VerifyBackupPayload = builder.objectRef<{ backup: BackupRow; job: JobRow }>('VerifyBackupPayload').implement({
  description: 'The verification was started, or was under way already.',
  fields: (t) => ({
    backup: t.field({ type: Backup, description: 'The backup as it is now; look at isValid, validityDetails and timeVerified once the job has ended.', resolve: ({ backup }) => backup }),
    job: t.field({ type: Job, description: 'The VERIFY job. It is COMPLETED when everything was read, whatever was found; FAILED when the store could not be read.', resolve: ({ job }) => job }),
  }),
});

builder.mutationField('verifyBackup', (t) => t.field({
  type: VerifyBackupPayload, errors: orViolations('VerifyBackupResult'),
  description: 'Reads every file of a backup again and compares it with its digest, beside whatever else runs. A backup that is being verified already answers that job. Deleting the backup cancels it.',
  args: { input: t.arg({ type: VerifyBackupInput, required: true, description: 'Which backup.' }) },
  resolve: (_root, { input }, context) => change('verifyBackup', context, () => verifyBackup(context, ownId(readId('Backup', input.id)))),
}));
