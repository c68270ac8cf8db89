/**
 * When a schedule runs, and how its backups are named. Pure: the time is given, never looked up.
 *
 * Cron expressions are read as Vixie cron does. Where neither minute nor hour has a `*`, the clock on the wall counts:
 * a time that does not exist, because clocks go forward, is run once at the first moment after the gap, and one that
 * exists twice is run at the first of the two alone. Where one of them has a `*`, time that passes counts: `0 * * * *`
 * goes on hour by hour, through a gap and through an hour that comes twice.
 */
import { Cron } from 'croner';
import type { BackupType } from './vocabulary.ts';

/** Five fields, and the zone in which they are read. */
export interface Timing {
  readonly cron: string;
  /** IANA name. */
  readonly timeZone: string;
}

const parse = ({ cron, timeZone }: Timing): Cron => new Cron(cron.trim(), { timezone: timeZone, mode: '5-part', fixedTimeRule: 'no-wildcard' });

/** More than any expression with a sense has. */
const LONGEST_CRON = 200;
/** An expression that has no run after this moment has none at all. */
const LONG_AGO = new Date(0);

/** Whether these are five fields that come true sometime; 30 February never does. */
export function isCron(cron: string): boolean {
  // The parser takes names such as @daily, and "?" for the moment at which it reads it.
  if (cron.length > LONGEST_CRON || cron.trim().split(/\s+/).length !== 5 || /[?@]/.test(cron)) return false;
  try {
    return parse({ cron, timeZone: 'UTC' }).nextRun(LONG_AGO) !== null;
  } catch {
    return false;
  }
}

/** Whether this is a time zone's IANA name, such as Europe/Berlin or UTC; an offset such as +02:00 is none. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** The first run after a moment; null where there is none, or this machine does not know the zone. */
export function nextRun(timing: Timing, after: Date): Date | null {
  try {
    return parse(timing).nextRun(after);
  } catch {
    return null;
  }
}

/** The next runs after a moment, so many at most. */
export function nextRuns(timing: Timing, after: Date, count: number): Date[] {
  const runs: Date[] = [];
  for (let at = nextRun(timing, after); at !== null && runs.length < count; at = nextRun(timing, at)) runs.push(at);
  return runs;
}

/** By how much a clock may be set back, as time servers do, without a run that has been being run again, in milliseconds. */
const CLOCK_STEP = 5 * 60_000;

/**
 * The regular run that is next for a schedule that has been run last at `lastRun`. A last run that lies far in the
 * future was noted by a wrong clock and does not count.
 */
export function regularRun(schedule: Timing & { readonly lastRun: Date | null }, now: Date): Date | null {
  const last = schedule.lastRun?.getTime() ?? 0;
  const isStep = last > now.getTime() && last <= now.getTime() + CLOCK_STEP;
  return nextRun(schedule, isStep ? new Date(last) : now);
}

/** After how long a refused run is tried again, in milliseconds. */
export const RETRY_AFTER = 60_000;

/** When a refused run is tried again: soon, or with the next regular run where that comes first. */
export function retryRun(regular: Date | null, now: Date): Date {
  return new Date(Math.min(now.getTime() + RETRY_AFTER, regular?.getTime() ?? Infinity));
}

/** Full to this share, a store takes no scheduled backups; source: Juniper JSA's backup strategies. */
const FULL_FROM = 0.75;

/** How full a store's volume is, in whole percent, where that is too full for scheduled backups; null: it is not, or nobody knows. */
export function tooFull({ totalBytes, freeBytes }: { totalBytes: number | null; freeBytes: number | null }): number | null {
  if (totalBytes === null || freeBytes === null || totalBytes <= 0) return null;
  const share = 1 - freeBytes / totalBytes;
  return share >= FULL_FROM ? Math.floor(share * 100) : null;
}

/** What a name pattern may hold, each with what takes its place. */
export const PLACEHOLDERS = ['schedule', 'host', 'type', 'date', 'time', 'n'] as const;
type Placeholder = (typeof PLACEHOLDERS)[number];
/** The name pattern of a schedule that was given none. */
export const DEFAULT_NAME_PATTERN = '{schedule}-{date}-{time}';

/** What the placeholders stand for. */
export interface NameFacts {
  schedule: string;
  hostname: string;
  type: BackupType;
  /** The moment of the run, told in the schedule's time zone. */
  time: Date;
  timeZone: string;
  n: number;
}

const replaced = (pattern: string, values: Record<Placeholder, string>): string =>
  pattern.replaceAll(/\{(\w+)\}/g, (whole, name: string) => (Object.hasOwn(values, name) ? values[name as Placeholder] : whole));

/** As rule 1003 has it. */
const LONGEST_NAME = 100;
const isName = (name: string): boolean => name.length <= LONGEST_NAME && /^[A-Za-z0-9_.-]+$/.test(name);

/** The name that a pattern gives; no longer than a name may be. */
export function backupName(pattern: string, { schedule, hostname, type, time, timeZone, n }: NameFacts): string {
  const part = Object.fromEntries(new Intl.DateTimeFormat('en-u-ca-gregory-nu-latn', {
    timeZone, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit',
  }).formatToParts(time).map((found) => [found.type, found.value]));
  return replaced(pattern, {
    schedule, host: hostname.replaceAll(/[^A-Za-z0-9.-]/g, '-').slice(0, 63), type: type.toLowerCase(), n: String(n),
    date: `${part['year']}-${part['month']}-${part['day']}`, time: `${part['hour']}${part['minute']}${part['second']}`,
  }).slice(0, LONGEST_NAME);
}

/** Whether every name that a pattern gives obeys rules 1002 to 1004, with the longest values that its placeholders take. */
export function isNamePattern(pattern: string, { schedule, hostname }: { schedule: string; hostname: string }): boolean {
  return isName(replaced(pattern, { schedule, host: hostname.replaceAll(/[^A-Za-z0-9.-]/g, '-').slice(0, 63), type: 'config', date: '2026-11-21', time: '235959', n: '99999' }));
}

/** The number for the next name: one more than the highest that the schedule's backups bear; 1 where none bears one. */
export function nextNumber(pattern: string, names: readonly string[]): number {
  const literal = (text: string): string => text.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const FORMS: Record<Placeholder, string> = { schedule: '.*?', host: '.*?', type: '(?:config|data)', date: '\\d{4}-\\d\\d-\\d\\d', time: '\\d{6}', n: '(\\d{1,15})' };
  const form = pattern.split(/(\{\w+\})/).map((piece) => FORMS[piece.slice(1, -1) as Placeholder] ?? literal(piece)).join('');
  // A suffix that made a name unique is no part of the number.
  const matcher = new RegExp(`^${form}(?:-\\d+)?$`);
  return 1 + Math.max(0, ...names.map((name) => Number(matcher.exec(name)?.[1] ?? 0)));
}

/** The name itself, or, where that is taken, with the first of `-2`, `-3` and so on that is free. */
export function freeName(name: string, taken: ReadonlySet<string>): string {
  let free = name;
  for (let nth = 2; taken.has(free); nth += 1) free = `${name.slice(0, LONGEST_NAME - String(nth).length - 1)}-${nth}`;
  return free;
}
