/**
 * Status at scale: thousands of subscribers, each with a socket of its own, in one thread of this process, the gateway and
 * its database in others; two processors have it all to do. Beside it a bare server that broadcasts the same bytes, and
 * the gateway with an operation that it does not share.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { openGatewayDatabase } from '../test/support/database.ts';
import { startGatewayProcess, type GatewayProcess } from '../test/support/gateway.ts';
import { plantBackups, plantStore } from '../test/support/records.ts';
import type { AudienceOptions, Command, Report } from './audience.ts';
import { clock } from './clock.ts';
import { nodeOptions } from './gateway.ts';
import { printTable, quantile } from './table.ts';

const SELECTION = '{ cursor backupName from to at }';
const ALL = `subscription ($after: String) { backupStatusChanged(after: $after) ${SELECTION} }`;
/** The same, but for what keeps it from being shared. */
const UNSHARED = ALL.replace(`) ${SELECTION}`, `) @include(if: true) ${SELECTION}`);
const OWN = `subscription ($id: ID!, $after: String) { backupStatusChanged(id: $id, after: $after) ${SELECTION} }`;
/** How long deliveries may take after the last change, in milliseconds. */
const PATIENCE = 30_000;

type Sql = Awaited<ReturnType<typeof openGatewayDatabase>>['sql'];
interface Subject { gateway: GatewayProcess; sql: Sql; backups: number[] }

/** What a run of changes has come to. */
interface Outcome { expected: number; report: Report; seconds: number }

const memory = (pid: number | undefined): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;

class Audience {
  readonly #worker: Worker;
  readonly sent: Float64Array;

  constructor(options: Omit<AudienceOptions, 'sent'>, changes: number) {
    const sent = new SharedArrayBuffer(8 * changes);
    this.sent = new Float64Array(sent);
    this.#worker = new Worker(new URL('./audience.ts', import.meta.url), { workerData: { ...options, sent } satisfies AudienceOptions, resourceLimits: { maxOldGenerationSizeMb: 4_096 } });
  }

