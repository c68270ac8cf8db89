/**
 * What an archive is made from, whatever its source is: a program that writes it, a look at what passes, and a judgement
 * of how the program ended.
 */
import type { SourceSpec } from '../../domain/deployment.ts';
import type { EngineError } from '../../domain/errors.ts';
import { estimate } from '../estimate.ts';
import { MemberScanner } from '../members.ts';
import type { Child, Exit } from '../process.ts';
import { resolveSource, tarReadFault } from '../source.ts';
import { startCreating } from '../tar.ts';
import type { Tar } from '../tar.ts';
import { DumpScanner, startDumping } from './dump.ts';
import { ask, complaintsOf, connect, postgresFault } from './postgres-session.ts';
import { judgeReading } from './unreadable.ts';
import type { Reading } from './unreadable.ts';

/** A source that is there. */
export interface ReadableSource {
  /** Writes its content to standard output. */
  start(): Child;
  /**
   * Looks at the content as it passes, counts it, and refuses what no restore would take.
   * @param onPass called for each piece, with its length and the files that began in it
   */
  scanner(onPass: (bytes: number, files: number) => void): MemberScanner | DumpScanner;
  /** What is known when the program has ended. @throws EngineError where it did not read the source as it should have */
  judge(exit: Exit): Reading;
  /** Why nothing useful came. */
  fault(exit: Exit): EngineError;
  /** What there is to read, before it is read. @throws EngineError SOURCE_UNREADABLE, DATABASE_UNREACHABLE; CancelledError */
  estimate(signal: AbortSignal): Promise<{ bytes: number; files: number }>;
}

/** Sizes of tables and large objects on disk, which come near to those of a dump. Indexes are not in a dump. */
const DUMP_SIZE = `SELECT coalesce(sum(pg_catalog.pg_relation_size(oid)), 0) FROM pg_catalog.pg_class
  WHERE relkind IN ('r', 't', 'm') AND (oid >= 16384 OR relname = 'pg_largeobject')`;

/**
 * Finds what is behind a source.
 *
 * @param members file of the names to archive, where they have been listed before
 * @throws EngineError SOURCE_UNREADABLE, PG_TOOLS_MISSING, DATABASE_UNREACHABLE; CancelledError
 */
export async function openSource(tar: Tar, source: SourceSpec, storePath: string | null, signal: AbortSignal, members?: string): Promise<ReadableSource> {
  if (source.type !== 'POSTGRES') {
    const input = await resolveSource(source, storePath);
    return {
      start: () => startCreating(tar, { ...input, members }, 'archive'),
      scanner: (onPass) => new MemberScanner(source.type, onPass),
      judge: (exit) => judgeReading(source, exit),
      fault: (exit) => tarReadFault(source, exit),
      estimate: (ended) => estimate(tar, source, input, ended),
    };
  }
  const database = await connect(source, signal);
  const { access, tools } = database;
  const fault = (exit: Exit): EngineError => postgresFault(access, exit, 'SOURCE_UNREADABLE', 'could not be dumped');
  return {
    fault,
    start: () => startDumping(database),
    scanner: (onPass) => new DumpScanner(onPass),
    judge(exit) {
      if (exit.code !== 0) throw fault(exit);
      return { unreadable: [], warnings: complaintsOf(access, exit) };
    },
    async estimate(ended) {
      const [bytes] = await ask(access, tools, DUMP_SIZE, ended);
      return { bytes: Number(bytes), files: 1 };
    },
  };
}
