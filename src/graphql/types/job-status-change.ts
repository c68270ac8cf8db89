import type { JobStatus } from '../../domain/vocabulary.ts';
import type { TransitionRow } from '../../records/rows.ts';
import { builder } from '../builder.ts';
import { connectionType, pageArguments } from '../connections.ts';
import { JobStatusEnum } from '../enums.ts';
import { readJobId } from '../job-ids.ts';
import { Job, load } from '../refs.ts';
import { allChanges, cursorOf, streamChanges } from '../status-changes.ts';

export const JobStatusChange = builder.objectRef<TransitionRow>('JobStatusChange').implement({
  description: 'One status change of a job, written in the transaction that made it.',
  fields: (t) => ({
    cursor: t.string({ description: 'Its place in the feed: subscribe or page on after it. One sequence spans backups, restores and jobs.', resolve: (change, _args, context) => cursorOf(change, context) }),
    jobId: t.string({ description: 'The documented jobId.', resolve: ({ label }) => label ?? '' }),
    from: t.field({ type: JobStatusEnum, nullable: true, description: 'The status before; null: it was just created. Equal to `to` in an event that states the present status.', resolve: ({ fromStatus }) => fromStatus as JobStatus | null }),
    to: t.field({ type: JobStatusEnum, description: 'The status after.', resolve: ({ toStatus }) => toStatus as JobStatus }),
    at: t.expose('at', { type: 'DateTime', description: 'When it was committed.' }),
    job: t.field({ type: Job, nullable: true, description: 'The job as it is now; null when the record is gone.', resolve: ({ recordId }, _args, context, info) => load('Job', recordId, context, info) }),
  }),
});

export const JobStatusChangeConnection = connectionType(JobStatusChange, 'JobStatusChange', 'status changes of jobs', { counted: false });

builder.queryField('jobTransitions', (t) => t.field({
  type: JobStatusChangeConnection, args: pageArguments(t.arg),
  description: 'Every status change of a job that is still kept, in commit order, of records that are gone too. The cursors are those of the feed.',
  resolve: (_root, args, context) => allChanges('JOB', args, context),
}));

builder.subscriptionField('jobStatusChanged', (t) => t.field({
  type: JobStatusChange,
  description: 'Status changes of jobs. After a cursor every later change is replayed in commit order, then the stream goes on live: none lost, none repeated. With `id` and no cursor the first event states the present status (from = to), and the stream completes after the last possible change.',
  args: {
    id: t.arg.id({ description: 'Of this job alone: its global id, its jobId or its number. Unknown: the error NOT_FOUND.' }),
    after: t.arg.string({ description: 'A cursor of any status change, or feedCursor. Too old: the error CURSOR_EXPIRED; strange: CURSOR_INVALID.' }),
  },
  subscribe: async (_root, { id, after }, context) => streamChanges('JOB', id == null ? undefined : await readJobId(id, context), after, context),
  resolve: (change) => change,
}));
