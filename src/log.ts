/**
 * The log: JSON lines on standard error, or readable ones where a person looks.
 */
import { createRequire } from 'node:module';
import { destination, pino, stdSerializers, type Logger } from 'pino';
import type pretty from 'pino-pretty';

/**
 * An error as the log shows it. A failed statement carries its parameters, in its message too, and whatever wraps it
 * repeats that message: the log is told the statement and the causes alone.
 */
export function errorWithoutParameters(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  if ('query' in error && 'params' in error) {
    return { type: error.name, message: 'A statement failed.', statement: error.query, cause: errorWithoutParameters(error.cause) };
  }
  if (!(error.cause instanceof Error)) return stdSerializers.err(error);
  // The standard form joins the messages of all causes, and their stacks.
  return { ...stdSerializers.errWithCause(error), message: error.message, stack: error.stack, cause: errorWithoutParameters(error.cause) };
}

export function createLog(level: string): Logger {
  return pino({ level, serializers: { error: errorWithoutParameters, err: errorWithoutParameters } }, process.stderr.isTTY ? readable() : destination(2));
}

/** Loaded only where a person looks. */
function readable(): ReturnType<typeof pretty> {
  const format = createRequire(import.meta.url)('pino-pretty') as typeof pretty;
  return format({ destination: 2, ignore: 'pid,hostname', translateTime: 'HH:MM:ss' });
}
