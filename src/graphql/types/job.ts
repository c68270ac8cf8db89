import { RecordNotFoundError } from '../../feed/watch.ts';
import { countJobs, listJobs, type JobFilter } from '../../records/jobs.ts';
import type { JobRow } from '../../records/rows.ts';
import { cancelJob } from '../../services/cancel-job.ts';
import { waitingForOf } from '../../services/waiting-jobs.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { JobOperationEnum, JobStatusEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { globalId, readOptionalId } from '../ids.ts';
import { readJobId } from '../job-ids.ts';
import { Backup, idOf, Job, load, mustLoad, Node, Restore, Schedule } from '../refs.ts';
import { neededColumns, reads } from '../selection.ts';
import { changesOf, eachAnew } from '../status-changes.ts';
import { JobStatusChangeConnection } from './job-status-change.ts';

const JobProgress = builder.objectRef<JobRow>('JobProgress').implement({
  description: "How far a job is. Bytes are those of the content before compression; a backup's totals are what the last one took from the same sources, or are estimated first.",
  fields: (t) => ({
    percent: t.float({ nullable: true, description: 'Of the bytes, 0 to 100; null until the total is known.', resolve: ({ bytesDone, bytesTotal }) => (bytesTotal === null ? null : bytesTotal === 0 ? 100 : Math.min(100, (100 * (bytesDone ?? 0)) / bytesTotal)) }),
    bytesDone: t.field({ type: 'Long', description: 'Bytes done.', resolve: ({ bytesDone }) => bytesDone ?? 0 }),
    bytesTotal: t.expose('bytesTotal', { type: 'Long', nullable: true, description: 'Bytes in all, estimated; null until they are.' }),
    filesDone: t.field({ type: 'Long', description: 'Files done.', resolve: ({ filesDone }) => filesDone ?? 0 }),
    filesTotal: t.expose('filesTotal', { type: 'Long', nullable: true, description: 'Files in all, estimated; null until they are.' }),
  }),
});

Job.implement({
  description: 'A long operation: every one has a job that tells how far it is and how it ended.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('Job') }),
    jobId: t.exposeString('jobId', { description: 'The documented job id: "j" and a UUID.' }),
    url: t.string({ extensions: reads('jobId'), description: 'Where the job can be read; the documented jobsUrl. The same token is needed there.', resolve: ({ id }, _args, context) => jobUrl(context.publicUrl(), globalId('Job', id)) }),
    operation: t.expose('operation', { type: JobOperationEnum, description: 'What it does.' }),
    status: t.expose('status', { type: JobStatusEnum, description: 'Where it is in its life.' }),
    progress: t.field({ type: JobProgress, nullable: true, extensions: reads('bytesDone', 'bytesTotal', 'filesDone', 'filesTotal'), description: 'How far it is; null until it tells, and for what has no progress. It stays as it was when the job ends.', resolve: (job) => (job.bytesDone === null ? null : job) }),
    messages: t.exposeStringList('messages', { description: 'What it noted on the way, for a person to read, the oldest first; the first hundred.' }),
    unreadableFiles: t.exposeStringList('unreadableFiles', { description: 'Of a backup: files that could not be read, changed while they were read or vanished, each with the reason, where their source lets that pass. At most the first thousand of a source, then how many more.' }),
    error: t.exposeString('error', { nullable: true, description: 'Why it FAILED, in words a person can act on; null otherwise.' }),
    waitingFor: t.string({
      nullable: true, extensions: reads('status'),
      description: 'What an unfinished job waits for before anything can happen, in words: the worker of a host that is not there, or, of a restore that had begun to replace its targets, the worker that has its journal. null: it is at work, will soon be, or has ended.',
      resolve: ({ id, status }, _args, context) => (status === 'COMPLETED' || status === 'FAILED' || status === 'CANCELLED' ? null
        : context.loaders.batch('waiting-job', '', (ids: readonly number[]) => waitingForOf(context.db, ids)).load(id)),
    }),
    initiatedBy: t.exposeString('initiatedBy', { description: 'Who started it: the name of the token, "schedule" and the name of a schedule, "retention", or "system" for the first scan of a store.' }),
    timeSubmitted: t.expose('timeSubmitted', { type: 'DateTime', description: 'When it was queued.' }),
    timeStarted: t.expose('timeStarted', { type: 'DateTime', nullable: true, description: 'When a worker first began; null until then.' }),
    timeUpdated: t.expose('timeUpdated', { type: 'DateTime', description: 'When its status, progress or messages were last written.' }),
    timeEnded: t.expose('timeEnded', { type: 'DateTime', nullable: true, description: 'When it ended; null until then.' }),
    backup: t.field({ type: Backup, nullable: true, extensions: reads('backupId'), description: 'The backup that it works on; null where there is none, or it is gone.', resolve: ({ backupId }, _args, context, info) => load('Backup', backupId, context, info) }),
    restore: t.field({ type: Restore, nullable: true, extensions: reads('restoreId'), description: 'The restore that it runs; null where there is none, or its record is gone.', resolve: ({ restoreId }, _args, context, info) => load('Restore', restoreId, context, info) }),
    schedule: t.field({ type: Schedule, nullable: true, extensions: reads('scheduleId'), description: 'The schedule that started it; null where none did, and where the schedule has been deleted.', resolve: ({ scheduleId }, _args, context, info) => load('Schedule', scheduleId, context, info) }),
    transitions: t.field({
      type: JobStatusChangeConnection, extensions: reads(), args: pageArguments(t.arg),
      description: 'Its status changes, the oldest first. The cursors are those of the feed.',
      resolve: ({ id }, args, context) => changesOf('JOB', id, args, context),
    }),
  }),
});