  async answer(command?: Command): Promise<any> {
    const answered = once(this.#worker, 'message');
    if (command !== undefined) this.#worker.postMessage(command, []);
    return (await answered)[0];
  }

  /** Waits for so many deliveries, and tells of all that came. */
  async report(expected: number): Promise<Report> {
    const latencies: number[] = [];
    for (const end = performance.now() + PATIENCE; ;) {
      const report = await this.answer('report') as Report;
      for (const latency of report.latencies) latencies.push(latency);
      if (report.deliveries >= expected || performance.now() > end) {
        await sleep(200);
        const { deliveries } = await this.answer('report') as Report;
        return { ...report, deliveries, latencies: Float64Array.from(latencies) };
      }
      await sleep(200);
    }
  }

  end(): Promise<number> { return this.#worker.terminate(); }
}

/** Calls at an even rate; late ones are made up for. */
async function atRate(count: number, perSecond: number, send: (nth: number) => unknown): Promise<void> {
  const began = performance.now();
  for (let nth = 0; nth < count; nth += 1) {
    const due = began + (nth * 1000) / perSecond - performance.now();
    if (due > 1) await sleep(due);
    await send(nth);
  }
}

async function withSubject<T>(backups: number, work: (subject: Subject) => Promise<T>): Promise<T> {
  const gateway = await startGatewayProcess({ env: nodeOptions() });
  const database = await openGatewayDatabase(gateway.dataDir);
  try {
    const store_id = await plantStore(database.sql);
    const planted = await plantBackups(database.sql, Array.from({ length: backups }, (_, n) => ({ name: `nightly-${n}`, store_id, host_id: 1, content_file_path: `/backups/nightly-${n}` })));
    await database.sql`analyze`;
    return await work({ gateway, sql: database.sql, backups: planted });
  } finally {
    await database.close();
    await gateway.stop();
  }
}

const audienceOf = ({ gateway }: Subject, query: string, variables: Record<string, unknown>[], how: { isOwn?: boolean; isCut?: boolean }, changes: number): Audience =>
  new Audience({ url: `${gateway.url.replace('http', 'ws')}/graphql`, token: gateway.token, query, variables, isOwn: false, isCut: false, ...how }, changes);

const feedCursor = async ({ gateway }: Subject): Promise<string> => (await gateway.query('{ feedCursor }')).data.feedCursor;

/** Everybody gets every change. */
async function broadcast(query: string, subscribers: number, perSecond: number, seconds: number): Promise<Outcome> {
  return withSubject(1, async (subject) => {
    const { sql, backups: [backup = 0] } = subject;
    const after = await feedCursor(subject);
    const changes = perSecond * seconds;
    const audience = audienceOf(subject, query, Array.from({ length: subscribers }, () => ({ after })), {}, changes);
    await audience.answer();
    await sleep(2_000);
    await atRate(changes, perSecond, (nth) => {
      audience.sent[nth] = clock();
      return sql`update backups set status = ${nth % 2 === 0 ? 'MISSING' : 'SUCCESS'} where id = ${backup}`;
    });
    const report = await audience.report(changes * subscribers);
    await audience.end();
    return { expected: changes * subscribers, report, seconds };
  });
}

/** The same bytes from a server that does nothing else. */
async function bare(subscribers: number, perSecond: number, seconds: number): Promise<Outcome & { kilobytesEach: number }> {
  const server = fork(fileURLToPath(new URL('./bare-server.ts', import.meta.url)));
  const [{ port }] = await once(server, 'message') as [{ port: number }];
  const idle = memory(server.pid);
  const changes = perSecond * seconds;
  const audience = new Audience({ url: `ws://127.0.0.1:${port}`, token: '', query: '', variables: Array.from({ length: subscribers }, () => ({})), isOwn: false, isCut: false }, changes);
  await audience.answer();
  await sleep(2_000);
  const kilobytesEach = ((memory(server.pid) - idle) * 1024) / subscribers;
  const message = '{"id":"1","type":"next","payload":{"data":{"backupStatusChanged":{"cursor":"ZmVlZC8xMjM0NTY3OC8xMjM0NTY3","backupName":"nightly-0","from":"SUCCESS","to":"MISSING","at":"2026-01-01T00:00:00.000Z"}}}}';
  await atRate(changes, perSecond, (nth) => {
    audience.sent[nth] = clock();
    server.send(message);
  });
  const report = await audience.report(changes * subscribers);
  await audience.end();
  server.kill();
  return { expected: changes * subscribers, report, seconds, kilobytesEach };
}

/** Each watches a backup of its own. */
async function own(subscribers: number, perSecond: number, seconds: number): Promise<Outcome & { kilobytesEach: number }> {
  return withSubject(subscribers, async (subject) => {
    const { sql, backups, gateway } = subject;
    const after = await feedCursor(subject);
    const changes = perSecond * seconds;
    await sleep(1_000);
    const idle = memory(gateway.process.pid);
    const audience = audienceOf(subject, OWN, backups.map((id) => ({ id: String(id), after })), { isOwn: true }, changes);
    await audience.answer();
    await sleep(2_000);
    const kilobytesEach = ((memory(gateway.process.pid) - idle) * 1024) / subscribers;
    // Ten changes in each transaction: the rate is that of the feed, not of the disk under Postgres.
    const together = 10;
    await atRate(changes / together, perSecond / together, (nth) => {
      const now = clock();
      const ids = Array.from({ length: together }, (_, index) => {
        audience.sent[nth * together + index] = now;
        return backups[(nth * together + index) % subscribers]!;
      });
      return sql`update backups set status = case status when 'SUCCESS' then 'MISSING' else 'SUCCESS' end where id = any(${`{${ids.join()}}`}::bigint[])`;
    });
    const report = await audience.report(changes);
    await audience.end();
    return { expected: changes, report, seconds, kilobytesEach };
  });
}

/** All are cut at once, miss some changes, and come back at once with their cursors. */
async function storm(subscribers: number, missed: number): Promise<{ seconds: number; statements: number; idle: number; deliveries: number; expected: number; problems: string[] }> {
  return withSubject(1, async (subject) => {
    const { sql, backups: [backup = 0] } = subject;
    const after = await feedCursor(subject);
    const audience = audienceOf(subject, ALL, Array.from({ length: subscribers }, () => ({ after })), { isCut: true }, missed + 1);
    await audience.answer();
    const flip = (nth: number) => sql`update backups set status = ${nth % 2 === 0 ? 'MISSING' : 'SUCCESS'} where id = ${backup}`;
    await flip(0);
    await audience.report(subscribers);
    await audience.answer('cut');
    await sleep(3_000);
    for (let nth = 1; nth <= missed; nth += 1) await flip(nth);
    await sleep(2_000);
    const statements = async (): Promise<number> => {
      // Each statement outside a transaction is one; sessions tell of theirs within a second.
      await sleep(1_500);
      return Number((await sql`select xact_commit + xact_rollback as n from pg_stat_database where datname = current_database()`)[0]?.['n']);
    };
    const quiet = await statements();
    await sleep(5_000);
    const before = await statements();
    const began = performance.now();
    await audience.answer('resume');
    const seconds = (performance.now() - began) / 1000;
    const { deliveries, problems } = await audience.report(subscribers * (missed + 1));
    await sleep(Math.max(0, 5_000 - (performance.now() - began)));
    const now = await statements();
    await audience.end();
    return { seconds, statements: now - before, idle: before - quiet, deliveries, expected: subscribers * (missed + 1), problems };
  });
}

const row = (what: string, { expected, report: { deliveries, latencies, problems } }: Outcome): string[] => [
  what, `${deliveries} of ${expected}${problems.length > 0 ? `; ${problems.length} problems, the first: ${problems[0]}` : ''}`,
  ...[0.5, 0.99, 1].map((part) => quantile([...latencies], part).toFixed(1)),
];

export interface FeedSize { all: number; own: number; seconds: number; only: string[] }

/** @param size how many watch all, how many watch their own, for how long changes are made, and which parts */
export async function measureFeed(size: FeedSize): Promise<void> {
  const wants = (part: string) => size.only.length === 0 || size.only.includes(part);
  if (wants('all')) {
    const rows = [row('bare server', await bare(size.all, 20, size.seconds)), row('gateway', await broadcast(ALL, size.all, 20, size.seconds)), row('gateway, not shared', await broadcast(UNSHARED, size.all, 20, size.seconds))];
    printTable(`${size.all} subscribers of all changes, 20 changes a second`, ['', 'deliveries', 'median, ms', '99th percentile, ms', 'last, ms'], rows);
  }
  if (wants('own')) {
    const [beside, outcome] = [await bare(size.own, 1, 3), await own(size.own, 1_000, size.seconds)];
    printTable(`${size.own} sockets, each watching its own backup, 1,000 changes a second`, ['', 'deliveries', 'median, ms', '99th percentile, ms', 'last, ms', 'kB a socket'], [
      [...row('gateway', outcome), outcome.kilobytesEach.toFixed(1)], [...row('bare server, one broadcast a second', beside), beside.kilobytesEach.toFixed(1)],
    ]);
  }
  if (wants('storm')) {
    const { seconds, statements, idle, deliveries, expected, problems } = await storm(size.all, 10);
    printTable(`${size.all} clients cut at once, each resuming after 10 changes`, ['all caught up after, s', 'deliveries', 'statements in Postgres', 'of an idle gateway as long', 'problems'],
      [[seconds.toFixed(2), `${deliveries} of ${expected}`, statements, idle, problems.length]]);
  }
}
