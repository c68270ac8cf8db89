/**
 * The record types, declared apart from their fields, since they refer to each other; and how one is loaded.
 */
import type { GraphQLResolveInfo } from 'graphql';
import type { Noun, RowOf } from '../records/rows.ts';
import { builder } from './builder.ts';
import type { RequestContext } from './context.ts';
import { globalId } from './ids.ts';
import { neededColumns } from './selection.ts';

export const Node = builder.interfaceRef<{ id: number }>('Node').implement({
  description: 'Anything with a global id, by which `node` finds it again.',
  fields: (t) => ({
    id: t.id({ description: 'The global id: unique across all types, opaque, and the same for ever.', resolve: () => { throw new TypeError('Each type says its own id.'); } }),
  }),
});

const ref = <N extends Noun>(noun: N) => builder.objectRef<RowOf<N>>(noun);

export const Deployment = ref('Deployment');
export const Host = ref('Host');
export const BackupConfiguration = ref('BackupConfiguration');
export const BackupStore = ref('BackupStore');
export const Backup = ref('Backup');
export const Restore = ref('Restore');
export const Job = ref('Job');
export const Schedule = ref('Schedule');

/** The resolver of a record type's `id`. */
export const idOf = (noun: Noun) => ({ id }: { id: number }): string => globalId(noun, id);

/** Loads what the request reads of a record; null where there is none. */
export async function load<N extends Noun>(noun: N, id: number | null | undefined, context: RequestContext, info: GraphQLResolveInfo): Promise<RowOf<N> | null> {
  return id == null ? null : await context.loaders.record(noun, id, neededColumns(info, noun)) ?? null;
}

/** Likewise where there must be one. */
export async function mustLoad<N extends Noun>(noun: N, id: number, context: RequestContext, info: GraphQLResolveInfo): Promise<RowOf<N>> {
  const row = await load(noun, id, context, info);
  if (row === null) throw new TypeError(`${noun} ${id} is gone.`);
  return row;
}
