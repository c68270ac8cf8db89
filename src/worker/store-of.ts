/**
 * The engine's stores behind the records: one for each, kept, since one of an object store keeps connections.
 */
import * as engine from '../engine/index.ts';
import type { StoreRow } from '../records/rows.ts';

const opened = new Map<number, { key: string; store: engine.Store }>();

/**
 * The store that a record speaks of; a new one where the record has changed since.
 *
 * @throws EngineError STORE_UNREACHABLE where the record does not say where it is
 */
export function storeOf({ id, type, path, s3 }: Pick<StoreRow, 'id' | 'type' | 'path' | 's3'>): engine.Store {
  const key = JSON.stringify([type, path, s3]);
  const known = opened.get(id);
  if (known?.key === key) return known.store;
  const store = engine.openStore({ type, path, s3 });
  opened.set(id, { key, store });
  return store;
}
