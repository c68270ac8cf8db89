/**
 * Whether a backup is valid for its deployment, and why not. Source: QRadar's `is_valid` and `is_compatible`.
 */
import type { BackupStatus, HaRole, ValidityProblem } from './vocabulary.ts';

/** What is known of a backup: what its manifest says and what the last reading of its files found. */
export interface BackupFacts {
  status: BackupStatus;
  version: string;
  /** What reading the files showed: digests, missing files, an unreadable manifest. */
  fileProblems: readonly ValidityProblem[];
  product: string | null;
  appliance: string | null;
  haRole: HaRole | null;
  /** Addresses of the managed hosts at the time of the backup, the console's own left out. */
  managedHostAddresses: readonly string[];
}

/** The deployment as it is deployed now. */
export interface DeploymentFacts {
  version: string;
  product: string;
  appliance: string;
  consoleHaRole: HaRole | null;
  consoleAddress: string | null;
}

const ENDED: ReadonlySet<BackupStatus> = new Set(['SUCCESS', 'FAILED', 'MISSING', 'DELETING']);

/** Every reason why the backup is not valid; empty while it runs, although it is not valid then either. */
export function validityProblems(backup: BackupFacts, deployment: DeploymentFacts): ValidityProblem[] {
  if (!ENDED.has(backup.status)) return [];
  const problems = new Set(backup.fileProblems);
  if (backup.status === 'FAILED' || backup.status === 'MISSING') problems.add('FILE_MISSING');
  if (backup.haRole !== null && backup.haRole !== 'STANDBY' && deployment.consoleHaRole === 'STANDBY') {
    problems.add('HA_STANDBY_MISMATCH');
  }
  if (backup.product !== null && backup.product !== deployment.product) problems.add('PRODUCT_MISMATCH');
  if (backup.appliance !== null && backup.appliance !== deployment.appliance) problems.add('APPLIANCE_MISMATCH');
  if (deployment.consoleAddress !== null && backup.managedHostAddresses.includes(deployment.consoleAddress)) {
    problems.add('CONSOLE_ADDRESS_IN_USE');
  }
  return [...problems];
}

/** Valid: it has ended and there is no reason against it. */
export function isValid(backup: BackupFacts, deployment: DeploymentFacts): boolean {
  return ENDED.has(backup.status) && validityProblems(backup, deployment).length === 0;
}

/** A backup can be restored onto the version that made it, and no other. */
export function isVersionCompatible(backup: Pick<BackupFacts, 'version'>, deployment: Pick<DeploymentFacts, 'version'>): boolean {
  return backup.version === deployment.version;
}
