/**
 * The gateway that is measured, with as many backups in its database as a site has after some months.
 */
import { openGatewayDatabase, type TestDatabase } from '../test/support/database.ts';
import { startGatewayProcess, type GatewayProcess } from '../test/support/gateway.ts';
import { plantBackups, plantStore } from '../test/support/records.ts';

export interface Subject extends AsyncDisposable {
  readonly gateway: GatewayProcess;
  readonly database: TestDatabase;
  /** Ids of its backups. */
  readonly backups: number[];
}

const BACKUPS = 2_000;

/** What is to be tried out on the gateway, such as `BENCH_NODE_OPTIONS=--cpu-prof`. */
export const nodeOptions = (): Record<string, string> => ({ NODE_OPTIONS: process.env['BENCH_NODE_OPTIONS'] ?? '' });

export async function startSubject(): Promise<Subject> {
  const gateway = await startGatewayProcess({ env: nodeOptions() });
  const database = await openGatewayDatabase(gateway.dataDir);
  const store_id = await plantStore(database.sql);
  const backups = await plantBackups(database.sql, Array.from({ length: BACKUPS }, (_, n) => ({
    name: `nightly-${n}`, store_id, host_id: 1, size_on_disk: n * 1000, content_file_path: `/backups/nightly-${n}`, groups: ['DEPLOYMENT_CONFIG', 'USERS_CONFIG'],
    time_initiated: new Date(Date.UTC(2026, 0, 1) + n * 3_600_000).toISOString(), time_completed: new Date(Date.UTC(2026, 0, 1) + n * 3_600_000 + 60_000).toISOString(),
  })));
  await database.sql`analyze`;
  return {
    gateway, database, backups,
    async [Symbol.asyncDispose]() {
      await database.close();
      await gateway.stop();
    },
  };
}
