import { rm } from 'node:fs/promises';
import { sql } from 'drizzle-orm';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openDatabase } from '../src/db/client.ts';
import { changesInPages, feedCursor, positionOf, readChange, readUntil, subscriptionTo } from './support/feed.ts';
import { newEmptyDataDir, startGateway, until, type TestGateway } from './support/gateway.ts';
import { findPgBouncer, startPgBouncer, type Pooler, type PoolOptions } from './support/pgbouncer.ts';
import { findServerPrograms, startPostgresServer, type PostgresServer } from './support/postgres-server.ts';
import { RawSocket } from './support/socket.ts';

const programs = findServerPrograms();
const bouncer = findPgBouncer();
/** What a gateway sets for its connections, and PgBouncer does not know. */
const SETTINGS = ['statement_timeout', 'idle_in_transaction_session_timeout', 'tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count', 'tcp_user_timeout'];
const ROLE = 'gateway';

const without = [bouncer === null ? 'pgbouncer' : null, programs === null ? 'postgresql' : null].filter((name) => name !== null);
describe.skipIf(without.length > 0)(`a pooler between${without.length > 0 ? ` (left out: install ${without.join(' and ')})` : ''}`, () => {
  let server: PostgresServer;
  const left: (() => unknown)[] = [];
  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '');
    server.sql('postgres', `create role ${ROLE} login createdb password '${ROLE}'; create database control`);
  });
  afterEach(async () => { for (const end of left.splice(0).toReversed()) await end(); });
  afterAll(() => server?.stop());

  let made = 0;
  const newDatabase = (): string => {
    const name = `gateway_${made += 1}`;
    server.sql('postgres', `create database ${name} owner ${ROLE}`);
    return name;
  };
  const direct = (database: string) => `postgres://${ROLE}:${ROLE}@127.0.0.1:${server.port}/${database}`;
  const startPooler = async (options: PoolOptions): Promise<Pooler> => {
    const pooler = await startPgBouncer(bouncer ?? '', { port: server.port, user: ROLE, password: ROLE, control: 'control' }, options);
    left.push(() => pooler.stop());
    return pooler;
  };
  const start = async (env: Record<string, string>): Promise<TestGateway> => {
    const dataDir = await newEmptyDataDir();
    left.push(() => rm(dataDir, { recursive: true, force: true }));
    const gateway = await startGateway({ dataDir, env });
    left.push(() => gateway.stop());
    return gateway;
  };
  const open = async (gateway: TestGateway): Promise<RawSocket> => {
    const socket = await RawSocket.open(gateway);
    left.push(() => socket.socket.terminate());
    return socket;
  };

  const CREATE = 'mutation ($name: String!) { createBackup(input: { name: $name, type: CONFIG, configurationId: 1 }) { ... on CreateBackupPayload { backup { id } } ... on RuleViolations { message } } }';
  const LIST = '{ backups(first: 50) { nodes { id name status host { hostname } store { name } job { jobId status } } } jobs(first: 50) { nodes { jobId status } } feedCursor }';
  /** What only its transaction finds out. */
  const REFUSED = 'mutation { createBackup(input: { name: "nowhere", type: CONFIG, configurationId: 1, hostId: 99 }) { ... on RuleViolations { violations { rule } } } }';
  /** Makes a backup and watches it to its end. */
  const backUp = async (gateway: TestGateway, name: string): Promise<{ statuses: (string | null)[]; end: number }> => {
    const socket = await open(gateway);
    socket.start('watch', subscriptionTo('BACKUP'), { after: await feedCursor(gateway) });
    const { data } = await gateway.query(CREATE, { name });
    expect(data.createBackup).toHaveProperty('backup.id');
    const statuses: (string | null)[] = [];
    for (;;) {
      const { to, position } = readChange(await socket.next('watch'));
      statuses.push(to);
      if (to !== 'INITIALIZING' && to !== 'IN_PROGRESS') return { statuses, end: position };
    }
  };

  describe('that shares its connections out by transactions', () => {
    test('carries everything but notifications, sessions and migrations, which take the direct way', async () => {
      const database = newDatabase();
      const pooler = await startPooler({ mode: 'transaction', size: 3 });
      const gateway = await start({ DATABASE_URL: pooler.url(database), DATABASE_DIRECT_URL: direct(database) });
      expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
      const [backup] = await Promise.all([
        backUp(gateway, 'through-a-pooler'),
        // As many at once as make every statement meet every connection, those of transactions above all: outside of them
        // the driver tries again what a connection does not know.
        ...Array.from({ length: 300 }, async (_, n) => {
          const { errors, data } = await gateway.query(n % 2 === 0 ? LIST : REFUSED);
          expect(errors).toBeUndefined();
          if (n % 2 === 1) expect(data.createBackup.violations).toMatchObject([{ rule: 'HOST_NOT_FOUND' }]);
        }),
      ]);
      expect(backup.statuses).toEqual(['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);
      expect((await changesInPages(gateway, 'BACKUP', 2)).map(({ to }) => to)).toEqual(backup.statuses);
    });

    test('may be started anew: streams go on, and lose nothing', async () => {
      const database = newDatabase();
      const pooler = await startPooler({ mode: 'transaction', size: 3 });
      const gateway = await start({ DATABASE_URL: pooler.url(database), DATABASE_DIRECT_URL: direct(database) });
      const socket = await open(gateway);
      const begin = await feedCursor(gateway);
      socket.start('watch', subscriptionTo('BACKUP'), { after: begin });
      await backUp(gateway, 'before');
      await pooler.start();
      await until('the database is there again', async () => (await gateway.query('{ feedCursor }')).errors === undefined);
      const { end } = await backUp(gateway, 'after');
      expect(await readUntil(socket, 'watch', end)).toEqual(await changesInPages(gateway, 'BACKUP', 50, begin));
    });

    test('gives transactions their time limits, and leaves none of them to whoever comes next', async () => {
      const database = newDatabase();
      const pooler = await startPooler({ mode: 'transaction', size: 1 });
      const { db, close } = openDatabase(pooler.url(database), { isPooled: true, statementLimit: 1_000, max: 1 });
      left.push(close);
      const limits = (on: Pick<typeof db, 'execute'>) => on.execute(sql`select current_setting('statement_timeout') as statement, current_setting('idle_in_transaction_session_timeout') as idle, current_setting('TimeZone') as zone`);
      expect([...await db.transaction((transaction) => limits(transaction))]).toEqual([{ statement: '800ms', idle: '1s', zone: 'UTC' }]);
      expect([...await limits(db)]).toEqual([{ statement: '0', idle: '0', zone: 'UTC' }]);
      await expect(db.transaction((transaction) => transaction.execute(sql`select pg_sleep(5)`))).rejects.toMatchObject({ cause: { code: '57014' } });
    });

    test('F21 is refused without a direct way, at once or when nothing came back, and the refused start leaves nothing behind', async () => {
      const plain = newDatabase();
      const refusing = await startPooler({ mode: 'transaction', size: 5 });
      await expect(start({ DATABASE_URL: refusing.url(plain) })).rejects.toMatchObject({ code: 'POOLER_BETWEEN', hint: expect.stringContaining('DATABASE_DIRECT_URL') });

      // With one connection, who notifies and who listens meet on the same one; with several, now and then.
      const scenes = await Promise.all([1, 5].map(async (size) => {
        const database = newDatabase();
        return { database, env: { DATABASE_URL: (await startPooler({ mode: 'transaction', size, ignored: SETTINGS })).url(database) } };
      }));
      const [first, second] = [newDatabase(), newDatabase()];
      // A direct way that leads elsewhere.
      const astray = { database: second, env: { DATABASE_URL: direct(first), DATABASE_DIRECT_URL: direct(second) } };
      // Other gateways on the same database.
      const heartbeats = scenes.map(({ database }) => server.open(database, "select pg_notify('backup_gateway_heartbeat', md5(random()::text)) \\watch 0.01"));
      left.push(() => heartbeats.forEach((session) => session.kill('SIGKILL')));
      await Promise.all([...scenes, astray].map(async ({ database, env }) => {
        const began = performance.now();
        await expect(start(env)).rejects.toMatchObject({ code: 'NOTIFICATIONS_LOST', hint: expect.stringContaining('DATABASE_DIRECT_URL') });
        expect(performance.now() - began).toBeLessThan(12_000);
        expect(server.sql(database, "select count(*) from pg_class where relnamespace = 'public'::regnamespace")).toBe('0');
        expect(server.sql(database, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")).toBe('0');
      }));
    });
  });

  test('that gives each client a connection of its own needs nothing but to let settings pass', async () => {
    const database = newDatabase();
    const pooler = await startPooler({ mode: 'session', size: 40, ignored: SETTINGS });
    const gateway = await start({ DATABASE_URL: pooler.url(database) });
    expect((await backUp(gateway, 'in-sessions')).statuses).toEqual(['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);
    expect(positionOf(await feedCursor(gateway))).toBeGreaterThan(0);
  });
});
