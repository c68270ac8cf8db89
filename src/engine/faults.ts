/**
 * Turns failures of the file system and of streams into the engine's errors, with what to do about them.
 */
import { CancelledError, EngineError, GatewayError } from '../domain/errors.ts';

/** The `code` of a system error, such as `ENOSPC`; null for anything else. */
export function errnoOf(error: unknown): string | null {
  const code = error instanceof Error && 'code' in error ? error.code : null;
  return typeof code === 'string' ? code : null;
}

/** True for "there is no such file", whichever part of the path is missing. */
export function isMissing(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

const text = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What a failure to read or write in a store means. Errors of the engine pass unchanged. */
export function storeFault(error: unknown, storePath: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const code = errnoOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new EngineError('STORE_FULL', `The backup store ${storePath} is full.`,
      'Delete backups, shorten the retention or enlarge the store, then try again.', { cause: error });
  }
  if (code === 'EROFS') {
    return new EngineError('STORE_UNREACHABLE', `The backup store ${storePath} is write-protected: ${text(error)}.`,
      'Its backups can be read. To write or remove any, mount its file system so that it can be written.', { cause: error });
  }
  return new EngineError('STORE_UNREACHABLE', `The backup store ${storePath} cannot be read or written: ${text(error)}.`,
    'See that its directory is there, mounted and writable for the user that runs the worker.', { cause: error });
}

/** What a failure to write a restore's target or staging means. Errors of the engine pass unchanged. */
export function targetFault(error: unknown, target: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const full = errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT';
  return new EngineError('TARGET_UNWRITABLE', `${target} cannot be restored: ${text(error)}.`, full
    ? 'A restore needs as much free space as the content takes, beside what is there now.'
    : 'See that the target and the directory it lies in are writable for the user that runs the worker.', { cause: error });
}

/** Any other failure. Errors of the engine pass unchanged. */
export function ioFault(error: unknown, what: string): GatewayError {
  if (error instanceof GatewayError) return error;
  return new EngineError('IO', `${what}: ${text(error)}.`, 'Look at the log of the worker and at the system log.', { cause: error });
}

/** @throws CancelledError once the signal is aborted. */
export function throwIfCancelled(signal: AbortSignal): void {
  if (signal.aborted) throw new CancelledError();
}
