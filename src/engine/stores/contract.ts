/**
 * What the engine asks of a store, whatever it is: a directory, or a prefix of an object store.
 *
 * A backup has a name of its own in its store and holds plain files. It is a backup from the moment it is published,
 * and whole from then on; what is not published is visible to `sweep` alone.
 */
import type { Readable, Writable } from 'node:stream';
import type { StoreStatus } from '../../domain/vocabulary.ts';

/** What a store was found to be. */
export interface StoreState {
  status: StoreStatus;
  /** What an unprivileged process can still write; null where the store cannot tell. */
  freeBytes: number | null;
  /** Of the volume that it lies on; null where the store cannot tell. */
  totalBytes: number | null;
  /** Why it is not READY. */
  detail: string | null;
  /** Whether its backups can be read: also those of one that is UNREACHABLE only because it is write-protected. */
  isReadable: boolean;
  /** It answers nothing: whatever was asked of it before may never end. */
  isSilent: boolean;
}

export interface Store {
  /** How messages name it: a path, or `s3://bucket/prefix`. */
  readonly label: string;
  /** Absolute path of a store on a local file system, which no archive and no target may hold; null for any other. */
  readonly localPath: string | null;

  /** Looks whether it can be written to. Creates nothing that lasts, answers within seconds, and never throws. */
  check(): Promise<StoreState>;

  /**
   * Whether the mark is there that `mark` leaves: without it, an empty directory may be a mount point whose file system is
   * not mounted. Always, where no place can be mistaken for it.
   * @throws EngineError STORE_UNREACHABLE
   */
  isMarked(): Promise<boolean>;

  /** Leaves the mark, if it is not there. @throws EngineError STORE_UNREACHABLE, STORE_FULL */
  mark(): Promise<void>;

  /** The names of all backups, sorted; names that begin with a dot are none. @throws EngineError STORE_UNREACHABLE */
  list(): Promise<string[]>;

  /**
   * Whether it holds a backup under this name, which its manifest shows.
   * @throws EngineError STORE_UNREACHABLE where the store itself is not there: that says nothing about the backup
   */
  has(name: string): Promise<boolean>;

  /** The files of a backup. Touches nothing yet. @throws EngineError IO where no backup can bear the name */
  open(name: string): BackupFiles;

  /**
   * Begins a backup, of which nothing is visible under its name until it is published.
   *
   * @param name under which it will appear; no other attempt uses it, so a worker that lost its job and goes on all the
   *   same can neither replace nor remove what its successor makes
   * @param attempt whose work it is, for `sweep`: letters, digits, `-`, `_` and `.`. One that was begun before is refused
   * @throws EngineError STORE_UNREACHABLE, STORE_FULL; IO where a name is not one that a store can hold
   */
  begin(name: string, attempt: string): Promise<BackupWriter>;

  /**
   * Removes a backup, so that a half-removed one is never mistaken for a backup; a call after a crash goes on where
   * the first one stopped. Nothing there is no error.
   * @throws EngineError STORE_UNREACHABLE
   */
  remove(name: string): Promise<void>;

  /**
   * Removes what dead processes left: backups that were not published, and removals that stopped halfway.
   *
   * @param isLeftover told the attempt that each unpublished backup belongs to
   * @returns the names of what was removed, for the log
   * @throws EngineError STORE_UNREACHABLE
   */
  sweep(isLeftover: (attempt: string) => boolean): Promise<string[]>;

  /**
   * The names of what is no backup and what no sweep knows whose it is: files alone, without a manifest and a mark. A
   * request that arrives long after its attempt was given up leaves such, and so does a person who copies a backup here.
   * @throws EngineError STORE_UNREACHABLE
   */
  strays(): Promise<string[]>;

  /** Where a person finds the backup: an absolute path or an `s3://` URL. */
  locationOf(name: string): string;
}

/** The files of one backup, to read. */
export interface BackupFiles {
  /** How messages name it. */
  readonly label: string;

  /** Each file with its length in bytes; null where there is no such backup. @throws EngineError STORE_UNREACHABLE */
  sizes(): Promise<ReadonlyMap<string, number> | null>;

  /**
   * Opens a file to read it from its beginning. Destroying the stream frees everything; a stream that is not read to
   * its end must be destroyed.
   *
   * @param whole for a file whose writer has a `descriptor`, and is at work: reading waits at the end of what there is
   *   until this is aborted, which says that nothing follows any more
   * @throws EngineError FILE_MISSING; DIGEST_MISMATCH where it is no regular file; STORE_UNREACHABLE. The stream fails
   *   with STORE_UNREACHABLE
   */
  read(file: string, whole?: AbortSignal): Promise<{ size: number; stream: Readable }>;
}

/** A stream into a file that may lie on a file system of this machine. */
export interface OnDisk {
  /** The open file: a program may write it in place of the stream, which is then only ended. Absent: there is no such file. */
  readonly descriptor?: number;
}

/** A backup that is being written. Nobody else knows of it. */
export interface BackupWriter {
  /** What has been written so far, to be read back. */
  readonly files: BackupFiles;

  /**
   * Begins a file, which must not exist. The stream ends (`finish`) when the file is whole and lasting; destroying it
   * before removes what there is of it. Both it and this call fail with EngineError STORE_FULL or STORE_UNREACHABLE.
   * Once the write of a piece is acknowledged its memory is used for something else: the store has no need of it then.
   */
  create(file: string): Promise<Writable & OnDisk>;

  /**
   * Takes over a file of another backup in the same store without copying its content. False: the store cannot.
   * @throws EngineError FILE_MISSING; DIGEST_MISMATCH where it is no regular file; STORE_FULL, STORE_UNREACHABLE
   */
  share(from: { backup: string; file: string }, file: string): Promise<boolean>;

  /**
   * Adds the manifest, the last file and the mark of completeness, and makes the backup visible: all of it or nothing.
   * Nothing that has the name already is replaced.
   * @throws EngineError STORE_FULL, STORE_UNREACHABLE; nothing of this backup is visible then
   */
  publish(manifest: string): Promise<void>;

  /** Removes everything, as long as it is not published. Throws nothing; what resists is left to `sweep` and answered as a text. */
  discard(): Promise<string | null>;
}
