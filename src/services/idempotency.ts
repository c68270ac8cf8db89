/**
 * Runs a creation under an idempotency key: the same key and input from the same token answer the first result.
 */
import { findKeptResult, keepResult, type KeptResult } from '../records/idempotency.ts';
import type { Db } from '../records/rows.ts';
import type { ServiceContext } from './context.ts';

/** A text that is the same for the same input, whatever the order of its fields. */
const canonical = (input: object): string => JSON.stringify(Object.entries(input).filter(([, value]) => value != null).toSorted(([a], [b]) => (a < b ? -1 : 1)));

/** `replay`: this was answered before; `reused`: the key stands for another input (2006). */
export interface KeyUse {
  replay: KeptResult | null;
  reused: boolean;
  /** Binds the key to the result, in the same transaction; only success is remembered. */
  keep(result: Partial<KeptResult>): Promise<void>;
}

/** Looks the key up. Call it first in the transaction: requests with the same key wait here for each other. */
export async function useKey(tx: Db, context: ServiceContext, mutation: string, input: { idempotencyKey?: string | null }): Promise<KeyUse> {
  const key = input.idempotencyKey;
  if (key == null) return { replay: null, reused: false, keep: async () => undefined };
  // Kept as a digest, so that it may be of any length: an index has a limit.
  const scope = { token: context.principal.tokenId, mutation, key: context.sealing.mac(key) };
  // A keyed digest: a passcode may be among the input.
  const inputMac = context.sealing.mac(canonical(input));
  const kept = await findKeptResult(tx, scope);
  if (kept !== undefined) {
    const isSame = kept.inputMac === inputMac;
    return { replay: isSame ? kept : null, reused: !isSame, keep: async () => undefined };
  }
  return { replay: null, reused: false, keep: (result) => keepResult(tx, scope, { ...result, inputMac }) };
}
