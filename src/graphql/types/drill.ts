import { drillRestoreForm } from '../../domain/forms.ts';
import type { DrillReport as Report } from '../../records/checks.ts';
import type { BackupRow, JobRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { drillRestore } from '../../services/drill.ts';
import { builder } from '../builder.ts';
import { ContentGroupEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { readId } from '../ids.ts';
import { Backup, Job } from '../refs.ts';

const DrillReport = builder.objectRef<Report>('DrillReport').implement({
  description: 'How a restore drill ended.',
  fields: (t) => ({
    time: t.field({ type: 'DateTime', description: 'When it ended.', resolve: ({ time }) => new Date(time) }),
    isSuccessful: t.exposeBoolean('isSuccessful', { description: 'Whether everything was unpacked and is what the backup holds.' }),
    files: t.expose('files', { type: 'Long', description: 'Files that were unpacked and compared; 0 where it failed.' }),
    bytes: t.expose('bytes', { type: 'Long', description: 'Bytes of the content that was unpacked; 0 where it failed.' }),
    seconds: t.exposeFloat('seconds', { description: 'How long it took: what a restore of the same would take at least.' }),
    reason: t.exposeString('reason', { nullable: true, description: 'Why it failed and what to do; null where it succeeded.' }),
  }),
});

builder.objectFields(Backup, (t) => ({
  lastDrill: t.field({ type: DrillReport, nullable: true, description: 'How its last restore drill ended; null: there was none.', resolve: ({ lastDrill }) => lastDrill }),
}));

const DrillRestoreInput = builder.inputType('DrillRestoreInput', {
  description: 'What drillRestore needs.',
  validate: drillRestoreForm,
  fields: (t) => ({
    backupId: t.id({ required: true, description: 'Which backup, CONFIG or DATA: its global id, or its number (1001, 1005, 2015).' }),
    groups: t.field({ type: [ContentGroupEnum], description: 'What of a CONFIG backup; everything where it is left out (1008, 1010).' }),
    passcode: t.string({ description: "The backup's passcode, where it is encrypted (2002, 2007)." }),
  }),
});

const DrillRestorePayload = builder.objectRef<{ backup: BackupRow; job: JobRow }>('DrillRestorePayload').implement({
  description: 'The drill was started.',
  fields: (t) => ({
    backup: t.field({ type: Backup, description: 'The backup; look at lastDrill once the job has ended.', resolve: ({ backup }) => backup }),
    job: t.field({ type: Job, description: 'The DRILL job; watch it for progress. It is COMPLETED where the drill succeeded, FAILED with the reason otherwise.', resolve: ({ job }) => job }),
  }),
});

builder.mutationField('drillRestore', (t) => t.field({
  type: DrillRestorePayload, errors: orViolations('DrillRestoreResult'),
  description: 'Proves that a backup can be restored: unpacks it into a scratch directory, compares that with the archives, and removes it again. No target is touched, and nothing else has to wait. Deleting the backup cancels it.',
  args: { input: t.arg({ type: DrillRestoreInput, required: true, description: 'Which backup, and what of it.' }) },
  resolve: (_root, { input }, context) => change('drillRestore', context, () => drillRestore(context, {
    backupId: ownId(readId('Backup', input.backupId)), groups: input.groups ?? null, passcode: input.passcode ?? null,
  })),
}));
