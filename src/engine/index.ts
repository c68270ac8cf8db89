/**
 * The Backup and Restore Engine: makes, verifies, restores and removes real backups. Knows no SQL and no GraphQL.
 *
 * Failures are `EngineError`s with a hint; a work given up on request ends in `CancelledError`.
 */
export type {
  ArchiveSpec, BackupKey, BackupPlan, BackupResult, BackupRun, Manifest, ManifestArchive, ManifestFacts, Progress,
  Recovery, RestorePlan, RestoreRun, RestoreTarget, StoreState, VerifyResult, VerifyRun,
} from './contract.ts';
export { backup } from './backup.ts';
export { createIdentity, openIdentity } from './keys.ts';
export { readManifest } from './manifest.ts';
export { recoverRestore, sweepRestoreLeftovers } from './recover.ts';
export { restore } from './restore.ts';
export { checkStore, listBackups, removeBackup, storeHas, sweepPartials } from './store.ts';
export { findTar } from './tar.ts';
export { verifyBackup } from './verify.ts';
