/**
 * When schedules run and how their backups are named: pure, on given times.
 */
import { describe, expect, test } from 'vitest';
import {
  backupName, freeName, isCron, isNamePattern, isTimeZone, nextNumber, nextRun, nextRuns, regularRun, retryRun, tooFull, type NameFacts,
} from '../src/domain/schedule.ts';

const BERLIN = 'Europe/Berlin';
const runs = (cron: string, timeZone: string, after: string, count: number): string[] =>
  nextRuns({ cron, timeZone }, new Date(after), count).map((run) => run.toISOString().slice(5, 16));

describe('where clocks change', () => {
  test('a time that does not exist is run once, at the first moment after the gap', () => {
    expect(runs('30 2 * * *', BERLIN, '2026-03-28T00:00:00Z', 3)).toEqual(['03-28T01:30', '03-29T01:00', '03-30T00:30']);
    expect(runs('0,30 2 * * *', BERLIN, '2026-03-29T00:00:00Z', 2)).toEqual(['03-29T01:00', '03-30T00:00']);
    // Half an hour is missing there.
    expect(runs('15 2 * * *', 'Australia/Lord_Howe', '2026-10-02T16:00:00Z', 2)).toEqual(['10-03T15:30', '10-04T15:15']);
    // Midnight is missing there.
    expect(runs('0 0 * * *', 'America/Sao_Paulo', '2018-11-03T03:00:00Z', 2)).toEqual(['11-04T03:00', '11-05T02:00']);
  });

  test('a time that exists twice is run once, at the first of the two', () => {
    expect(runs('30 2 * * *', BERLIN, '2026-10-24T01:00:00Z', 2)).toEqual(['10-25T00:30', '10-26T01:30']);
    expect(runs('0,30 2 * * *', BERLIN, '2026-10-24T01:00:00Z', 3)).toEqual(['10-25T00:00', '10-25T00:30', '10-26T01:00']);
    // From between the two: not again.
    expect(runs('30 2 * * *', BERLIN, '2026-10-25T00:45:00Z', 1)).toEqual(['10-26T01:30']);
  });

  test('what runs every so often goes on at the same pace', () => {
    expect(runs('30 * * * *', BERLIN, '2026-03-29T00:00:00Z', 3)).toEqual(['03-29T00:30', '03-29T01:30', '03-29T02:30']);
    expect(runs('30 * * * *', BERLIN, '2026-10-24T23:00:00Z', 4)).toEqual(['10-24T23:30', '10-25T00:30', '10-25T01:30', '10-25T02:30']);
    expect(runs('*/20 * * * *', BERLIN, '2026-10-25T00:00:00Z', 6)).toEqual(['10-25T00:20', '10-25T00:40', '10-25T01:00', '10-25T01:20', '10-25T01:40', '10-25T02:00']);
  });

  test('the zone decides, wherever the process is', () => {
    expect(runs('0 2 * * *', 'Asia/Kolkata', '2026-11-21T00:00:00Z', 1)).toEqual(['11-21T20:30']);
    expect(runs('0 2 * * *', 'UTC', '2026-11-21T00:00:00Z', 1)).toEqual(['11-21T02:00']);
  });
});

describe('what can be written', () => {
  test.each(['0 2 * * *', '*/5 * * * *', '0 2 * * MON-FRI', '0 2 1,15 * *', '0 2 L * *', '0 2 * * MON#2', ' 0  2 * * 7 ', '0 0 29 2 *'])('%j is a cron expression', (cron) => {
    expect(isCron(cron)).toBe(true);
  });

  test.each(['', ' ', '* * * *', '* * * * * *', '@daily', '60 0 * * *', '0 24 * * *', '0 0 0 * *', '0 0 30 2 *', '0 0 31 4 *', '*/0 * * * *', '? * * * *', 'a b c d e',
    '2026-11-21T02:00:00', '0 2 * * * ; ls', `0 2 ${'1,'.repeat(200)}1 * *`, '0 0 -1 * *'])('%j is none', (cron) => {
    expect(isCron(cron)).toBe(false);
  });

  test('zones are IANA names', () => {
    for (const name of ['UTC', BERLIN, 'America/Argentina/Buenos_Aires', 'Etc/GMT+5']) expect([name, isTimeZone(name)]).toEqual([name, true]);
    for (const name of ['', '+02:00', 'Berlin', 'Europe/Atlantis', '../etc', 'UTC\0']) expect([name, isTimeZone(name)]).toEqual([name, false]);
  });

  test('a zone that this machine does not know has no run, and throws nothing', () => {
    expect(nextRun({ cron: '0 2 * * *', timeZone: 'Europe/Atlantis' }, new Date())).toBeNull();
  });
});

