/**
 * The Backup and Restore Engine: makes, verifies, restores and removes real backups. Knows no SQL and no GraphQL.
 *
 * Failures are `EngineError`s with a hint; a work given up on request ends in `CancelledError`.
 */
export type {
  ArchiveSpec, BackupKey, BackupPlan, BackupResult, BackupRun, IncrementalPlan, Manifest, ManifestArchive, ManifestFacts, Progress,
  Recovery, RestorePlan, RestoreRun, RestoreTarget, StoreState, VerifyResult, VerifyRun,
} from './contract.ts';
export { backup } from './backup.ts';
export { drill } from './drill.ts';
export { removeTree as removeScratch } from './disk.ts';
export type { DrillPlan, DrillResult, DrillRun } from './drill.ts';
export { passOnKeys } from './incremental/shared-keys.ts';
export { createIdentity, openIdentity } from './keys.ts';
export { readManifest } from './manifest.ts';
export { hasIonice } from './priority.ts';
export { planRestore } from './plan.ts';
export { recoverRestore, sweepRestoreLeftovers } from './recover.ts';
export { restore } from './restore.ts';
export { salvageManifest } from './salvage.ts';
export type { SalvagedFacts } from './salvage.ts';
export { STORE_MARK } from './stores/directory.ts';
export { openStore } from './stores/index.ts';
export type { BackupFiles, BackupWriter, Store } from './stores/contract.ts';
export { findTar } from './tar.ts';
export { verifyBackup } from './verify.ts';
