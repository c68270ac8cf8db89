/**
 * Joins a backup and its deployment for the pure decision in `domain/validity.ts`.
 */
import type { DeploymentSpec } from '../domain/deployment.ts';
import * as domain from '../domain/validity.ts';
import type { BackupRow } from '../records/rows.ts';

/** The columns of a backup that the decision reads. */
export const VALIDITY_COLUMNS = ['status', 'version', 'fileProblems', 'product', 'appliance', 'haRole', 'managedHostAddresses'] as const;

/** What the deployed configuration says about its own console, product and version. */
export function deploymentFacts(deployed: DeploymentSpec): domain.DeploymentFacts {
  const console = deployed.hosts.find((host) => host.console);
  return {
    version: deployed.version, product: deployed.product, appliance: deployed.appliance,
    consoleHaRole: console?.haRole ?? null, consoleAddress: console?.address ?? null,
  };
}

/** Validity and version compatibility of a backup on its deployment, as it is deployed now. */
export function judge(backup: Pick<BackupRow, (typeof VALIDITY_COLUMNS)[number]>, deployed: DeploymentSpec) {
  const facts = deploymentFacts(deployed);
  return {
    isValid: domain.isValid(backup, facts),
    validityProblems: domain.validityProblems(backup, facts),
    isVersionCompatible: domain.isVersionCompatible(backup, facts),
  };
}
