/**
 * The feed as a client sees it, and as its table has it, in one form.
 */
import type { TestDatabase } from './database.ts';
import type { TestGateway } from './gateway.ts';
import type { Message, RawSocket } from './socket.ts';

export type Kind = 'BACKUP' | 'RESTORE' | 'JOB';

export interface Change { position: number; record: string; from: string | null; to: string | null; at: string }

/** Each kind's fields: the subscription, the list, and what names the record. */
const NOUNS = {
  BACKUP: { subscription: 'backupStatusChanged', list: 'backupTransitions', record: 'backupId' },
  RESTORE: { subscription: 'restoreStatusChanged', list: 'restoreTransitions', record: 'restoreId' },
  JOB: { subscription: 'jobStatusChanged', list: 'jobTransitions', record: 'jobId' },
} as const;

const fieldsOf = (kind: Kind) => `cursor record: ${NOUNS[kind].record} from to at`;

export const subscriptionTo = (kind: Kind): string =>
  `subscription ($id: ID, $after: String) { change: ${NOUNS[kind].subscription}(id: $id, after: $after) { ${fieldsOf(kind)} } }`;

/** The number in a cursor: its place in the order of commits. */
export const positionOf = (cursor: string): number => Number(Buffer.from(cursor, 'base64url').toString().split('/')[2]);

/** A cursor as the gateway would write it. */
export const cursorAt = (like: string, position: number): string =>
  Buffer.from(Buffer.from(like, 'base64url').toString().replace(/\d+$/, String(position))).toString('base64url');

const changeOf = ({ cursor, record, from, to, at }: Record<string, any>): Change => ({ position: positionOf(cursor), record, from, to, at });

/** The change in a message; fails for an error. */
export function readChange(message: Message): Change & { cursor: string } {
  const change = message.payload?.data?.change;
  if (change == null) throw new Error(`no change: ${JSON.stringify(message)}`);
  return { cursor: change.cursor, ...changeOf(change) };
}

/** What a kind's table rows are for a client. */
export async function changesInTable({ sql }: TestDatabase, kind: Kind, after = 0): Promise<Change[]> {
  const rows = await sql<{ position: string; record_id: string; label: string | null; from_status: string | null; to_status: string | null; at: Date }[]>`
    select * from transitions where kind = ${kind} and position > ${after} order by position`;
  const type = { BACKUP: 'Backup', RESTORE: 'Restore', JOB: '' }[kind];
  return rows.map((row) => ({
    position: Number(row.position), from: row.from_status, to: row.to_status, at: row.at.toISOString(),
    record: kind === 'JOB' ? row.label ?? '' : Buffer.from(`${type}:${row.record_id}`).toString('base64url'),
  }));
}

/** The list of a kind's changes, read page by page to its end. */
export async function changesInPages(gateway: TestGateway, kind: Kind, first: number, after: string | null = null): Promise<Change[]> {
  const changes: Change[] = [];
  for (let cursor = after; ;) {
    const { data } = await gateway.query(`query ($first: Int, $after: String) { page: ${NOUNS[kind].list}(first: $first, after: $after) {
      nodes { ${fieldsOf(kind)} } pageInfo { hasNextPage endCursor } } }`, { first, after: cursor });
    changes.push(...data.page.nodes.map(changeOf));
    if (data.page.pageInfo.hasNextPage !== true) return changes;
    cursor = data.page.pageInfo.endCursor;
  }
}

export const feedCursor = async (gateway: TestGateway): Promise<string> => (await gateway.query('{ feedCursor }')).data.feedCursor;

/** Reads a stream's changes until one of a position has come, or it is complete. */
export async function readUntil(socket: RawSocket, id: string, position: number): Promise<Change[]> {
  const changes: Change[] = [];
  while ((changes.at(-1)?.position ?? 0) < position) {
    const message = await socket.next(id);
    if (message.type === 'complete') break;
    const { cursor: _cursor, ...change } = readChange(message);
    changes.push(change);
  }
  return changes;
}

let made = 0;

/** Adds a backup that no worker looks at. @returns its number and global id */
export async function addBackup({ sql }: TestDatabase, store: 'nowhere' | 'default' = 'nowhere'): Promise<{ number: number; id: string; name: string }> {
  const name = `made-${made += 1}`;
  // In a store that cannot be reached, where the worker does not look for its files.
  await sql`
    insert into stores (name, type, path, is_default, requires_passcode, is_declared, is_prepared, status)
    values ('nowhere', 'DIRECTORY', '/nowhere/backups', false, false, false, true, 'UNREACHABLE') on conflict do nothing`;
  const [row] = await sql<{ id: string }[]>`
    insert into backups (deployment_id, store_id, name, type, status, version, initiated_by, directory, groups)
    select d.id, s.id, ${name}, 'CONFIG', 'SUCCESS', '1', 'test', ${name}, '{}' from deployments d, stores s
    where d.is_default and s.name = ${store} returning id`;
  return { number: Number(row?.id), id: Buffer.from(`Backup:${row?.id}`).toString('base64url'), name };
}

/** Lets a backup be lost and found again, each a change of its own, all in one transaction or each in its own. */
export async function flip({ sql }: Pick<TestDatabase, 'sql'>, number: number, times: number, options: { together: boolean } = { together: true }): Promise<void> {
  const commit = options.together ? '' : 'commit;';
  await sql.unsafe(`do $$ begin for i in 1..${times} loop
    update backups set status = case status when 'SUCCESS' then 'MISSING' else 'SUCCESS' end where id = ${number}; ${commit}
  end loop; end $$`);
}

/** The end of the feed, by its table. */
export const endOfFeed = async ({ sql }: TestDatabase): Promise<number> =>
  Number((await sql<{ end: string }[]>`select max(position) as end from transitions`)[0]?.end);