/** A query by GET, which every client can follow. */
const jobUrl = (publicUrl: string, id: string): string =>
  `${publicUrl}/graphql?query=${encodeURIComponent(`{job(id:"${id}"){jobId operation status error progress{percent}}}`)}`;

const JobConnection = connectionType(Job, 'Job', 'jobs');

const JobFilterInput = builder.inputType('JobFilter', {
  description: 'Which jobs. Conditions are joined by "and"; a list matches any of its values, an empty list nothing.',
  fields: (t) => ({
    status: t.field({ type: [JobStatusEnum], description: 'In any of these statuses.' }),
    operation: t.field({ type: [JobOperationEnum], description: 'Of any of these operations.' }),
    deploymentId: t.id({ description: 'Of this deployment.' }),
  }),
});

builder.queryFields((t) => ({
  job: t.field({
    type: Job, nullable: true,
    description: 'A job; null where there is none.',
    args: { id: t.arg.id({ required: true, description: 'Its global id, its jobId or its number.' }) },
    resolve: async (_root, { id }, context, info) => load('Job', await readJobId(id, context), context, info),
  }),
  jobs: t.field({
    type: JobConnection,
    description: 'Jobs, the newest first.',
    args: { ...pageArguments(t.arg), filter: t.arg({ type: JobFilterInput, description: 'Which; all where it is left out.' }) },
    resolve: (_root, { filter: input, ...args }, context, info) => {
      const filter: JobFilter = { status: input?.status, operation: input?.operation, deployment: readOptionalId('Deployment', input?.deploymentId) };
      return connectionOf(args,
        (page) => listJobs(context.db, { filter, page, columns: neededColumns(info, 'Job') }),
        () => countJobs(context.db, filter),
      );
    },
  }),
}));

const CancelJobInput = builder.inputType('CancelJobInput', {
  description: 'What cancelJob needs.',
  fields: (t) => ({ id: t.id({ required: true, description: 'Which job: its global id, its jobId or its number (2008, 2009).' }) }),
});

const CancelJobPayload = builder.objectRef<{ job: JobRow }>('CancelJobPayload').implement({
  description: 'The job is being cancelled.',
  fields: (t) => ({ job: t.field({ type: Job, description: 'The job, CANCELLING; it ends CANCELLED.', resolve: ({ job }) => job }) }),
});

builder.mutationField('cancelJob', (t) => t.field({
  type: CancelJobPayload, errors: orViolations('CancelJobResult'),
  description: 'Cancels a job. A backup goes, as deleteBackup would have it; a restore is PENDING again, with nothing touched; what only reads stops. A deletion, and a restore that has begun to replace anything, go on (2009).',
  args: { input: t.arg({ type: CancelJobInput, required: true, description: 'Which job.' }) },
  resolve: (_root, { input }, context) => change('cancelJob', context, async () => cancelJob(context, await readJobId(input.id, context))),
}));

builder.subscriptionField('jobProgressed', (t) => t.field({
  type: Job,
  description: 'A job whenever it has moved, its present state first: sampled, the latest value wins, nothing is replayed. Completes after its end.',
  args: { id: t.arg.id({ required: true, description: 'Its global id, its jobId or its number. Unknown: the error NOT_FOUND.' }) },
  subscribe: async (_root, { id }, context) => {
    const jobId = await readJobId(id, context);
    if (jobId === null || await context.loaders.record('Job', jobId, new Set()) === undefined) throw new RecordNotFoundError();
    const ending = new AbortController();
    return eachAnew(jobIds(jobId, context, ending.signal), context, ending);
  },
  resolve: (id, _args, context, info) => mustLoad('Job', id, context, info),
}));

async function* jobIds(id: number, context: Parameters<typeof readJobId>[1], signal: AbortSignal): AsyncGenerator<number, void> {
  for await (const _moved of context.progress.follow(id, signal)) yield id;
}
