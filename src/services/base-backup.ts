/**
 * Finds the backup that a new DATA backup may share unchanged files with, and passes on the keys that open them.
 *
 * The gateway alone sees the passcode: where it opens an earlier backup, that one's identities are encrypted to the new
 * one's recipient, and the worker needs no secret. Whether sharing is possible and pays is the worker's to find out.
 */
import type { BackupIdentity } from './create-backup.ts';
import type { CreateBackupRequest } from './create-backup.ts';
import { newestDataBackup } from '../records/backups.ts';
import { findConsole, findDeployment, findHost, findStore } from '../records/deployments.ts';
import type { BackupRow, Db } from '../records/rows.ts';
import { ownId, type ServiceContext } from './context.ts';

/** The columns of a backup that say what it is based on. */
export type BaseColumns = Pick<BackupRow, 'baseBackupId' | 'sharedKeys'>;

const NONE: BaseColumns = { baseBackupId: null, sharedKeys: null };

/** A backup that the passcode has opened, with its keys for the new one. */
export interface OpenedBase { backupId: number; sharedKeys: string }

/**
 * Opens the newest encrypted backup of the same host and store. Takes about a second, which no transaction should last.
 *
 * @returns null where there is none, the passcode is another, or its keys are damaged
 */
export async function openBase(context: ServiceContext, request: CreateBackupRequest, identity: BackupIdentity | null): Promise<OpenedBase | null> {
  const { passcode, type, deployment: deploymentRef, host: hostRef } = request;
  if (passcode === null || identity === null || type !== 'DATA' || deploymentRef === 'none' || hostRef === 'none') return null;
  // The rules are looked at later: what breaks one here has no base.
  const deployment = await findDeployment(context.db, ownId(deploymentRef));
  const store = await findStore(context.db, request.storeName);
  if (deployment === undefined || store === undefined) return null;
  const host = hostRef === null ? await findConsole(context.db, deployment.id) : await findHost(context.db, deployment.id, hostRef);
  const base = host === undefined ? undefined : await newestDataBackup(context.db, { hostId: host.id, storeId: store.id, encryption: 'any' });
  if (base?.wrappedIdentity == null) return null;
  const keys = await context.keys.passOnKeys(bytesOf(base.wrappedIdentity), base.sharedKeys === null ? null : bytesOf(base.sharedKeys), passcode, identity.recipient)
    .catch(() => null);
  return keys === null ? null : { backupId: base.id, sharedKeys: Buffer.from(keys).toString('base64') };
}

/**
 * The base of a backup that is about to be recorded, in the transaction that records it.
 *
 * @param recipient of the new backup; null: it is in clear
 * @param opened what `openBase` has found before
 */
export async function baseFor(tx: Db, place: { hostId: number; storeId: number }, recipient: string | null, opened: OpenedBase | null): Promise<BaseColumns> {
  // Backups of one schedule have one key: whatever opens the base opens the new one too.
  const base = await newestDataBackup(tx, { ...place, encryption: recipient === null ? 'none' : { recipient } });
  if (base !== undefined) return { baseBackupId: base.id, sharedKeys: base.sharedKeys };
  if (recipient === null || opened === null) return NONE;
  // It may have been deleted meanwhile, or the host or store of that name be another.
  const newest = await newestDataBackup(tx, { ...place, encryption: 'any' });
  return newest?.id === opened.backupId ? { baseBackupId: opened.backupId, sharedKeys: opened.sharedKeys } : NONE;
}

const bytesOf = (text: string): Buffer => Buffer.from(text, 'base64');
