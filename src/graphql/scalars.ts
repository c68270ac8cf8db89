/**
 * Long and DateTime.
 */
import { GraphQLError, type ValueNode } from 'graphql';
import { builder } from './builder.ts';

const refuse = (message: string): never => {
  throw new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT' } });
};

function parseLong(value: unknown): number {
  return Number.isSafeInteger(value) ? value as number : refuse('A Long is a whole number up to 2^53 - 1.');
}

/** A date, a time and an offset; years of four digits, which every part of the program can keep. */
const INSTANT = /^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$/;

function parseDateTime(value: unknown): Date {
  const date = typeof value === 'string' && INSTANT.test(value) ? new Date(value) : new Date(Number.NaN);
  // JavaScript takes 30 February for 2 March; and an offset can lead out of the years of four digits.
  const isReal = date.getUTCFullYear() >= 1 && date.getUTCFullYear() <= 9999 && isCalendarDay(value as string);
  return isReal ? date : refuse('A DateTime is an ISO 8601 instant with an offset, such as "2026-11-21T06:00:00.000Z".');
}

function isCalendarDay(text: string): boolean {
  const [year, month, day] = text.slice(0, 10).split('-').map(Number) as [number, number, number];
  return new Date(Date.UTC(year, month - 1, day)).getUTCDate() === day && year >= 1;
}

const literal = (node: ValueNode): unknown => (node.kind === 'IntValue' ? Number(node.value) : node.kind === 'StringValue' ? node.value : null);

builder.scalarType('Long', {
  description: 'A 64-bit integer that fits a JavaScript number; serialised as a JSON number.',
  serialize: (value) => value,
  parseValue: parseLong,
  parseLiteral: (node) => parseLong(literal(node)),
});

builder.scalarType('DateTime', {
  description: 'An instant, ISO 8601 in UTC with milliseconds, such as "2026-11-21T06:00:00.000Z". The vendors document it as milliseconds since the epoch. As an input it may carry any offset.',
  serialize: (value) => value.toISOString() as never,
  parseValue: parseDateTime,
  parseLiteral: (node) => parseDateTime(literal(node)),
});
