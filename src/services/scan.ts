/**
 * scanStore: every backup in a store is looked for, and what the catalogue does not have is entered into it.
 */
import { RuleCheck } from '../domain/rules.ts';
import { findStore } from '../records/deployments.ts';
import type { JobRow, StoreRow } from '../records/rows.ts';
import { queueScan } from '../records/scans.ts';
import type { ServiceContext } from './context.ts';

/** Starts to scan a store, without a name the default one; one that is being scanned answers that scan. @throws RuleViolationsError */
export async function scanStore(context: ServiceContext, storeName: string | null): Promise<{ store: StoreRow; job: JobRow }> {
  return context.db.transaction(async (tx) => {
    const store = await findStore(tx, storeName);
    const job = store === undefined ? null : await queueScan(tx, store.id, context.principal.name);
    if (store === undefined || job === null) throw new RuleCheck('scanStore').refusal('STORE_NOT_FOUND', 'storeName');
    return { store, job };
  });
}
