/**
 * What SIGKILL leaves of a restore of a database and a directory: the recovery finds out at the server which of both it
 * is, and brings the files to the same.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recoverRestore } from '../../src/engine/index.ts';
import type { RestorePlan } from '../../src/engine/index.ts';
import { readJournal } from '../../src/engine/journal.ts';
import { directory, leftovers, makeBackup, makeRestore, makeSite } from '../support/engine.ts';
import { until } from '../support/gateway.ts';
import { findServerPrograms, startPostgresServer } from '../support/postgres-server.ts';
import type { PostgresServer } from '../support/postgres-server.ts';

const programs = findServerPrograms();
const CHILD = new URL('../support/restore-child.ts', import.meta.url).pathname;
let server: PostgresServer;

describe.skipIf(programs === null)('a restore of a database and a directory', () => {
  beforeAll(async () => {
    server = await startPostgresServer(programs ?? '');
    process.env['TEST_PG_PASSWORD'] = server.password;
  });
  afterAll(async () => {
    await server?.stop();
    delete process.env['TEST_PG_PASSWORD'];
  });

  async function makeScene() {
    const site = makeSite();
    const target = join(site.place, 'target');
    server.sql('postgres', 'DROP DATABASE IF EXISTS users; CREATE DATABASE users');
    server.sql('users', "CREATE TABLE t (v text); INSERT INTO t VALUES ('new')");
    fs.mkdirSync(target);
    fs.writeFileSync(join(target, 'file'), 'new');
    const source = server.source('users');
    await makeBackup(site, [{ group: 'USERS_CONFIG', source }, { group: 'USERS_CONFIG', source: directory(target) }]);
    const targets: RestorePlan['targets'] = [{ group: 'USERS_CONFIG', source }, { group: 'USERS_CONFIG', source: directory(target) }];
    return {
      site, source, targets,
      spoil(): void {
        server.sql('users', "UPDATE t SET v = 'old'");
        fs.writeFileSync(join(target, 'file'), 'old');
      },
      // What psql left behind is still being given up by the server for a moment.
      state: async (): Promise<string> => {
        await until('no restore is at work', () => server.sql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'users'") === '0');
        return `${server.sql('users', 'SELECT v FROM t')} database, ${fs.existsSync(join(target, 'file')) ? fs.readFileSync(join(target, 'file'), 'utf8') : 'no'} file`;
      },
      /** Runs the restore in a process that kills itself at a step. @returns the step; null: it ran to its end */
      async killAt(step: number): Promise<string | null> {
        const child = spawn(process.execPath, [CHILD, JSON.stringify({ store: site.store, journalDir: site.journals, restoreKey: `kill-${step}`, targets, killAt: step })], { stdio: ['ignore', 'pipe', 'inherit'] });
        let printed = '';
        child.stdout.setEncoding('utf8').on('data', (text: string) => { printed += text; });
        const [, signal] = await once(child, 'close') as [number | null, string | null];
        return signal === 'SIGKILL' ? printed.trim().split('\n').at(-1) ?? '' : null;
      },
    };
  }

  test('that is killed at any step ends wholly old or wholly new', { timeout: 120_000 }, async () => {
    const scene = await makeScene();
    const ends = new Map<string, string>();
    // Until everything is unpacked it is as with files alone.
    for (let step = 3; ; step += 1) {
      scene.spoil();
      const killedAt = await scene.killAt(step);
      if (killedAt === null) break;
      const recovery = await recoverRestore(scene.site.journals, `kill-${step}`, { databases: [scene.source] });
      const state = await scene.state();
      ends.set(killedAt, recovery);
      expect(state, `killed at: ${killedAt}`).toBe(recovery === 'rolled-forward' || killedAt === 'journal removed' ? 'new database, new file' : 'old database, old file');
      expect(leftovers(scene.site.place)).toEqual([]);
    }
    expect(ends.get('databases loaded')).toBe('rolled-back');
    expect(ends.get('journal says COMMITTING')).toBe('rolled-back');
    expect(ends.get('database committed')).toBe('rolled-forward');
    expect(ends.get('journal says SWAPPING')).toBe('rolled-forward');
  });

  test('whose server is away after a kill is brought to its end once it is back, by nobody else than its own database', async () => {
    const scene = await makeScene();
    scene.spoil();
    const step = await stepCalled(scene.killAt, 'database committed');
    expect((await readJournal(scene.site.journals, `kill-${step}`))?.phase).toBe('COMMITTING');
    await expect(recoverRestore(scene.site.journals, `kill-${step}`, { databases: [] })).rejects.toThrow(/deployment does not name it/);
    const away = { ...scene.source, url: 'postgres://admin@127.0.0.1:1' };
    await expect(recoverRestore(scene.site.journals, `kill-${step}`, { databases: [away] })).rejects.toMatchObject({ code: 'DATABASE_UNREACHABLE' });
    expect(await recoverRestore(scene.site.journals, `kill-${step}`, { databases: [scene.source] })).toBe('rolled-forward');
    expect(await scene.state()).toBe('new database, new file');

    /** Runs restores until one is killed at this step, and brings the others to their ends. */
    async function stepCalled(killAt: (step: number) => Promise<string | null>, name: string): Promise<number> {
      for (let nth = 5; ; nth += 1) {
        if (await killAt(nth) === name) return nth;
        await recoverRestore(scene.site.journals, `kill-${nth}`, { databases: [scene.source] });
        scene.spoil();
      }
    }
  });

  test('whose files cannot be put in place goes on as soon as they can, since the database is new', async () => {
    const scene = await makeScene();
    scene.spoil();
    const work = (): string => join(scene.site.place, fs.readdirSync(scene.site.place).find((name) => name.startsWith('.backup-gateway-restore-')) ?? '');
    // What was unpacked is moved away under its feet, and back later.
    const hidden = join(scene.site.place, 'hidden');
    let path = '';
    const failed = makeRestore(scene.site, {
      groups: ['USERS_CONFIG'], targets: scene.targets,
      onStep: (step) => {
        if (step !== 'journal says SWAPPING') return;
        path = work();
        fs.renameSync(path, hidden);
      },
    });
    await expect(failed).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE' });
    expect(await scene.state()).toBe('new database, old file');
    await expect(recoverRestore(scene.site.journals, 'r1', { databases: [scene.source] })).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE' });
    fs.renameSync(hidden, path);
    expect(await recoverRestore(scene.site.journals, 'r1', { databases: [scene.source] })).toBe('rolled-forward');
    expect(await scene.state()).toBe('new database, new file');
  });
});
