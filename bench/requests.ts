/**
 * Requests a second over HTTP, from a worker thread with connections that are kept alive, each with one request
 * under way. Server, database and load share the machine.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { startSubject } from './gateway.ts';
import type { Load, LoadResult } from './load.ts';
import { printTable } from './table.ts';

const BY_ID = 'query ($id: ID!) { backup(id: $id) { id name status type sizeOnDisk timeInitiated } }';
const LIST = '{ backups(first: 50) { nodes { id name status type sizeOnDisk timeInitiated } } }';

export async function measureRequests({ seconds, connections }: { seconds: number; connections: number }): Promise<void> {
  await using subject = await startSubject();
  const { gateway, backups } = subject;
  const run = async (bodies: string[], duration: number): Promise<LoadResult> => {
    const load: Load = { url: `${gateway.url}/graphql`, token: gateway.token, bodies, connections, seconds: duration };
    const worker = new Worker(new URL('./load.ts', import.meta.url), { workerData: load });
    const [result] = await once(worker, 'message') as [LoadResult];
    return result;
  };

  const rows: (string | number)[][] = [];
  for (const [what, bodies] of [
    ['a backup by its id', backups.slice(0, 500).map((id) => JSON.stringify({ query: BY_ID, variables: { id: String(id) } }))],
    ['a list of 50 backups', [JSON.stringify({ query: LIST })]],
  ] as const) {
    await run([...bodies], Math.max(3, seconds / 2));
    const { requests, failures, seconds: took } = await run([...bodies], seconds);
    rows.push([what, Math.round(requests / took), failures]);
  }
  printTable(`Requests a second, ${connections} connections`, ['', 'requests/s', 'failures'], rows);
}
