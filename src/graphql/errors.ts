/**
 * Broken rules as data, and everything else as GraphQL errors with a code.
 */
import { GraphQLError } from 'graphql';
import { maskError as maskUnexpected } from 'graphql-yoga';
import { GatewayError } from '../domain/errors.ts';
import { RuleViolationsError, violation, type MutationName, type RuleOf, type RuleViolation } from '../domain/rules.ts';
import { builder } from './builder.ts';
import type { RequestContext } from './context.ts';
import { RuleNameEnum } from './enums.ts';

const UserError = builder.interfaceRef<{ message: string }>('UserError').implement({
  description: 'What the request did wrong, for a person to read.',
  fields: (t) => ({ message: t.exposeString('message', { description: 'What is wrong, in words.' }) }),
});

const RuleViolationType = builder.objectRef<RuleViolation>('RuleViolation').implement({
  description: 'One documented rule that the request broke.',
  fields: (t) => ({
    rule: t.field({ type: RuleNameEnum, description: 'A symbolic name to switch on, such as NAME_NOT_UNIQUE.', resolve: ({ rule }) => rule }),
    code: t.exposeInt('code', { description: 'The documented unique code, such as 1005. Unique within one mutation.' }),
    httpStatus: t.exposeInt('httpStatus', { description: 'The documented HTTP status, such as 409.' }),
    message: t.exposeString('message', { description: 'The documented text.' }),
    path: t.stringList({ description: 'The input field at fault, such as ["input", "name"]; empty where none is.', resolve: ({ path }) => [...path] }),
  }),
});

builder.objectType(RuleViolationsError, {
  name: 'RuleViolations',
  description: 'The request broke documented rules; nothing was changed.',
  interfaces: [UserError],
  fields: (t) => ({
    message: t.exposeString('message', { description: 'The texts of all violations, one after the other.' }),
    violations: t.field({ type: [RuleViolationType], description: 'Every rule that was broken in the first stage that was not clean, in ascending code.', resolve: (error) => [...error.violations] }),
  }),
});

/** The result union of a mutation: its payload, or RuleViolations. */
export const orViolations = (name: string) => ({
  types: [RuleViolationsError],
  directResult: true as const,
  union: { name, description: 'What was done, or every documented rule that the request broke.' },
});

/** Runs a mutation's use case. Whatever fails unexpectedly is the documented 1000, logged, with nothing changed. */
export async function change<M extends MutationName, T>(mutation: M, context: RequestContext, useCase: () => Promise<T>): Promise<T> {
  context.loaders.clear();
  try {
    return await useCase();
  } catch (error) {
    if (error instanceof RuleViolationsError) throw error;
    context.log.error({ error, mutation }, 'a mutation failed');
    throw new RuleViolationsError([violation(mutation, 'ENGINE_ERROR' as RuleOf<M>)]);
  }
}

/** What a client is told of an error that was not made for people. */
export const UNEXPECTED = 'Something went wrong in the gateway; its log says more.';

/** What a client is told of an error: those made for people whole, with their code; unexpected ones masked. */
export function maskError(error: unknown, message: string, isDev?: boolean): Error {
  const cause = error instanceof GraphQLError ? error.originalError : error;
  if (cause instanceof GatewayError) {
    const { nodes, source, positions, path } = error instanceof GraphQLError ? error : {} as Partial<GraphQLError>;
    return new GraphQLError(cause.advice, { nodes, source, positions, path, extensions: { code: cause.code, hint: cause.hint } });
  }
  return maskUnexpected(error, message, isDev);
}
