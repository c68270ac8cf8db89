import type { RetentionDecision as Decision } from '../../domain/retention.ts';
import { findDeployment } from '../../records/deployments.ts';
import { PageError, pageSize, type Page, type PageArguments } from '../../records/page.ts';
import type { JobRow } from '../../records/rows.ts';
import { ownId } from '../../services/context.ts';
import { applyRetention, retentionDecisions } from '../../services/retention.ts';
import { builder } from '../builder.ts';
import { connection, connectionType, pageArguments, type Connection } from '../connections.ts';
import { change, orViolations } from '../errors.ts';
import { readOptionalId } from '../ids.ts';
import { Backup, Job, load } from '../refs.ts';

const RetentionDecision = builder.objectRef<Decision>('RetentionDecision').implement({
  description: 'What retention makes of one backup.',
  fields: (t) => ({
    backup: t.field({ type: Backup, nullable: true, description: 'The backup; null where it has gone since the decision.', resolve: ({ backup }, _args, context, info) => load('Backup', backup.id, context, info) }),
    isRemoved: t.exposeBoolean('isRemoved', { description: 'Whether a RETENTION job would remove it now.' }),
    reason: t.exposeString('reason', { description: 'Why it is removed or kept, in words, such as "older than the 7 days of schedule nightly" or "pinned".' }),
  }),
});

const RetentionDecisionConnection = connectionType(RetentionDecision, 'RetentionDecision', 'retention decisions');

const cursorOf = ({ backup }: Decision): string => Buffer.from(`retention ${backup.id}`).toString('base64url');
function readCursor(argument: string, cursor: string | null | undefined): number | null {
  if (cursor == null) return null;
  const [, id] = /^retention (\d{1,15})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  if (id === undefined) throw new PageError('CURSOR_INVALID', `The cursor in '${argument}' is not one of this list.`, 'Use a cursor exactly as it was answered.');
  return Number(id);
}

/** A page of a list that is there already, the newest backup first; a cursor is the number of a backup. */
function pageOf(decisions: readonly Decision[], args: PageArguments): Page<Decision> {
  const { size, fromEnd } = pageSize(args);
  const [after, before] = [readCursor('after', args.after), readCursor('before', args.before)];
  const isInside = ({ backup: { id } }: Decision): boolean => (after === null || id < after) && (before === null || id > before);
  const inside = decisions.filter(isInside);
  let kept = fromEnd ? inside.slice(Math.max(0, inside.length - size)) : inside.slice(0, size);
  if (!fromEnd && args.last != null) kept = kept.slice(Math.max(0, kept.length - args.last));
  const [first, last] = [kept[0], kept.at(-1)];
  return {
    rows: kept.map((row) => ({ cursor: cursorOf(row), row })),
    hasPreviousPage: () => Promise.resolve(first !== undefined && first !== decisions[0]),
    hasNextPage: () => Promise.resolve(last !== undefined && last !== decisions.at(-1)),
  };
}

builder.queryField('retentionPreview', (t) => t.field({
  type: RetentionDecisionConnection, nullable: true,
  description: 'What retention makes of every backup now, the newest first, with the reason; nothing is changed. null: there is no such deployment.',
  args: {
    ...pageArguments(t.arg),
    deploymentId: t.arg.id({ description: 'Of which deployment; the default one where it is left out.' }),
    removed: t.arg.boolean({ description: 'Only what would be removed (true), or kept (false).' }),
  },
  resolve: async (_root, { deploymentId, removed, ...args }, context): Promise<Connection<Decision> | null> => {
    const ref = readOptionalId('Deployment', deploymentId);
    const deployment = ref === 'none' ? undefined : await findDeployment(context.db, ownId(ref));
    if (deployment === undefined) return null;
    const decisions = (await retentionDecisions(context.db, deployment, 'all')).filter(({ isRemoved }) => removed == null || isRemoved === removed);
    const page = pageOf(decisions, args);
    return connection(() => Promise.resolve(page), () => Promise.resolve(decisions.length));
  },
}));

const ApplyRetentionInput = builder.inputType('ApplyRetentionInput', {
  description: 'What applyRetention needs.',
  fields: (t) => ({ deploymentId: t.id({ description: 'Of which deployment; the default one where it is left out (2012).' }) }),
});

const ApplyRetentionPayload = builder.objectRef<{ job: JobRow }>('ApplyRetentionPayload').implement({
  description: 'Retention was started, or was under way already.',
  fields: (t) => ({ job: t.field({ type: Job, description: 'The RETENTION job. Its messages say what was removed and why; each removal is a DELETE job of its own.', resolve: ({ job }) => job }) }),
});

builder.mutationField('applyRetention', (t) => t.field({
  type: ApplyRetentionPayload, errors: orViolations('ApplyRetentionResult'),
  description: 'Removes now what retention no longer keeps; `retentionPreview` says what that is. It happens by itself as well: every hour, and after each scheduled backup.',
  args: { input: t.arg({ type: ApplyRetentionInput, required: true, description: 'Of which deployment.' }) },
  resolve: (_root, { input }, context) => change('applyRetention', context, () => applyRetention(context, readOptionalId('Deployment', input.deploymentId))),
}));
