/**
 * What the engine is asked and what it answers: plain data and callbacks, no behaviour.
 */
import type { FilesSource } from '../domain/deployment.ts';
import type { ValidityProblem, BackupType, ContentGroup, HaRole, StoreStatus } from '../domain/vocabulary.ts';

/** One archive to make: one source, and the content group that it belongs to (null: a host's DATA). */
export interface ArchiveSpec {
  group: ContentGroup | null;
  source: FilesSource;
}

/**
 * How far the work is. Bytes are those of the tar streams, before compression; files are their members that
 * are no directories. Totals are null until they are estimated.
 */
export interface Progress {
  bytesDone: number;
  bytesTotal: number | null;
  filesDone: number;
  filesTotal: number | null;
}

/** What the caller knows about a backup and the manifest keeps. */
export interface ManifestFacts {
  name: string;
  description: string | null;
  type: BackupType;
  product: string;
  appliance: string;
  version: string;
  buildVersion: string | null;
  deployment: string;
  host: { id: number; hostname: string };
  consoleAddress: string | null;
  haRole: HaRole;
  configurationId: number;
  initiatedBy: string;
  /** ISO 8601, as every time here. */
  timeInitiated: string;
  retentionDate: string | null;
  managedHostAddresses: string[];
}

/** One archive as the manifest describes it. */
export interface ManifestArchive {
  /** Plain file name in the backup's directory. */
  file: string;
  group: ContentGroup | null;
  source: { type: FilesSource['type']; path: string };
  /** Members that are no directories. */
  files: number;
  directories: number;
  /** Length of the tar stream, before compression and encryption. */
  bytes: number;
  /** Length of the file on disk. */
  size: number;
  /** Of the file on disk, lower-case hexadecimal. */
  sha256: string;
  compression: 'zstd';
  encrypted: boolean;
}

/** `manifest.json`; `docs/BACKUP-FORMAT.md` explains each property. */
export interface Manifest extends ManifestFacts {
  formatVersion: 1;
  /** The content groups, each once; empty for a DATA backup. */
  groups: ContentGroup[];
  /** When the last archive was complete on disk; the reading back comes after it. */
  timeCompleted: string;
  encryption: null | { format: 'age'; recipient: string; identityFile: 'identity.age'; identitySha256: string };
  archives: ManifestArchive[];
}

/** A backup's public key, and its identity wrapped by the passcode: all that making the backup needs. */
export interface BackupKey {
  /** `age1…` */
  recipient: string;
  /** Content of `identity.age`. */
  wrappedIdentity: Uint8Array;
}

export interface BackupPlan {
  /** Absolute path of the store's directory, which must exist. */
  storePath: string;
  /** Name in the store under which the backup is written. Begins with a dot, and is unique to this attempt: an existing one is refused. */
  partialName: string;
  /** Name in the store under which it appears once complete. */
  directoryName: string;
  archives: ArchiveSpec[];
  encryption: BackupKey | null;
  facts: ManifestFacts;
  /** Called at each step, by name: a seam for tests that kill the process there. */
  onStep?(step: string): void | Promise<void>;
}

export interface BackupRun {
  signal: AbortSignal;
  onProgress(progress: Progress): void;
  /** Awaited right before the backup appears under its final name. Its rejection removes everything. */
  beforePublish(): Promise<void>;
  /** Something a person may want to know and that is no failure, such as a socket that was left out. */
  onWarning?(text: string): void;
}

export interface BackupResult {
  manifest: Manifest;
  /** Bytes of all files of the backup, manifest included. */
  sizeOnDisk: number;
  /** Absolute path of the backup's directory. */
  path: string;
}

export interface VerifyRun {
  signal: AbortSignal;
  onProgress?(progress: Progress): void;
}

export interface VerifyResult {
  /** Null where it cannot be read or lacks properties. */
  manifest: Manifest | null;
  /** Each problem once; empty: the backup is whole. */
  problems: ValidityProblem[];
  /** Which file, and what is wrong with it. */
  details: string[];
  sizeOnDisk: number;
}

/** Where one archive is restored to. */
export interface RestoreTarget {
  group: ContentGroup;
  source: FilesSource;
}

export interface RestorePlan {
  /** Absolute path of the backup's directory. */
  backupPath: string;
  groups: ContentGroup[];
  /** A group's first target takes the group's first archive, and so on. Targets of other groups are ignored. */
  targets: RestoreTarget[];
  /** `AGE-SECRET-KEY-1…` of an encrypted backup, null otherwise. */
  identity: string | null;
  /** Absolute path of the directory that holds the journals; made if absent. */
  journalDir: string;
  /** Unique to this attempt; letters, digits, `-` and `_`. */
  restoreKey: string;
  /**
   * Absolute paths that no target may contain, such as the stores and the targets of other groups: replacing
   * the target would remove them. The backup itself and the journals are always among them.
   */
  protectedPaths?: string[];
  /** Called at each step, by name: a seam for tests that kill the process there. */
  onStep?(step: string): void | Promise<void>;
}

export interface RestoreRun {
  signal: AbortSignal;
  onProgress(progress: Progress): void;
  /** Awaited once everything is unpacked. A rejection leaves all as it was; after it there is no cancelling. */
  beforeSwap(): Promise<void>;
  /** Such as old content that could not be removed, and that the next sweep removes. */
  onWarning?(text: string): void;
}

/** What `recoverRestore` found and did. */
export type Recovery = 'none' | 'rolled-forward' | 'rolled-back';

export interface StoreState {
  status: StoreStatus;
  /** What an unprivileged process can still write; null where the store cannot be asked. */
  freeBytes: number | null;
  /** Why it is not READY. */
  detail: string | null;
}
