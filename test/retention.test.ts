/**
 * The pure decision on what is kept: a table of cases.
 */
import { describe, expect, test } from 'vitest';
import { decideRetention, type RetentionFacts, type RetentionPolicy } from '../src/domain/retention.ts';

const NOW = new Date('2026-11-21T12:00:00.000Z');
const HOUR = 60 * 60_000;
const DAY = 24 * HOUR;
const ago = (days: number): Date => new Date(NOW.getTime() - days * DAY);

let lastId = 0;
const backup = (facts: Partial<RetentionFacts>): RetentionFacts => ({
  id: lastId += 1, status: 'SUCCESS', isDamaged: false, scheduleId: 1, timeInitiated: ago(0), retentionDate: null, isKept: false, isInRestore: false, ...facts,
});
/** One of schedule 1 that is younger than all others, so that no other is its newest. */
const newest = (): RetentionFacts => backup({ timeInitiated: NOW });
const nightly = (policy: Partial<RetentionPolicy> = {}): RetentionPolicy => ({ scheduleId: 1, name: 'nightly', keepDays: null, keepLast: null, ...policy });

/** What becomes of each: "keep: reason" or "remove: reason". */
const decide = (backups: RetentionFacts[], policies = [nightly()], now = NOW): string[] =>
  decideRetention(backups, policies, { now, periodDays: 7 }).map(({ isRemoved, reason }) => `${isRemoved ? 'remove' : 'keep'}: ${reason}`);

describe('of a schedule without rules of its own', () => {
  test.each<[string, Partial<RetentionFacts>, string]>([
    ['a young one is kept', { timeInitiated: ago(6) }, 'keep: not older than the 7 days of the backup configuration'],
    ['one of exactly the period is kept', { timeInitiated: ago(7) }, 'keep: not older than the 7 days of the backup configuration'],
    ['one a millisecond older is removed', { timeInitiated: new Date(ago(7).getTime() - 1) }, 'remove: older than the 7 days of the backup configuration'],
    ['one from the future, by a clock that was set back since, is kept', { timeInitiated: ago(-30) }, 'keep: the newest good backup of its schedule'],
    ['a failed one is removed by its age', { timeInitiated: ago(8), status: 'FAILED' }, 'remove: older than the 7 days of the backup configuration'],
    ['a young failed one is kept', { timeInitiated: ago(1), status: 'FAILED' }, 'keep: not older than the 7 days of the backup configuration'],
    ['a missing one is removed by its age', { timeInitiated: ago(8), status: 'MISSING' }, 'remove: older than the 7 days of the backup configuration'],
    ['a damaged one is removed by its age', { timeInitiated: ago(8), isDamaged: true }, 'remove: older than the 7 days of the backup configuration'],
    ['one that initialises is kept', { timeInitiated: ago(8), status: 'INITIALIZING' }, 'keep: it has not ended'],
    ['one that runs is kept', { timeInitiated: ago(8), status: 'IN_PROGRESS' }, 'keep: it has not ended'],
    ['one that is being cancelled is kept', { timeInitiated: ago(8), status: 'CANCELLING' }, 'keep: it has not ended'],
    ['one that is being removed is left alone', { timeInitiated: ago(8), status: 'DELETING' }, 'keep: it is being removed already'],
    ['a pinned one is kept', { timeInitiated: ago(8), isKept: true }, 'keep: pinned'],
    ['one that is being restored is kept', { timeInitiated: ago(8), isInRestore: true }, 'keep: a restore is using it'],
  ])('%s', (_name, facts, decision) => {
    expect(decide([backup(facts), newest()])[0]).toBe(decision);
  });
});

describe('retention dates', () => {
  const passed = { retentionDate: ago(1) };
  test.each<[string, Partial<RetentionFacts>, string]>([
    ['one made on demand goes when its date has passed', { ...passed, scheduleId: null }, 'remove: its retention date 2026-11-20T12:00:00.000Z has passed'],
    ['a date that is now has passed', { retentionDate: NOW, scheduleId: null }, 'remove: its retention date 2026-11-21T12:00:00.000Z has passed'],
    ['one made on demand is kept until its date, however old', { retentionDate: ago(-1), scheduleId: null, timeInitiated: ago(900) }, 'keep: until its retention date 2026-11-22T12:00:00.000Z'],
    ['one made on demand without a date is kept', { scheduleId: null, timeInitiated: ago(900) }, 'keep: made on demand, without a retention date'],
    ['a scheduled one is kept until its own date, whatever its age', { retentionDate: ago(-1), timeInitiated: ago(900) }, 'keep: until its retention date 2026-11-22T12:00:00.000Z'],
    ['a scheduled one goes on its own date, however young', { ...passed }, 'remove: its retention date 2026-11-20T12:00:00.000Z has passed'],
    ['a pin goes before a date', { ...passed, isKept: true, scheduleId: null }, 'keep: pinned'],
    ['so does a restore', { ...passed, isInRestore: true, scheduleId: null }, 'keep: a restore is using it'],
    ['a failed one goes on its date', { ...passed, status: 'FAILED', scheduleId: null }, 'remove: its retention date 2026-11-20T12:00:00.000Z has passed'],
    ['one that runs stays', { ...passed, status: 'IN_PROGRESS', scheduleId: null }, 'keep: it has not ended'],
    ['one of a schedule that is gone is as if made on demand', { scheduleId: 99, timeInitiated: ago(900) }, 'keep: made on demand, without a retention date'],
  ])('%s', (_name, facts, decision) => {
    expect(decide([backup(facts), newest()])[0]).toBe(decision);
  });
});

