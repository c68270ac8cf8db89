import { createBackupForm, updateBackupForm } from '../../domain/forms.ts';
import type { BackupRow, JobRow } from '../../records/rows.ts';
import { deleteBackup, updateBackup } from '../../services/change-backup.ts';
import { ownId } from '../../services/context.ts';
import { createBackup } from '../../services/create-backup.ts';
import { builder } from '../builder.ts';
import { BackupTypeEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { readId, readOptionalId } from '../ids.ts';
import { Backup, Job } from '../refs.ts';

const CreateBackupInput = builder.inputType('CreateBackupInput', {
  description: 'What createBackup needs.',
  validate: createBackupForm,
  fields: (t) => ({
    name: t.string({ required: true, description: 'Unique in the deployment; up to 100 of ASCII letters, digits, "_", "-" and "." (1002 to 1005).' }),
    configurationId: t.id({ required: true, description: 'The deployed backup configuration: its global id, or 1 (1006, 1007).' }),
    type: t.field({ type: BackupTypeEnum, required: true, description: 'What it is to hold.' }),
    description: t.string({ description: 'A note, up to 255 characters (1008).' }),
    deploymentId: t.id({ description: 'Of which deployment; the default one where it is left out (2012).' }),
    hostId: t.id({ description: 'Of which host, by global id or host_id; the console where it is left out (1009, 1010, 1012, 1013, 1014).' }),
    storeName: t.string({ description: 'Into which store; the default one where it is left out (2001, 2005).' }),
    passcode: t.string({ description: 'Encrypts the content; at least 8 characters (2003). Needed to restore it, and kept nowhere. Required where the store requires it (2002).' }),
    retentionDate: t.field({ type: 'DateTime', description: 'After it the backup may be cleaned up; left out: never (2004).' }),
    idempotencyKey: t.string({ description: 'The same key and input from the same token, within 24 hours, answer the first result and start nothing (2006).' }),
  }),
});

const CreateBackupPayload = builder.objectRef<{ backup: BackupRow; job: JobRow }>('CreateBackupPayload').implement({
  description: 'The backup was started.',
  fields: (t) => ({
    backup: t.field({ type: Backup, description: 'The backup, INITIALIZING.', resolve: ({ backup }) => backup }),
    job: t.field({ type: Job, description: 'The BACKUP job; watch it for progress.', resolve: ({ job }) => job }),
  }),
});

const UpdateBackupInput = builder.inputType('UpdateBackupInput', {
  description: 'What updateBackup needs. A field left out stays as it is; null clears it.',
  validate: updateBackupForm,
  fields: (t) => ({
    id: t.id({ required: true, description: 'Which backup: its global id, or its number (1001).' }),
    description: t.string({ description: 'The new note, up to 255 characters (1008).' }),
    retentionDate: t.field({ type: 'DateTime', description: 'The new retention date, in the future (2004).' }),
    keep: t.boolean({ description: 'Pins the backup, so that retention never removes it, or takes the pin away; null: as it is.' }),
  }),
});

const UpdateBackupPayload = builder.objectRef<{ backup: BackupRow }>('UpdateBackupPayload').implement({
  description: 'The backup was changed.',
  fields: (t) => ({ backup: t.field({ type: Backup, description: 'The backup as it is now.', resolve: ({ backup }) => backup }) }),
});

const DeleteBackupInput = builder.inputType('DeleteBackupInput', {
  description: 'What deleteBackup needs.',
  fields: (t) => ({ id: t.id({ required: true, description: 'Which backup: its global id, or its number (1001, 1017, 2010).' }) }),
});

const DeleteBackupPayload = builder.objectRef<{ backup: BackupRow; job: JobRow }>('DeleteBackupPayload').implement({
  description: 'The backup is being removed.',
  fields: (t) => ({
    backup: t.field({ type: Backup, description: 'The backup as the deletion found it: CANCELLING where it ran, DELETING otherwise. Its record goes at the end.', resolve: ({ backup }) => backup }),
    job: t.field({ type: Job, description: 'The DELETE job. A run that it cancels ends its own job as CANCELLED.', resolve: ({ job }) => job }),
  }),
});

builder.mutationFields((t) => ({
  createBackup: t.field({
    type: CreateBackupPayload, errors: orViolations('CreateBackupResult'),
    description: 'Starts a backup.',
    args: { input: t.arg({ type: CreateBackupInput, required: true, description: 'What to back up, and where to.' }) },
    resolve: (_root, { input }, context) => change('createBackup', context, () => createBackup(context, {
      name: input.name, type: input.type, configuration: readId('BackupConfiguration', input.configurationId),
      deployment: readOptionalId('Deployment', input.deploymentId), host: readOptionalId('Host', input.hostId),
      description: input.description ?? null, storeName: input.storeName ?? null, passcode: input.passcode ?? null,
      retentionDate: input.retentionDate ?? null, idempotencyKey: input.idempotencyKey ?? null,
    })),
  }),
  updateBackup: t.field({
    type: UpdateBackupPayload, errors: orViolations('UpdateBackupResult'),
    description: 'Changes description, retention date and pin of a backup; nothing else of it can change.',
    args: { input: t.arg({ type: UpdateBackupInput, required: true, description: 'Which backup, and what changes.' }) },
    resolve: (_root, { input }, context) => change('updateBackup', context, () => updateBackup(context, ownId(readId('Backup', input.id)), {
      ...('description' in input ? { description: input.description ?? null } : {}),
      ...('retentionDate' in input ? { retentionDate: input.retentionDate ?? null } : {}),
      ...(input.keep == null ? {} : { isKept: input.keep }),
    })),
  }),
  deleteBackup: t.field({
    type: DeleteBackupPayload, errors: orViolations('DeleteBackupResult'),
    description: 'Removes a backup, files and record; one that runs is cancelled first.',
    args: { input: t.arg({ type: DeleteBackupInput, required: true, description: 'Which backup.' }) },
    resolve: (_root, { input }, context) => change('deleteBackup', context, () => deleteBackup(context, ownId(readId('Backup', input.id)))),
  }),
}));
