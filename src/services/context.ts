/**
 * What every use case works with.
 */
import type { Sealing } from '../domain/sealing.ts';
import { findBackup } from '../records/backups.ts';
import type { RecordRef } from '../records/ids.ts';
import type { Pool } from '../records/rows.ts';

/** Keys that a passcode wraps; the engine makes and opens them. Both take about a second. */
export interface PasscodeKeys {
  createIdentity(passcode: string): Promise<{ recipient: string; wrapped: Uint8Array }>;
  /** null: the passcode is wrong. */
  openIdentity(wrapped: Uint8Array, passcode: string): Promise<string | null>;
  /** Encrypts the identities that an earlier backup's passcode opens to the recipient of a new one. null: the passcode is wrong. */
  passOnKeys(wrapped: Uint8Array, sharedKeys: Uint8Array | null, passcode: string, recipient: string): Promise<Uint8Array | null>;
}

/** Who asks. */
export interface Principal {
  /** Shown as `initiatedBy`. */
  name: string;
  /** Names the token without telling it. */
  tokenId: string;
}

export interface ServiceContext {
  readonly db: Pool;
  readonly keys: PasscodeKeys;
  readonly sealing: Sealing;
  readonly principal: Principal;
}

/** The identity of an encrypted backup, opened by the passcode; null where there is none to open, or it is wrong. */
export async function openIdentityOf(context: ServiceContext, backupId: number | null, passcode: string | null): Promise<string | null> {
  if (backupId === null || passcode === null) return null;
  const backup = await findBackup(context.db, backupId);
  if (backup?.wrappedIdentity == null) return null;
  return context.keys.openIdentity(Buffer.from(backup.wrappedIdentity, 'base64'), passcode);
}

/** How an input names a record; 'none': an id that cannot be one of such a record, so it is not found. */
export type InputRef = RecordRef | 'none';

/** The gateway's own id of a record whose documented number is the same as it, such as a backup's. */
export const ownId = (ref: InputRef | null | undefined): number | null =>
  ref == null || ref === 'none' ? null : ref.by === 'id' ? ref.id : ref.number;
