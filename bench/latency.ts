/**
 * From the statement that commits a status change, as it is sent, to each subscriber's message. Each subscriber has a
 * socket of its own; all are in one worker thread.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { startSubject } from './gateway.ts';
import type { Audience } from './subscribers.ts';
import { printTable, quantile } from './table.ts';

export async function measureLatency(audiences: number[]): Promise<void> {
  await using subject = await startSubject();
  const { gateway, database: { sql }, backups: [backup = 0] } = subject;
  const rows: (string | number)[][] = [];
  for (const subscribers of audiences) {
    const { data: { feedCursor: after } } = await gateway.query('{ feedCursor }');
    const audience: Audience = { url: `${gateway.url.replace('http', 'ws')}/graphql`, token: gateway.token, subscribers, after };
    const worker = new Worker(new URL('./subscribers.ts', import.meta.url), { workerData: audience });
    await once(worker, 'message');

    const [rounds, warmUp] = subscribers < 100 ? [500, 100] : [60, 10];
    const [all, last]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds + warmUp; round += 1) {
      const received = once(worker, 'message', { signal: AbortSignal.timeout(10_000) }) as Promise<[bigint[]]>;
      const status = round % 2 === 0 ? 'MISSING' : 'SUCCESS';
      const sent = process.hrtime.bigint();
      await sql`update backups set status = ${status} where id = ${backup}`;
      const [times] = await received;
      if (round < warmUp) continue;
      const latencies = times.map((time) => Number(time - sent) / 1e6);
      for (const latency of latencies) all.push(latency);
      last.push(Math.max(...latencies));
    }
    rows.push([subscribers, quantile(all, 0.5).toFixed(1), quantile(all, 0.99).toFixed(1), quantile(last, 0.5).toFixed(1)]);
    await worker.terminate();
  }
  printTable('Commit to client, milliseconds', ['subscribers', 'median', '99th percentile', 'last of all, median'], rows);
}
