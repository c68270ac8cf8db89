/**
 * The log: JSON lines on standard error, or readable ones where a person looks.
 */
import { destination, pino, stdSerializers, type Logger } from 'pino';
import pretty from 'pino-pretty';

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
  const readable = process.stderr.isTTY ? pretty({ destination: 2, ignore: 'pid,hostname', translateTime: 'HH:MM:ss' }) : destination(2);
  return pino({ level, serializers: { error: errorWithoutParameters, err: errorWithoutParameters } }, readable);
}
