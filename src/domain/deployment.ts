/**
 * What `deployment.yaml` describes, after validation: the form in which it is compared, staged, deployed and
 * kept. Plain data, every path absolute, every default filled in.
 */
import { CONTENT_GROUPS, type ContentGroup } from './vocabulary.ts';
import type { BackupPriority, DeploymentKind, HaRole, HostComponent, HostStatus, StoreType } from './vocabulary.ts';

/**
 * One thing that a backup reads and a restore puts back. A property that is left out has its default; it is never
 * filled in, so that a file that says nothing of it equals one that was read before the property existed.
 */
export type SourceSpec = FilesSource | PostgresSource;

/** A directory or a file. */
export interface FilesSource {
  type: 'DIRECTORY' | 'FILE';
  /** Absolute path. */
  path: string;
  /** Absolute directory on the same file system in which a restore unpacks; null: beside the target. */
  staging: string | null;
  /** Glob patterns, relative to the directory: only what matches one of them is backed up. Absent: everything. */
  include?: string[];
  /** Glob patterns, relative to the directory: what matches one of them is left out, with all that is in it. */
  exclude?: string[];
  /** WARN: a file that cannot be read, or changes while it is read, is listed and does not fail the backup. */
  onUnreadable?: 'WARN';
}

/** A Postgres database, dumped by pg_dump and restored by pg_restore in one transaction. */
export interface PostgresSource {
  type: 'POSTGRES';
  /**
   * `postgres://…` URL of the server, without a database; may hold `${NAME}`, which the worker replaces from its
   * environment, so that a password need not stand in the file. May hold a password: never print it.
   */
  url: string;
  database: string;
  /** How messages and manifests name it: host, port and database, never user or password. */
  path: string;
}

/** A program that runs before or after the work, such as one that stops a service. */
export interface HookSpec {
  /** Program and arguments; no shell sees them. */
  run: string[];
  /** Seconds after which it is ended and counts as failed. */
  timeoutSeconds: number;
}

/** What runs around the backups and restores of a host, in order. The `after` hooks run however the work ended. */
export interface HooksSpec {
  beforeBackup?: HookSpec[];
  afterBackup?: HookSpec[];
  beforeRestore?: HookSpec[];
  afterRestore?: HookSpec[];
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
  hooks?: HooksSpec;
}

export interface StoreSpec {
  name: string;
  type: StoreType;
  /** Absolute path of a DIRECTORY store; `s3://bucket/prefix` of an S3 one. */
  path: string;
  default: boolean;
  requiresPasscode: boolean;
  /** Of an S3 store alone. */
  s3?: S3Spec;
}

/** Where the bucket is. Credentials come from the environment or the SDK's standard chain, never from here. */
export interface S3Spec {
  bucket: string;
  /** What the keys begin with, without slashes at its ends; '' for the whole bucket. */
  prefix: string;
  region: string;
  /** Of a server other than AWS, such as `https://s3.example.net`. */
  endpoint?: string;
  /** Whether the bucket stands in the path and not in the host name. */
  forcePathStyle?: boolean;
}

/** How backups of one type are run. Source: QRadar's backup priority and backup time limit. */
export interface RunLimits {
  /** Niceness and I/O class. Absent: as the worker itself runs, which is HIGH. */
  priority?: BackupPriority;
  /** Minutes after which the run ends FAILED. Absent: none. */
  timeLimitMinutes?: number;
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
  backupConfiguration: {
    retentionDays: number;
    dataBackupHosts: number[];
    /** How CONFIG backups are run. */
    config?: RunLimits;
    /** How DATA backups are run. */
    data?: RunLimits;
  };
}

/** The content groups that a host declares, in the vocabulary's order. */
export const groupsOf = (content: HostSpec['content']): ContentGroup[] => CONTENT_GROUPS.filter((group) => content[group] !== undefined);

/** Whether a source is a directory or a file, and not a database. */
export const isFiles = (source: SourceSpec): source is FilesSource => source.type !== 'POSTGRES';