describe('when the clock of the machine is set', () => {
  const hourly = (lastRun: string | null) => ({ cron: '0 * * * *', timeZone: 'UTC', lastRun: lastRun === null ? null : new Date(lastRun) });
  const regular = (lastRun: string | null, now: string) => regularRun(hourly(lastRun), new Date(now))?.toISOString().slice(11, 16);

  test('set back by seconds, as time servers do, it does not run again what has been run', () => {
    expect(regular('2026-11-21T12:00:00.010Z', '2026-11-21T11:59:59Z')).toBe('13:00');
    expect(regular('2026-11-21T12:00:00.010Z', '2026-11-21T11:56:00Z')).toBe('13:00');
  });

  test('set back by hours, it does not wait for the time that it came from', () => {
    expect(regular('2026-11-21T12:00:00Z', '2026-11-21T08:30:00Z')).toBe('09:00');
  });

  test('set forward, it has one run to make, and then the next regular one', () => {
    expect(regular('2026-11-21T12:00:00Z', '2026-12-01T08:30:00Z')).toBe('09:00');
    expect(regular(null, '2026-12-01T08:30:00Z')).toBe('09:00');
  });

  test('a refused run is tried again after a minute, or with the next regular one', () => {
    const now = new Date('2026-11-21T12:00:30Z');
    expect(retryRun(new Date('2026-11-21T13:00:00Z'), now)).toEqual(new Date('2026-11-21T12:01:30Z'));
    expect(retryRun(new Date('2026-11-21T12:01:00Z'), now)).toEqual(new Date('2026-11-21T12:01:00Z'));
    expect(retryRun(null, now)).toEqual(new Date('2026-11-21T12:01:30Z'));
  });
});

describe('names', () => {
  const facts: NameFacts = { schedule: 'nightly', hostname: 'ep_1.example', type: 'DATA', time: new Date('2026-11-20T23:30:05Z'), timeZone: BERLIN, n: 7 };

  test('placeholders are filled in, dates and times in the time zone of the schedule', () => {
    expect(backupName('{schedule}.{host}.{type}.{date}.{time}.{n}', facts)).toBe('nightly.ep-1.example.data.2026-11-21.003005.7');
    expect(backupName('{n}-{n}', facts)).toBe('7-7');
    expect(backupName('plain', facts)).toBe('plain');
  });

  test('a pattern is good where all its names are', () => {
    const good = (pattern: string, schedule = 'nightly') => isNamePattern(pattern, { schedule, hostname: 'console' });
    for (const pattern of ['{schedule}-{date}-{time}', 'plain', '{n}', '.', `${'x'.repeat(95)}{n}`]) expect([pattern, good(pattern)]).toEqual([pattern, true]);
    for (const pattern of ['', '{weekday}', '{schedule', '{}', '{ n }', 'a/b', 'a b', 'ä', `${'x'.repeat(96)}{n}`, '{constructor}', '{DATE}']) expect([pattern, good(pattern)]).toEqual([pattern, false]);
    expect(good('{schedule}-{date}-{time}', 'x'.repeat(82))).toBe(true);
    expect(good('{schedule}-{date}-{time}', 'x'.repeat(83))).toBe(false);
  });

  test('the number is one more than the highest that there is', () => {
    expect(nextNumber('full-{n}', [])).toBe(1);
    expect(nextNumber('full-{n}', ['full-9', 'full-10', 'full-11-2', 'full-x', 'other-99'])).toBe(12);
    expect(nextNumber('{schedule}-{date}-{n}.{time}', ['nightly-2026-11-21-41.003005', 'renamed-2026-11-22-3.003005'])).toBe(42);
    expect(nextNumber('a.b*{n}', ['axb7', 'a.b*5'])).toBe(6);
  });

  test('a name that is taken gets the first suffix that is free, within the length of a name', () => {
    expect(freeName('plain', new Set())).toBe('plain');
    expect(freeName('plain', new Set(['plain', 'plain-2', 'plain-4']))).toBe('plain-3');
    const long = 'x'.repeat(100);
    expect(freeName(long, new Set([long]))).toBe(`${'x'.repeat(98)}-2`);
  });
});

test('a store counts as too full from 75 percent, and one of unknown size never', () => {
  expect(tooFull({ totalBytes: 1000, freeBytes: 251 })).toBeNull();
  expect(tooFull({ totalBytes: 1000, freeBytes: 250 })).toBe(75);
  expect(tooFull({ totalBytes: 1000, freeBytes: 0 })).toBe(100);
  for (const unknown of [{ totalBytes: null, freeBytes: null }, { totalBytes: null, freeBytes: 0 }, { totalBytes: 1000, freeBytes: null }, { totalBytes: 0, freeBytes: 0 }]) expect(tooFull(unknown)).toBeNull();
});
