import { readFileSync } from 'node:fs';
import {
  buildSchema, findBreakingChanges, isEnumType, isInputObjectType, isInterfaceType, isIntrospectionType, isObjectType, isSpecifiedScalarType,
  lexicographicSortSchema, printSchema,
} from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/graphql/schema.ts';

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), 'utf8');

test('the committed schema.graphql is the schema that is served', () => {
  expect(`${printSchema(lexicographicSortSchema(schema))}\n`).toBe(read('../../schema.graphql'));
});

test('the schema holds the contract: nothing of it is renamed, dropped or made nullable', () => {
  expect(findBreakingChanges(buildSchema(read('../contract.graphql')), schema).map(({ description }) => description)).toEqual([]);
});

test('every type, field, argument, enum value and input field has a description', () => {
  const silent: string[] = [];
  const look = (name: string, { description }: { description?: string | null }) => {
    if ((description ?? '').trim() === '') silent.push(name);
  };
  for (const type of Object.values(schema.getTypeMap())) {
    if (isIntrospectionType(type) || isSpecifiedScalarType(type)) continue;
    look(type.name, type);
    if (isEnumType(type)) for (const value of type.getValues()) look(`${type.name}.${value.name}`, value);
    if (!isObjectType(type) && !isInterfaceType(type) && !isInputObjectType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      look(`${type.name}.${field.name}`, field);
      if ('args' in field) for (const argument of field.args) look(`${type.name}.${field.name}(${argument.name}:)`, argument);
    }
  }
  expect(silent).toEqual([]);
});
