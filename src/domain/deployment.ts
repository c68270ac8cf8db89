/**
 * What `deployment.yaml` describes, after validation: the form in which it is compared, staged, deployed and
 * kept. Plain data, every path absolute, every default filled in.
 */
import { CONTENT_GROUPS, type ContentGroup } from './vocabulary.ts';
import type { DeploymentKind, HaRole, HostComponent, HostStatus, StoreType } from './vocabulary.ts';

/** One thing that a backup reads and a restore puts back. */
export interface SourceSpec {
  type: 'DIRECTORY' | 'FILE';
  /** Absolute path. */
  path: string;
  /** Absolute directory on the same file system in which a restore unpacks; null: beside the target. */
  staging: string | null;
}

export interface HostSpec {
  /** `host_id`, unique in the deployment. */
  id: number;
  hostname: string;
  /** Network address, compared by the rule on a console address in use; null where none is declared. */
  address: string | null;
  console: boolean;
  status: HostStatus;
  components: HostComponent[];
  version: string;
  haRole: HaRole;
  /** What a CONFIG backup of this host holds. Console only. */
  content: Partial<Record<ContentGroup, SourceSpec[]>>;
  /** What a DATA backup of this host holds. */
  data: SourceSpec[];
}

export interface StoreSpec {
  name: string;
  type: StoreType;
  /** Absolute path of a DIRECTORY store. */
  path: string;
  default: boolean;
  requiresPasscode: boolean;
}

export interface DeploymentSpec {
  name: string;
  kind: DeploymentKind;
  product: string;
  appliance: string;
  version: string;
  buildVersion: string | null;
  stores: StoreSpec[];
  hosts: HostSpec[];
  backupConfiguration: { retentionDays: number; dataBackupHosts: number[] };
}

/** The content groups that a host declares, in the vocabulary's order. */
export const groupsOf = (content: HostSpec['content']): ContentGroup[] => CONTENT_GROUPS.filter((group) => content[group] !== undefined);
