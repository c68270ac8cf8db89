/**
 * A feed of millions of changes: reading the last thousand after a cursor that no gateway has in memory, and what a writer
 * notices of the removal of the older half.
 */
import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { openGatewayDatabase, type TestDatabase } from '../test/support/database.ts';
import { cursorAt, feedCursor } from '../test/support/feed.ts';
import { newDataDir, startGatewayProcess, type GatewayProcess } from '../test/support/gateway.ts';
import { plantBackups, plantStore } from '../test/support/records.ts';
import { RawSocket } from '../test/support/socket.ts';
import { nodeOptions } from './gateway.ts';
import { printTable, quantile } from './table.ts';

/** How many changes are read, how often, and how often before that uncounted: a gateway that was just started is slow. */
const [READ, RUNS, WARM_UP] = [1_000, 20, 10];
const PAGE = 100;
/** Over how many days the changes are spread, and how many of them are kept. */
const [DAYS, KEPT_DAYS] = [60, 30];
const FIELDS = 'cursor backupName from to at';
const LIST = `query ($after: String) { page: backupTransitions(first: ${PAGE}, after: $after) { nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`;
const STREAM = `subscription ($after: String) { backupStatusChanged(after: $after) { ${FIELDS} } }`;

export async function measureFeedTable({ rows, seconds }: { rows: number; seconds: number }): Promise<void> {
  const dataDir = await newDataDir();
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(dataDir, { recursive: true, force: true }));
  const start = (days: string) => startGatewayProcess({ dataDir, env: { ...nodeOptions(), FEED_RETENTION_DAYS: days } });
  // It makes the tables.
  const first = await start('forever');
  const database = await openGatewayDatabase(dataDir);
  stack.defer(() => database.close());
  const [backup = 0] = await plantBackups(database.sql, [{ name: 'written', store_id: await plantStore(database.sql), host_id: 1 }]);
  await first.stop();
  const planting = await plantChanges(database, rows);

  const gateway = await start('forever');
  stack.defer(() => gateway.stop());
  const reading = [await measureReading(gateway, database, 'all are there')];

  const writing: (string | number)[][] = [];
  const measureWriting = async (when: string, isOver: () => boolean) => {
    const times = await writeUntil(database, backup, isOver);
    writing.push([when, times.length, ...[0.5, 0.99, 1].map((part) => quantile(times, part).toFixed(2))]);
  };
  const forSomeTime = () => {
    const end = performance.now() + seconds * 1_000;
    return () => performance.now() > end;
  };
  await measureWriting('before', forSomeTime());
  const remover = await start(String(KEPT_DAYS));
  stack.defer(() => remover.stop());
  await until(async () => await floor(database) > 0);
  const began = performance.now();
  let isDone = false;
  const watching = until(async () => await floor(database) >= planting.old).then(() => { isDone = true; });
  await measureWriting(`while ${planting.old} changes are removed`, () => isDone);
  await watching;
  const removal = (performance.now() - began) / 1_000;
  // Time has passed: somewhat more are too old by now.
  reading.push(await measureReading(gateway, database, 'right after the removal', await floor(database)));
  await measureWriting('afterwards', forSomeTime());

  printTable(`Reading the last ${READ} of ${rows} changes (planted in ${planting.seconds.toFixed(0)} s), milliseconds, ${RUNS} runs after ${WARM_UP} uncounted`,
    ['', `${READ / PAGE} pages over HTTP, median`, 'worst', 'over a WebSocket, median', 'worst', 'the oldest page, median'], reading);
  printTable(`Status changes one after the other; the removal took ${removal.toFixed(0)} s`, ['', 'changes', 'median ms', '99th percentile', 'worst'], writing);
}