describe('days and counts of a schedule', () => {
  const old = () => [ago(40), ago(30), ago(20), ago(10)].map((timeInitiated) => backup({ timeInitiated }));

  test('the days of the schedule go before the configured ones', () => {
    expect(decide(old(), [nightly({ keepDays: 25 })])).toEqual([
      'remove: older than the 25 days of schedule nightly', 'remove: older than the 25 days of schedule nightly',
      'keep: not older than the 25 days of schedule nightly', 'keep: the newest good backup of its schedule',
    ]);
    expect(decide([...old(), newest()], [nightly({ keepDays: 1 })])[3]).toBe('remove: older than the 1 day of schedule nightly');
  });

  test('the newest good one is never removed for its age', () => {
    expect(decide(old()).map((decision) => decision.split(':')[0])).toEqual(['remove', 'remove', 'remove', 'keep']);
    expect(decide([backup({ timeInitiated: ago(900) })])).toEqual(['keep: the newest good backup of its schedule']);
  });

  test('what cannot be restored is not the newest good one', () => {
    const copies = [backup({ timeInitiated: ago(40) }), ...(['FAILED', 'MISSING', 'IN_PROGRESS', 'DELETING'] as const).map((status) => backup({ timeInitiated: ago(30), status })), backup({ timeInitiated: ago(30), isDamaged: true })];
    expect(decide(copies)[0]).toBe('keep: the newest good backup of its schedule');
  });

  test('where none is good, the newest of which files remain or may come back is kept', () => {
    const failed = backup({ timeInitiated: ago(20), status: 'FAILED' });
    expect(decide([backup({ timeInitiated: ago(40), isDamaged: true }), backup({ timeInitiated: ago(30), status: 'MISSING' }), failed]).map((decision) => decision.split(':')[0])).toEqual(['remove', 'keep', 'remove']);
    expect(decide([backup({ timeInitiated: ago(40), isDamaged: true }), failed])[0]).toBe('keep: the newest backup of its schedule, which has no good one');
  });

  test('the newest ones are kept however old, and those that failed do not count', () => {
    const failed = backup({ timeInitiated: ago(1), status: 'FAILED' });
    expect(decide([...old(), failed], [nightly({ keepLast: 2 })])).toEqual([
      'remove: older than the 7 days of the backup configuration', 'remove: older than the 7 days of the backup configuration',
      'keep: among the newest 2 of schedule nightly', 'keep: among the newest 2 of schedule nightly',
      'keep: not older than the 7 days of the backup configuration',
    ]);
    expect(decide(old(), [nightly({ keepLast: 1 })])[3]).toBe('keep: the newest of schedule nightly');
    expect(decide(old(), [nightly({ keepLast: 10_000 })]).every((decision) => decision.startsWith('keep'))).toBe(true);
  });

  test('with days and a count, one is removed only where neither keeps it', () => {
    expect(decide(old(), [nightly({ keepDays: 35, keepLast: 2 })]).map((decision) => decision.split(':')[0])).toEqual(['remove', 'keep', 'keep', 'keep']);
    expect(decide(old(), [nightly({ keepDays: 15, keepLast: 3 })]).map((decision) => decision.split(':')[0])).toEqual(['remove', 'keep', 'keep', 'keep']);
  });

  test('of two from the same moment the later made is the newer', () => {
    const [first, second] = [backup({ timeInitiated: ago(30) }), backup({ timeInitiated: ago(30) })];
    expect(decide([second, first])).toEqual(['keep: the newest good backup of its schedule', 'remove: older than the 7 days of the backup configuration']);
    expect(decide([first, second])).toEqual(['remove: older than the 7 days of the backup configuration', 'keep: the newest good backup of its schedule']);
  });

  test('each schedule has its own newest', () => {
    const policies = [nightly(), { ...nightly({ keepDays: 1 }), scheduleId: 2, name: 'hourly' }];
    expect(decide([backup({ timeInitiated: ago(30) }), backup({ timeInitiated: ago(5), scheduleId: 2 }), backup({ timeInitiated: ago(3), scheduleId: 2 })], policies)).toEqual([
      'keep: the newest good backup of its schedule', 'remove: older than the 1 day of schedule hourly', 'keep: the newest good backup of its schedule',
    ]);
  });

  test('a clock that was set back keeps, and one that is set forward again removes', () => {
    const copies = [...old(), newest()];
    expect(decide(copies, [nightly()], ago(60)).every((decision) => decision.startsWith('keep'))).toBe(true);
    expect(decide(copies, [nightly()], ago(-60)).map((decision) => decision.split(':')[0])).toEqual(['remove', 'remove', 'remove', 'remove', 'keep']);
  });
});

test('nothing gives nothing', () => {
  expect(decide([])).toEqual([]);
  expect(decide([], [])).toEqual([]);
  expect(decide([backup({})], [])).toEqual(['keep: made on demand, without a retention date']);
});

test('nothing that it is given is changed, and the same facts give the same answer', () => {
  const facts = Object.freeze([Object.freeze(backup({ timeInitiated: ago(30) })), Object.freeze(newest())]) as unknown as RetentionFacts[];
  expect(decide(facts)).toEqual(decide(facts));
  expect(decideRetention(facts, [nightly()], { now: NOW, periodDays: 7 }).map((decision) => decision.backup)).toEqual(facts);
});
