/**
 * The log: JSON lines on standard error, or readable ones where a person looks.
 */
import { destination, pino, stdSerializers, type Logger } from 'pino';
import pretty from 'pino-pretty';

/** A failed statement carries its parameters, in its message too: the log is told the statement and the cause alone. */
function errorWithoutParameters(error: unknown): unknown {
  if (!(error instanceof Error) || !('query' in error && 'params' in error)) return error instanceof Error ? stdSerializers.err(error) : error;
  const cause = error.cause instanceof Error ? stdSerializers.err(error.cause) : error.cause;
  return { type: error.name, message: 'A statement failed.', statement: error.query, cause };
}

export function createLog(level: string): Logger {
  const readable = process.stderr.isTTY ? pretty({ destination: 2, ignore: 'pid,hostname', translateTime: 'HH:MM:ss' }) : destination(2);
  return pino({ level, serializers: { error: errorWithoutParameters } }, readable);
}
