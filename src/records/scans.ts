/**
 * Queues scans: the worker does it for a store that nobody has looked into, a person for any.
 */
import type { Db } from '../db/client.ts';
import { findScanOf, findStoreById } from './checks.ts';
import { lockDeployment } from './deployments.ts';
import { insertJob } from './jobs.ts';
import type { JobRow } from './rows.ts';

/**
 * Queues a scan of a store, or answers the one that waits or runs. Of any number of processes that ask at once, one
 * queues it: the deployment's lock makes the others see it.
 *
 * @param unless a scan that somebody else has completed meanwhile is enough
 * @returns null: the store is gone, or needs no scan
 */
export async function queueScan(tx: Db, storeId: number, initiatedBy: string, unless?: 'scanned'): Promise<JobRow | null> {
  const deployment = await lockDeployment(tx);
  const store = await findStoreById(tx, storeId);
  if (deployment === undefined || store === undefined || (unless === 'scanned' && store.isScanned)) return null;
  return await findScanOf(tx, store.id)
    ?? insertJob(tx, { deploymentId: deployment.id, hostId: null, operation: 'SCAN', storeId: store.id, initiatedBy });
}
