/**
 * The Pothos builder: its plugins, scalars and defaults. Nothing of the domain.
 */
import SchemaBuilder from '@pothos/core';
import ErrorsPlugin from '@pothos/plugin-errors';
import ValidationPlugin from '@pothos/plugin-validation';
import { violationsOf } from '../domain/forms.ts';
import type { RequestContext } from './context.ts';

export const builder = new SchemaBuilder<{
  Context: RequestContext;
  DefaultFieldNullability: false;
  Scalars: {
    ID: { Input: string; Output: string };
    Long: { Input: number; Output: number };
    DateTime: { Input: Date; Output: Date };
  };
}>({
  // Order matters: what validation throws, the errors plugin turns into a member of the result union.
  plugins: [ErrorsPlugin, ValidationPlugin],
  defaultFieldNullability: false,
  errors: {
    directResult: true,
    // Whoever reaches a resolver has shown a token before: no check is skipped by answering form errors early.
    unsafelyHandleInputErrors: true,
  },
  validation: { validationError: (failure) => violationsOf(failure.issues) },
});

/** The builder's types, for references that are declared apart. */
export type Types = typeof builder extends PothosSchemaTypes.SchemaBuilder<infer T> ? T : never;

builder.queryType({ description: 'Everything that can be read. Ids are global ids or the documented numbers; an unknown id answers null.' });
builder.mutationType({ description: 'Everything that can be changed. Each field answers a union: what was done, or every documented rule that the request broke.' });
builder.subscriptionType({ description: 'Status changes and progress, pushed as they happen, over graphql-ws on the same path or as Server-Sent Events.' });
