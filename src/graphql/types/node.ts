import { PageError } from '../../records/page.ts';
import { builder } from '../builder.ts';
import type { RequestContext } from '../context.ts';
import { readGlobalId } from '../ids.ts';
import { Node } from '../refs.ts';
import { neededColumns } from '../selection.ts';
import type { GraphQLResolveInfo } from 'graphql';

/** As many as a page has at most. */
const LARGEST_LIST = 100;

/** Loads any record by its global id; the type name goes with the row, so that the interface can be resolved. */
async function find(id: string, context: RequestContext, info: GraphQLResolveInfo): Promise<{ id: number } | null> {
  const read = readGlobalId(id);
  if (read === null) return null;
  const row = await context.loaders.record(read.type, read.id, neededColumns(info, read.type));
  return row === undefined ? null : { ...row, __typename: read.type } as { id: number };
}

builder.queryField('node', (t) => t.field({
  type: Node, nullable: true,
  description: 'Any record by its global id; null where there is none.',
  args: { id: t.arg.id({ required: true, description: 'A global id.' }) },
  resolve: (_root, { id }, context, info) => find(id, context, info),
}));

builder.queryField('nodes', (t) => t.field({
  type: [Node], nullable: { list: false, items: true },
  description: 'Several records by their global ids, in the same order; null for each that does not exist. At most 100.',
  args: { ids: t.arg.idList({ required: true, description: 'Global ids.' }) },
  resolve: (_root, { ids }, context, info) => {
    if (ids.length > LARGEST_LIST) throw new PageError('BAD_USER_INPUT', `${ids.length} ids were asked for.`, `Ask for ${LARGEST_LIST} at a time.`);
    return Promise.all(ids.map((id) => find(id, context, info)));
  },
}));