/** Puts changes into the table, past its triggers. @returns the position of the last one that is too old to be kept */
async function plantChanges({ sql }: TestDatabase, rows: number): Promise<{ old: number; seconds: number }> {
  const began = performance.now();
  const indexes = await sql<{ name: string; definition: string }[]>`
    select indexname as name, indexdef as definition from pg_indexes where tablename = 'transitions' and indexname like 'transition\\_of\\_%'`;
  // Building an index afterwards takes a fraction of the time.
  for (const { name } of indexes) await sql.unsafe(`drop index ${name}`);
  const [end] = await sql<{ position: string }[]>`select coalesce(max(position), 0) as position from transitions`;
  const base = Number(end?.position);
  // The oldest of all are those that the gateway made on its start.
  await sql`update transitions set at = at - make_interval(days => ${DAYS + 1})`;
  await sql`
    insert into transitions (position, kind, record_id, label, from_status, to_status, at)
    select ${base}::bigint + n, case n % 2 when 0 then 'BACKUP' else 'JOB' end, n % 2000 + 1, 'nightly-' || n % 2000,
      case n % 2 when 0 then 'SUCCESS' else 'SUBMITTED' end, case n % 2 when 0 then 'MISSING' else 'EXECUTING' end,
      now() - make_interval(secs => ${DAYS * 86_400}::float * (${rows}::float - n) / ${rows}::float)
    from generate_series(1, ${rows}::bigint) n`;
  for (const { definition } of indexes) await sql.unsafe(definition);
  await sql`select setval('feed_position', ${base + rows}::bigint)`;
  await sql.unsafe('vacuum analyze transitions');
  const [old] = await sql<{ position: string }[]>`select max(position) as position from transitions where at < now() - make_interval(days => ${KEPT_DAYS})`;
  return { old: Number(old?.position), seconds: (performance.now() - began) / 1_000 };
}

async function measureReading(gateway: GatewayProcess, { sql }: TestDatabase, when: string, oldest = 0): Promise<(string | number)[]> {
  const [row] = await sql<{ position: string }[]>`select position from transitions where kind = 'BACKUP' order by position desc offset ${READ} limit 1`;
  const present = await feedCursor(gateway);
  const after = cursorAt(present, Number(row?.position));
  const [pages, streams, first]: number[][] = [[], [], []];
  for (let run = -WARM_UP; run < RUNS; run += 1) {
    const socket = await RawSocket.open(gateway);
    const times = [await timed(() => readPages(gateway, after)), await timed(() => readStream(socket, after)), await timed(() => readPage(gateway, cursorAt(present, oldest)))];
    socket.socket.terminate();
    if (run >= 0) [pages, streams, first].forEach((all, index) => all!.push(times[index]!));
  }
  const columns = [pages!, streams!].flatMap((times) => [quantile(times, 0.5), Math.max(...times)]);
  return [when, ...[...columns, quantile(first!, 0.5)].map((time) => time.toFixed(1))];
}

async function readPage(gateway: GatewayProcess, after: string): Promise<any> {
  const { data, errors } = await gateway.query(LIST, { after });
  if (errors !== undefined) throw new Error(errors[0]?.message);
  return data.page;
}

async function readPages(gateway: GatewayProcess, after: string): Promise<void> {
  let count = 0;
  for (let cursor = after; count < READ;) {
    const { nodes, pageInfo } = await readPage(gateway, cursor);
    count += nodes.length;
    cursor = pageInfo.endCursor;
  }
}

/** From the subscription to the last of the changes. */
function readStream(socket: RawSocket, after: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let count = 0;
    // The bench looks at them alone, and not for longer than it takes to count them.
    socket.socket.removeAllListeners('message').on('message', (data: Buffer) => {
      if (!data.includes('"type":"next"')) reject(new Error(data.toString()));
      else if ((count += 1) === READ) resolve();
    });
    socket.start('read', STREAM, { after });
  });
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Lets a backup change its status, each time in a transaction of its own. @returns how long each took, in milliseconds */
async function writeUntil({ sql }: TestDatabase, backup: number, isOver: () => boolean): Promise<number[]> {
  const times: number[] = [];
  const [row] = await sql<{ status: string }[]>`select status from backups where id = ${backup}`;
  for (let isMissing = row?.status === 'MISSING'; !isOver(); isMissing = !isMissing) {
    times.push(await timed(() => sql`update backups set status = ${isMissing ? 'SUCCESS' : 'MISSING'} where id = ${backup}`));
  }
  return times;
}

const floor = async ({ sql }: TestDatabase): Promise<number> => Number((await sql<{ floor: string }[]>`select floor from feed`)[0]?.floor);

async function until(check: () => Promise<boolean>): Promise<void> {
  while (!await check()) await sleep(50);
}
