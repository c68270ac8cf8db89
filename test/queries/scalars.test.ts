import { parseValue, type GraphQLScalarType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schema } from '../../src/graphql/schema.ts';
import { openGatewayDatabase, type TestDatabase } from '../support/database.ts';
import { startGateway, type TestGateway } from '../support/gateway.ts';
import { plantBackups, plantStore } from '../support/records.ts';

let gateway: TestGateway;
let database: TestDatabase;

beforeAll(async () => {
  gateway = await startGateway();
  database = await openGatewayDatabase(gateway.dataDir);
  const store_id = await plantStore(database.sql);
  await plantBackups(database.sql, [
    { name: 'long', store_id, size_on_disk: 2 ** 53 - 1, time_initiated: '2026-11-21 06:00:00.123456+00', retention_date: '2027-01-01 00:00:00+05' },
    { name: 'none', store_id, time_initiated: '2026-11-21 06:00:00+00' },
  ]);
});
afterAll(async () => {
  await database?.close();
  await gateway?.stop();
});

test('a Long is a JSON number up to 2^53 - 1, a DateTime is ISO 8601 in UTC with milliseconds', async () => {
  const { data } = await gateway.query('{ backups(orderBy: { field: ID, direction: ASC }) { nodes { sizeOnDisk timeInitiated retentionDate databaseId } } }');
  expect(data.backups.nodes).toEqual([
    { sizeOnDisk: 9007199254740991, timeInitiated: '2026-11-21T06:00:00.123Z', retentionDate: '2026-12-31T19:00:00.000Z', databaseId: 1 },
    { sizeOnDisk: null, timeInitiated: '2026-11-21T06:00:00.000Z', retentionDate: null, databaseId: 2 },
  ]);
});

describe('a DateTime', () => {
  /** As a variable and as a literal: what the list answers, or the errors. */
  const ask = async (value: unknown) => {
    const variable = await gateway.query('query ($from: DateTime) { backups(filter: { initiatedFrom: $from }) { totalCount } }', { from: value });
    const literal = await gateway.query(`{ backups(filter: { initiatedFrom: ${JSON.stringify(value)} }) { totalCount } }`);
    expect(literal.data?.backups).toEqual(variable.data?.backups);
    return { variable, literal };
  };

  test.each<[string, number]>([
    ['2026-11-21T06:00:00.000Z', 2], ['2026-11-21T06:00:00Z', 2], ['2026-11-21T06:00Z', 2], ['2026-11-21T06:00:00.001Z', 1], ['2026-11-21T06:00:00.000000001Z', 2],
    ['2026-11-21T08:00:00+02:00', 2], ['2026-11-21T08:00:01+02:00', 0], ['2026-11-21T05:30:00-00:30', 2], ['2024-02-29T00:00:00Z', 2], ['2026-11-21t06:00:00z', 2],
    ['0001-01-01T00:00:00Z', 2], ['9999-12-31T23:59:59.999Z', 0], ['9999-12-31T23:59:59+14:00', 0], ['0001-01-01T00:00:00-14:00', 2],
  ])('%s is accepted', async (value, count) => {
    const { variable } = await ask(value);
    expect(variable).toEqual({ data: { backups: { totalCount: count } } });
  });

  test.each([
    '', 'now', '2026', '2026-11-21', '2026-11-21 06:00:00Z', '2026-11-21T06:00:00', '2026-11-21T06Z', '06:00:00Z', 'Sat, 21 Nov 2026 06:00:00 GMT', '20261121T060000Z', ' 2026-11-21T06:00:00Z', '2026-11-21T06:00:00Z\n',
    '2026-02-29T00:00:00Z', '2026-02-30T00:00:00Z', '2026-13-01T00:00:00Z', '2026-00-01T00:00:00Z', '2026-01-00T00:00:00Z', '2026-11-21T25:00:00Z', '2026-11-21T06:60:00Z', '2026-11-21T06:00:60Z', '2026-11-21T06:00:00+24:00',
    '0000-01-01T00:00:00Z', '+012026-11-21T06:00:00Z', '-000001-01-01T00:00:00Z', '9999-12-31T23:59:59-01:00', '0001-01-01T00:00:00+01:00',
    1795240800000, 0, 1.5, true,
  ])('%j is refused with BAD_USER_INPUT', async (value) => {
    const { variable, literal } = await ask(value);
    for (const { data, errors } of [variable, literal]) {
      expect(data ?? null).toBeNull();
      expect(errors?.[0]).toMatchObject({ message: expect.stringContaining('A DateTime is an ISO 8601 instant with an offset'), extensions: { code: 'BAD_USER_INPUT' } });
    }
  });

  test('null is as good as left out', async () => {
    expect((await ask(null)).variable.data).toEqual({ backups: { totalCount: 2 } });
  });
});

describe('a Long', () => {
  const long = schema.getType('Long') as GraphQLScalarType;
  const literal = (text: string): unknown => long.parseLiteral(parseValue(text));

  test.each([0, 1, -1, 2 ** 31, 2 ** 53 - 1, -(2 ** 53 - 1)])('%i is accepted', (value) => {
    expect(long.parseValue(value)).toBe(value);
    expect(literal(String(value))).toBe(value);
  });

  test.each([1.5, 2 ** 53, Number.NaN, Infinity, '1', '', true, null, [1], {}, 10n])('the value %s is refused', (value) => {
    expect(() => long.parseValue(value)).toThrow('A Long is a whole number');
  });

  test.each(['1.5', '1e3', '9007199254740992', '99999999999999999999', '"1"', 'true', '[1]'])('the literal %s is refused', (text) => {
    expect(() => literal(text)).toThrow('A Long is a whole number');
  });
});
