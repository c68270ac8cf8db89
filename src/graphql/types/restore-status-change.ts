import type { RestoreStatus } from '../../domain/vocabulary.ts';
import type { TransitionRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { builder } from '../builder.ts';
import { connectionType, pageArguments } from '../connections.ts';
import { RestoreStatusEnum } from '../enums.ts';
import { globalId, readId } from '../ids.ts';
import { Restore, load } from '../refs.ts';
import { allChanges, cursorOf, streamChanges } from '../status-changes.ts';

export const RestoreStatusChange = builder.objectRef<TransitionRow>('RestoreStatusChange').implement({
  description: 'One status change of a restore, written in the transaction that made it.',
  fields: (t) => ({
    cursor: t.string({ description: 'Its place in the feed: subscribe or page on after it. One sequence spans backups, restores and jobs.', resolve: (change, _args, context) => cursorOf(change, context) }),
    restoreId: t.id({ description: 'The global id of the restore.', resolve: ({ recordId }) => globalId('Restore', recordId) }),
    from: t.field({ type: RestoreStatusEnum, nullable: true, description: 'The status before; null: it was just created. Equal to `to` in an event that states the present status.', resolve: ({ fromStatus }) => fromStatus as RestoreStatus | null }),
    to: t.field({ type: RestoreStatusEnum, nullable: true, description: 'The status after; null: the record is gone.', resolve: ({ toStatus }) => toStatus as RestoreStatus | null }),
    at: t.expose('at', { type: 'DateTime', description: 'When it was committed.' }),
    restore: t.field({ type: Restore, nullable: true, description: 'The restore as it is now; null when the record is gone.', resolve: ({ recordId }, _args, context, info) => load('Restore', recordId, context, info) }),
  }),
});

export const RestoreStatusChangeConnection = connectionType(RestoreStatusChange, 'RestoreStatusChange', 'status changes of restores', { counted: false });

builder.queryField('restoreTransitions', (t) => t.field({
  type: RestoreStatusChangeConnection, args: pageArguments(t.arg),
  description: 'Every status change of a restore that is still kept, in commit order, of records that are gone too. The cursors are those of the feed.',
  resolve: (_root, args, context) => allChanges('RESTORE', args, context),
}));

builder.subscriptionField('restoreStatusChanged', (t) => t.field({
  type: RestoreStatusChange,
  description: 'Status changes of restores. After a cursor every later change is replayed in commit order, then the stream goes on live: none lost, none repeated. With `id` and no cursor the first event states the present status (from = to), and the stream completes after the last possible change.',
  args: {
    id: t.arg.id({ description: 'Of this restore alone: its global id, or its number. Unknown: the error NOT_FOUND.' }),
    after: t.arg.string({ description: 'A cursor of any status change, or feedCursor. Too old: the error CURSOR_EXPIRED; strange: CURSOR_INVALID.' }),
  },
  subscribe: (_root, { id, after }, context) => streamChanges('RESTORE', id == null ? undefined : ownId(readId('Restore', id)), after, context),
  resolve: (change) => change,
}));
