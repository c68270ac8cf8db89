/**
 * Idempotency keys: the same key and input from the same token answer the first result.
 */
import { and, eq, lt, or, sql } from 'drizzle-orm';
import type { Db } from '../db/client.ts';
import { idempotencyKeys } from '../db/schema.ts';

/** Whose key it is. */
export interface KeyScope { token: string; mutation: string; key: string }
export type KeptResult = { inputMac: string; backupId: number | null; restoreId: number | null; jobId: number | null };

const ofScope = (scope: KeyScope) => and(
  eq(idempotencyKeys.token, scope.token), eq(idempotencyKeys.mutation, scope.mutation), eq(idempotencyKeys.key, scope.key),
);

/**
 * What the key stands for, if it has been used in the last 24 hours and its record lives. Requests with the same
 * key queue here until the transaction ends, so that the second of two at once sees the first's result.
 */
export async function findKeptResult(db: Db, scope: KeyScope): Promise<KeptResult | undefined> {
  const name = JSON.stringify([scope.token, scope.mutation, scope.key]);
  await db.execute(sql`select pg_advisory_xact_lock(hashtextextended(${name}, 7310003))`);
  await db.delete(idempotencyKeys).where(and(ofScope(scope), or(
    lt(idempotencyKeys.timeCreated, sql`now() - interval '24 hours'`),
    sql`exists (select from restores r where r.id = ${idempotencyKeys.restoreId} and r.is_removed)`,
  )));
  const [row] = await db.select().from(idempotencyKeys).where(ofScope(scope)).prepare('kept_result').execute();
  return row;
}

/** Binds the key to a result. */
export async function keepResult(db: Db, scope: KeyScope, result: Partial<KeptResult> & { inputMac: string }): Promise<void> {
  await db.insert(idempotencyKeys).values({ ...scope, ...result });
}

/** Forgets keys older than 24 hours. */
export async function forgetOldKeys(db: Db): Promise<void> {
  await db.delete(idempotencyKeys).where(lt(idempotencyKeys.timeCreated, sql`now() - interval '24 hours'`));
}
