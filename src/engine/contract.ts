/**
 * What the engine is asked and what it answers: plain data and callbacks, no behaviour.
 */
import type { SourceSpec } from '../domain/deployment.ts';
import type { BackupPriority, ValidityProblem, BackupType, ContentGroup, HaRole } from '../domain/vocabulary.ts';
import type { BackupFiles, Store } from './stores/contract.ts';

export type { StoreState } from './stores/contract.ts';

/** One archive to make: one source, and the content group that it belongs to (null: a host's DATA). */
export interface ArchiveSpec {
  group: ContentGroup | null;
  source: SourceSpec;
}

/**
 * How far the work is. Bytes are those of the tar streams and dumps, before compression; files are members that are no
 * directories, and dumps. Totals are null until they are estimated.
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
  /**
   * The job that made it, and which of its attempts: a backup in a store that no record names is its owner's, or what
   * a worker left that had lost the job. Absent in backups of earlier versions.
   */
  job?: { id: string; attempt: number };
}

/** Names to remove before an update is unpacked: those that have gone since the layer before it. */
export interface RemovedNames {
  /** Plain file name in the backup's directory: the names, NUL after each, compressed and encrypted as the update is. */
  file: string;
  names: number;
  /** Length of the file on disk. */
  size: number;
  sha256: string;
}

/** What an incremental backup is based on. Absent from a plan: the backup is whole, and none is based on it. */
export interface IncrementalPlan {
  /** Absolute path of a directory for the indexes of this host's backups in this store, on the worker's own machine. */
  directory: string;
  /** Name of an earlier backup in the same store, whose layers may be shared; null: the backup is whole. */
  base: string | null;
  /** Content of `keys.age`: the identities of the base's layers, encrypted to this backup's recipient; null: it needs none. */
  sharedKeys: Uint8Array | null;
  /** Whole archives of fewer bytes are made again each time. Absent: 64 MiB. */
  minimumBytes?: number;
}

/** One archive as the manifest describes it. */
export interface ManifestArchive {
  /** Plain file name in the backup's directory. */
  file: string;
  group: ContentGroup | null;
  /** Of a database, `path` is host, port and name; patterns are those that a directory was backed up by. */
  source: { type: SourceSpec['type']; path: string; include?: string[]; exclude?: string[] };
  /** Members that are no directories; 1 for a dump. */
  files: number;
  directories: number;
  /** Length of the tar stream, or of the dump, before compression and encryption. */
  bytes: number;
  /** Length of the file on disk. */
  size: number;
  /** Of the file on disk, lower-case hexadecimal. */
  sha256: string;
  compression: 'zstd';
  encrypted: boolean;
  /** Files that the archive lacks or does not hold whole, with the reason; absent: none. */
  unreadable?: string[];
  /** 1 for the first update on top of the whole archive before it, and so on; absent from a whole archive. */
  layer?: number;
  /** Of an update: what is removed before it is unpacked; absent where nothing is. */
  removed?: RemovedNames;
  /** Whom a shared archive is encrypted to, where that is not the backup's own recipient. */
  recipient?: string;
}

/** `manifest.json`; `docs/BACKUP-FORMAT.md` explains each property. */
export interface Manifest extends ManifestFacts {
  /** 2: it has layers, which a reader of version 1 would take for archives of their own. */
  formatVersion: 1 | 2;
  /** The content groups, each once; empty for a DATA backup. */
  groups: ContentGroup[];
  /** When the last archive was complete on disk; the reading back comes after it. */
  timeCompleted: string;
  encryption: null | {
    format: 'age'; recipient: string; identityFile: 'identity.age'; identitySha256: string;
    /** Where layers are encrypted to other recipients. */
    keysFile?: 'keys.age'; keysSha256?: string;
  };
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
  store: Store;
  /** Under which it appears in the store once complete. No other attempt uses it. */
  name: string;
  /** Whose work it is, for the store's `sweep`. Unique to this attempt. */
  attempt: string;
  archives: ArchiveSpec[];
  encryption: BackupKey | null;
  facts: ManifestFacts;
  /** Of the child processes. Absent: as this process runs. */
  priority?: BackupPriority;
  incremental?: IncrementalPlan;
  /**
   * Name of an earlier backup in the same store: what it took from the same sources is what this one is expected to, so that
   * they need not be walked beforehand. Absent, or no longer there: they are.
   */
  earlier?: string | undefined;
  /** Called at each step, by name: a seam for tests that kill the process there. */
  onStep?(step: string): void | Promise<void>;
}

export interface BackupRun {
  signal: AbortSignal;
  onProgress(progress: Progress): void;
  /** Awaited right before the backup appears in its store. Its rejection removes everything. */
  beforePublish(): Promise<void>;
  /** Something a person may want to know and that is no failure, such as a socket that was left out. */
  onWarning?(text: string): void;
}

export interface BackupResult {
  manifest: Manifest;
  /** Bytes of all files of the backup, manifest included. */
  sizeOnDisk: number;
  /** Bytes that it added to the store: less where it shares files with an earlier backup. */
  sizeAdded: number;
  /** Content that was read: bytes and files of the archives that it does not share. */
  read: { bytes: number; files: number };
  /** Where a person finds it. */
  location: string;
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
  source: SourceSpec;
}

export interface RestorePlan {
  /** The files of the backup. */
  backup: BackupFiles;
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
   * Absolute paths that no target may contain, such as the local stores, the backup's own among them, and the targets
   * of other groups: replacing the target would remove them. The journals are always among them.
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
