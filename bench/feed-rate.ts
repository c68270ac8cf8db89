/**
 * How many status changes a second the database takes, each a transaction of its own, from many sessions at once: with the
 * lock that puts commits in order and with NOTIFY, and without one or both of them, so that it shows which is the limit.
 */
import { availableParallelism } from 'node:os';
import { openGatewayDatabase } from '../test/support/database.ts';
import { startGatewayProcess } from '../test/support/gateway.ts';
import { plantBackups, plantStore } from '../test/support/records.ts';
import { nodeOptions } from './gateway.ts';
import { printTable, quantile } from './table.ts';

/** What is left out of the trigger's function, by its source text. */
const VARIANTS: Record<string, RegExp[]> = {
  'lock and NOTIFY, as it is': [],
  'without NOTIFY': [/\n\s*perform pg_notify\([^;]*;/],
  'without the lock, and so without order': [/\n\s*perform pg_advisory_xact_lock\([^;]*;/],
  'without both': [/\n\s*perform pg_notify\([^;]*;/, /\n\s*perform pg_advisory_xact_lock\([^;]*;/],
};

export async function measureFeedRate({ seconds, sessions }: { seconds: number; sessions: number[] }): Promise<void> {
  const gateway = await startGatewayProcess({ env: nodeOptions() });
  const database = await openGatewayDatabase(gateway.dataDir);
  const { sql } = database;
  try {
    const store_id = await plantStore(sql);
    const most = Math.max(...sessions);
    const backups = await plantBackups(sql, Array.from({ length: most }, (_, n) => ({ name: `nightly-${n}`, store_id, host_id: 1, content_file_path: `/backups/nightly-${n}` })));
    const [{ source = '' } = {}] = await sql<{ source: string }[]>`select pg_get_functiondef('record_transition'::regproc) as source`;
    const open = Array.from({ length: most }, () => database.session());
    const rows: (string | number)[][] = [];
    for (const [variant, omitted] of Object.entries(VARIANTS)) {
      const changed = omitted.reduce((text, part) => text.replace(part, ''), source);
      if (omitted.length > 0 && changed === source) throw new Error('The function of the trigger is not written as expected.');
      await sql.unsafe(changed);
      for (const count of sessions) {
        const times: number[] = [];
        const end = performance.now() + seconds * 1000;
        await Promise.all(open.slice(0, count).map(async (session, nth) => {
          while (performance.now() < end) {
            const began = performance.now();
            await session`update backups set status = case status when 'SUCCESS' then 'MISSING' else 'SUCCESS' end where id = ${backups[nth] ?? 0}`;
            times.push(performance.now() - began);
          }
        }));
        rows.push([variant, count, (times.length / seconds).toFixed(0), quantile(times, 0.5).toFixed(1), quantile(times, 0.99).toFixed(1)]);
      }
    }
    await sql.unsafe(source);
    await Promise.all(open.map((session) => session.end()));
    printTable(`Status changes a second, on ${availableParallelism()} processors with a gateway that reads them`, ['', 'sessions', 'changes a second', 'commit, median ms', '99th percentile, ms'], rows);
  } finally {
    await database.close();
    await gateway.stop();
  }
}
