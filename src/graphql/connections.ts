/**
 * Relay connections: their types, arguments, and how little of them is read when little is asked.
 */
import type { ObjectRef } from '@pothos/core';
import { pageSize, type Page, type PageArguments } from '../records/page.ts';
import { builder, type Types } from './builder.ts';

/** A list of which each part is read only when it is asked for. */
export interface Connection<Row> {
  page(): Promise<Page<Row>>;
  count(): Promise<number>;
}

/** A connection whose page and count are each read once at most. */
export function connection<Row>(page: () => Promise<Page<Row>>, count: () => Promise<number> = () => Promise.resolve(0)): Connection<Row> {
  let pageRead: Promise<Page<Row>> | undefined;
  let countRead: Promise<number> | undefined;
  return { page: () => (pageRead ??= page()), count: () => (countRead ??= count()) };
}

/** The connection of a counted list. @throws PageError for a size that makes no sense, also where only the count is asked for. */
export function connectionOf<Row>(
  { first, after, last, before }: PageArguments, page: (args: PageArguments) => Promise<Page<Row>>, count: () => Promise<number>,
): Connection<Row> {
  pageSize({ first, last });
  return connection(() => page({ first, after, last, before }), count);
}

const PageInfo = builder.objectRef<Page<unknown>>('PageInfo').implement({
  description: 'Where a page lies in its list.',
  fields: (t) => ({
    hasNextPage: t.boolean({ description: 'Whether there is anything after this page.', resolve: (page) => page.hasNextPage() }),
    hasPreviousPage: t.boolean({ description: 'Whether there is anything before this page.', resolve: (page) => page.hasPreviousPage() }),
    startCursor: t.string({ nullable: true, description: 'The cursor of the first one on this page, for `before`; null where the page is empty.', resolve: (page) => page.rows[0]?.cursor }),
    endCursor: t.string({ nullable: true, description: 'The cursor of the last one on this page, for `after`; null where the page is empty.', resolve: (page) => page.rows.at(-1)?.cursor }),
  }),
});

/** The connection and edge types of a node type. `noun`, in the plural, is for the descriptions. */
export function connectionType<Row>(node: ObjectRef<Types, Row>, name: string, noun: string, options: { counted: boolean } = { counted: true }): ObjectRef<Types, Connection<Row>> {
  const edge = builder.objectRef<{ cursor: string; row: Row }>(`${name}Edge`).implement({
    description: `One of a list of ${noun}, and where it stands in the list.`,
    fields: (t) => ({
      cursor: t.exposeString('cursor', { description: 'Its place in the list, for `after` and `before`. Valid for the same order only.' }),
      node: t.field({ type: node, description: 'What stands there.', resolve: ({ row }) => row as never }),
    }),
  });
  return builder.objectRef<Connection<Row>>(`${name}Connection`).implement({
    description: `A page of ${noun}, after the Relay cursor specification. Its place does not shift when others come or go.`,
    fields: (t) => ({
      edges: t.field({ type: [edge], description: 'What is on this page, with cursors.', resolve: async (list) => (await list.page()).rows }),
      nodes: t.field({ type: [node], description: 'What is on this page, without cursors.', resolve: async (list) => (await list.page()).rows.map(({ row }) => row) as never }),
      pageInfo: t.field({ type: PageInfo, description: 'Where this page lies in the list.', resolve: (list) => list.page() }),
      ...(options.counted ? {
        totalCount: t.int({ description: 'How many the whole list has, all pages together. Counted only when asked for.', resolve: (list) => list.count() }),
      } : {}),
    }),
  });
}

type ArgumentBuilder = Parameters<NonNullable<Parameters<typeof builder.queryField>[1]>>[0]['arg'];

/** The four arguments of every connection. */
export const pageArguments = (arg: ArgumentBuilder) => ({
  first: arg.int({ description: 'How many from the start, 0 to 100. Without first and last: 50.' }),
  after: arg.string({ description: 'Only what stands after this cursor.' }),
  last: arg.int({ description: 'How many from the end, 0 to 100.' }),
  before: arg.string({ description: 'Only what stands before this cursor.' }),
});
