import type { BackupStatus } from '../../domain/vocabulary.ts';
import type { TransitionRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { builder } from '../builder.ts';
import { connectionType, pageArguments } from '../connections.ts';
import { BackupStatusEnum } from '../enums.ts';
import { globalId, readId } from '../ids.ts';
import { Backup, load } from '../refs.ts';
import { allChanges, cursorOf, streamChanges } from '../status-changes.ts';

export const BackupStatusChange = builder.objectRef<TransitionRow>('BackupStatusChange').implement({
  description: 'One status change of a backup, written in the transaction that made it.',
  fields: (t) => ({
    cursor: t.string({ description: 'Its place in the feed: subscribe or page on after it. One sequence spans backups, restores and jobs.', resolve: (change, _args, context) => cursorOf(change, context) }),
    backupId: t.id({ description: 'The global id of the backup.', resolve: ({ recordId }) => globalId('Backup', recordId) }),
    backupName: t.string({ description: 'The name of the backup, known after it is gone too.', resolve: ({ label }) => label ?? '' }),
    from: t.field({ type: BackupStatusEnum, nullable: true, description: 'The status before; null: it was just created. Equal to `to` in an event that states the present status.', resolve: ({ fromStatus }) => fromStatus as BackupStatus | null }),
    to: t.field({ type: BackupStatusEnum, nullable: true, description: 'The status after; null: the record is gone.', resolve: ({ toStatus }) => toStatus as BackupStatus | null }),
    at: t.expose('at', { type: 'DateTime', description: 'When it was committed.' }),
    backup: t.field({ type: Backup, nullable: true, description: 'The backup as it is now; null when the record is gone.', resolve: ({ recordId }, _args, context, info) => load('Backup', recordId, context, info) }),
  }),
});

export const BackupStatusChangeConnection = connectionType(BackupStatusChange, 'BackupStatusChange', 'status changes of backups', { counted: false });

builder.queryField('backupTransitions', (t) => t.field({
  type: BackupStatusChangeConnection, args: pageArguments(t.arg),
  description: 'Every status change of a backup that is still kept, in commit order, of records that are gone too. The cursors are those of the feed.',
  resolve: (_root, args, context) => allChanges('BACKUP', args, context),
}));

builder.subscriptionField('backupStatusChanged', (t) => t.field({
  type: BackupStatusChange,
  description: 'Status changes of backups. After a cursor every later change is replayed in commit order, then the stream goes on live: none lost, none repeated. With `id` and no cursor the first event states the present status (from = to), and the stream completes after the last possible change.',
  args: {
    id: t.arg.id({ description: 'Of this backup alone: its global id, or its number. Unknown: the error NOT_FOUND.' }),
    after: t.arg.string({ description: 'A cursor of any status change, or feedCursor. Too old: the error CURSOR_EXPIRED; strange: CURSOR_INVALID.' }),
  },
  subscribe: (_root, { id, after }, context) => streamChanges('BACKUP', id == null ? undefined : ownId(readId('Backup', id)), after, context),
  resolve: (change) => change,
}));
