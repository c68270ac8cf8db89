/**
 * Errors as values. Each says what went wrong and what a person can do about it; none is a bare string.
 */

/** Anything that the program reports to a person: `message` says what is wrong, `hint` what to do about it. */
export class GatewayError extends Error {
  override readonly name: string = 'GatewayError';
  /** A short symbol to switch on, such as `TAR_MISSING`. */
  readonly code: string;
  /** What a person can do about it. */
  readonly hint: string;

  constructor(code: string, message: string, hint: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }

  /** Message and hint as one text, as a job's `error` or a log line shows it. */
  get advice(): string {
    return this.hint === '' ? this.message : `${this.message} ${this.hint}`;
  }
}

/** The configuration cannot be used; the program does not start. `faults` lists every one found. */
export class ConfigError extends GatewayError {
  override readonly name = 'ConfigError';
  readonly faults: readonly string[];

  constructor(message: string, faults: readonly string[], hint: string) {
    super('CONFIG_INVALID', [message, ...faults.map((fault) => `  ${fault}`)].join('\n'), hint);
    this.faults = faults;
  }
}

/** What can go wrong in the Backup and Restore Engine. */
export type EngineFault =
  | 'TAR_MISSING'          // no GNU tar on this machine
  | 'SOURCE_UNREADABLE'    // a file could not be read, changed while read, or the source is not there
  | 'STORE_UNREACHABLE'    // the store cannot be read or written
  | 'STORE_FULL'
  | 'VERIFY_FAILED'        // what was read back is not what was written
  | 'MANIFEST_INVALID'     // manifest missing, unreadable or lacking properties
  | 'DIGEST_MISMATCH'
  | 'FILE_MISSING'
  | 'ARCHIVE_UNSAFE'       // a member would be written outside its target
  | 'KEY_REQUIRED'         // the backup is encrypted and no identity was given
  | 'TARGET_UNWRITABLE'    // the target or its staging cannot be written
  | 'PG_TOOLS_MISSING'     // no pg_dump, pg_restore and psql on this machine that fit the server
  | 'DATABASE_UNREACHABLE' // a source's database, or what its address takes from the environment, is not there
  | 'IO';                  // any other failure of the file system or a child process

/** A backup, verification, restore or removal failed. Nothing half-done is left behind. */
export class EngineError extends GatewayError {
  override readonly name = 'EngineError';
  declare readonly code: EngineFault;

  constructor(code: EngineFault, message: string, hint: string, options?: ErrorOptions) {
    super(code, message, hint, options);
  }
}

/** The work was given up because somebody asked for that; never shown as a failure. */
export class CancelledError extends GatewayError {
  override readonly name = 'CancelledError';

  constructor(message = 'The job was cancelled.') {
    super('CANCELLED', message, '');
  }
}
