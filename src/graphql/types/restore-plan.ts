import { GatewayError } from '../../domain/errors.ts';
import { restorePlanForm } from '../../domain/forms.ts';
import type { PlannedEntries, PlannedGroup, RestorePlanReport } from '../../domain/reports.ts';
import type { BackupRow, JobRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { abandonPlan, planRestore, readPlan } from '../../services/plan.ts';
import { builder } from '../builder.ts';
import type { RequestContext } from '../context.ts';
import { ContentGroupEnum } from '../enums.ts';
import { change, orViolations } from '../errors.ts';
import { readId } from '../ids.ts';
import { Backup, Job } from '../refs.ts';

/** How long a request waits for its plan, in milliseconds. */
const PATIENCE = 10 * 60_000;
/** How often it is looked whether anybody still waits for the answer, in milliseconds. */
const LOOK_INTERVAL = 500;

const PlannedEntriesType = builder.objectRef<PlannedEntries>('RestorePlanEntries').implement({
  description: 'Files, directories and links that a restore would treat alike.',
  fields: (t) => ({
    count: t.expose('count', { type: 'Long', description: 'How many.' }),
    paths: t.exposeStringList('paths', { description: "The first 100 of them, as absolute paths; a directory's ends in a slash. What is no UTF-8 in a name is shown as U+FFFD." }),
  }),
});

const PlannedGroupType = builder.objectRef<PlannedGroup>('RestorePlanGroup').implement({
  description: 'What a restore of one group would change.',
  fields: (t) => ({
    group: t.expose('group', { type: ContentGroupEnum, description: 'Which group.' }),
    targets: t.exposeStringList('targets', { description: 'The directories and files that it would replace.' }),
    databases: t.exposeStringList('databases', { description: 'The databases that it would replace whole: host, port and name. What differs in them is not looked at.' }),
    added: t.field({ type: PlannedEntriesType, description: 'In the backup and not there now: they would come back.', resolve: ({ added }) => added }),
    changed: t.field({ type: PlannedEntriesType, description: 'Another kind, content, mode, owner or link target now than in the backup: they would be as they were. Another time alone is no change; extended attributes and access control lists are not looked at.', resolve: ({ changed }) => changed }),
    removed: t.field({ type: PlannedEntriesType, description: 'There now and not in the backup: they would go.', resolve: ({ removed }) => removed }),
    unreadable: t.field({
      type: PlannedEntriesType,
      description: 'There now and not readable for the worker, so that nobody can say whether they would change: counted here alone, with what lies below them where that is known. Only of sources with onUnreadable: WARN; of others, such a file ends the plan with the error PLAN_FAILED.',
      // Plans of earlier versions do not tell.
      resolve: ({ unreadable }) => (unreadable as PlannedEntries | undefined) ?? { count: 0, paths: [] },
    }),
    unchanged: t.expose('unchanged', { type: 'Long', description: 'How many files, directories and links are as they are in the backup.' }),
    bytesToWrite: t.expose('bytesToWrite', { type: 'Long', description: 'Bytes of the files that are added or changed.' }),
    bytesToUnpack: t.expose('bytesToUnpack', { type: 'Long', description: 'Bytes of all files of the group: the restore unpacks them all before it replaces anything, and needs that much free space.' }),
  }),
});

const RestorePlan = builder.objectRef<{ backup: BackupRow; job: JobRow; report: RestorePlanReport }>('RestorePlan').implement({
  description: 'What a restore would change. Nothing was touched.',
  fields: (t) => ({
    backup: t.field({ type: Backup, description: 'The backup.', resolve: ({ backup }) => backup }),
    job: t.field({ type: Job, description: 'The PLAN job that found it out.', resolve: ({ job }) => job }),
    groups: t.field({ type: [PlannedGroupType], description: 'Each group that was asked for.', resolve: ({ report }) => report.groups }),
  }),
});

builder.queryField('restorePlan', (t) => t.field({
  type: RestorePlan, nullable: true, errors: orViolations('RestorePlanResult'), validate: restorePlanForm,
  description: "What a restore of these groups would change, without touching anything; null where there is no such backup. The whole content is read and compared, so it takes about as long as a backup does, ten minutes at most (the error PLAN_TIMED_OUT). Send it by POST where it carries a passcode. The rules are createRestore's and those of its passcode; 2016: too many at once. What else goes wrong is the error PLAN_FAILED with the reason. Whoever goes away meanwhile stops it.",
  args: {
    backupId: t.arg.id({ required: true, description: 'Which backup: its global id, or its number (1004 to 1007).' }),
    groups: t.arg({ type: [ContentGroupEnum], required: true, description: 'Which groups; the backup must hold them (1008, 1009, 1010).' }),
    passcode: t.arg.string({ description: "The backup's passcode, where it is encrypted (2002, 2007). It is kept nowhere." }),
  },
  resolve: async (_root, { backupId, groups, passcode }, context) => {
    const queued = await change('restorePlan', context, () => planRestore(context, {
      backupId: ownId(readId('Backup', backupId)), groups, passcode: passcode ?? null,
    }));
    if (queued === null) return null;
    const job = await outcome(queued.job.id, context);
    // What was read before the wait may be another by now.
    context.loaders.clear();
    return { backup: queued.backup, job, report: job.result as RestorePlanReport };
  },
}));

/** Waits for a PLAN job to complete. @throws GatewayError where it ends otherwise, lasts too long, or nobody waits any more */
async function outcome(jobId: number, context: RequestContext): Promise<JobRow> {
  const ending = new AbortController();
  const patience = setTimeout(() => ending.abort(), PATIENCE);
  const look = setInterval(() => { if (context.isAbandoned()) ending.abort(); }, LOOK_INTERVAL);
  try {
    for await (const _moved of context.progress.follow(jobId, ending.signal));
  } finally {
    clearTimeout(patience);
    clearInterval(look);
    // Where it has ended this does nothing.
    await abandonPlan(context, jobId).catch((error: unknown) => context.log.warn({ error, jobId }, 'a restore plan that nobody waits for may go on'));
  }
  const job = await readPlan(context, jobId);
  if (job?.status === 'COMPLETED') return job;
  if (job?.status === 'FAILED') throw new GatewayError('PLAN_FAILED', job.error ?? 'The restore could not be planned.', '');
  if (ending.signal.aborted) throw new GatewayError('PLAN_TIMED_OUT', 'The plan took longer than ten minutes and was given up.', 'Ask for fewer groups at a time.');
  throw new GatewayError('PLAN_CANCELLED', 'The plan was cancelled, or its backup was deleted meanwhile.', 'Ask again if the plan is still of interest.');
}
