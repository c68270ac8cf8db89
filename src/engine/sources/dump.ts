/**
 * A database as the content of an archive: pg_dump's custom format, not compressed by itself, since zstd does that better.
 */
import { Transform } from 'node:stream';
import type { TransformCallback } from 'node:stream';
import { EngineError } from '../../domain/errors.ts';
import type { Child } from '../process.ts';
import { startTool } from './postgres-tools.ts';
import type { Database } from './postgres-session.ts';

/** With what each dump in the custom format begins. */
const MAGIC = 'PGDMP';

/** A lock that keeps pg_dump from reading a table for longer than this fails the backup, in milliseconds. */
const LOCK_TIMEOUT = 5 * 60 * 1000;

/** Writes a dump to the child's standard output. */
export const startDumping = ({ access, tools }: Database): Child =>
  startTool(tools, 'pg_dump', ['--format=custom', '--compress=0', `--lock-wait-timeout=${LOCK_TIMEOUT}`], access, { stdout: true });

/** Looks at a dump as it passes. */
export class DumpScanner extends Transform {
  /** A dump counts as one file. */
  readonly files = 1;
  readonly directories = 0;
  /** Bytes that have passed. */
  bytes = 0;
  /** A program that lists a dump stops where its table of contents ends. */
  readonly ended = true;
  readonly #onPass: (bytes: number, files: number) => void;
  #beginning = '';

  /** @param onPass called for each piece, with its length and, with the first, the one file */
  constructor(onPass: (bytes: number, files: number) => void = () => undefined) {
    super({ readableHighWaterMark: 256 * 1024, writableHighWaterMark: 256 * 1024 });
    this.#onPass = onPass;
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#onPass(data.length, this.bytes === 0 ? 1 : 0);
    this.bytes += data.length;
    if (this.#beginning.length < MAGIC.length) this.#beginning += data.toString('latin1', 0, MAGIC.length - this.#beginning.length);
    done(MAGIC.startsWith(this.#beginning) ? null : noDump(), data);
  }

  override _flush(done: TransformCallback): void {
    done(this.#beginning === MAGIC ? null : noDump());
  }
}

function noDump(): EngineError {
  return new EngineError('ARCHIVE_UNSAFE', 'The archive is refused: it is no dump of a Postgres database.',
    'It was not made by this program, or was altered. Nothing was replaced; use another backup.');
}
