/**
 * Restore drills of the engine: what they unpack, what they find, and what they leave.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createIdentity, drill, openIdentity, type DrillPlan, type DrillResult } from '../../src/engine/index.ts';
import { directory, file, makeBackup, makeSite, progressLog, storeAt, type Site } from '../support/engine.ts';
import { makeLayer } from '../support/layers.ts';
import { findServerPrograms, startPostgresServer } from '../support/postgres-server.ts';
import { describeTree, makeOddTree } from '../support/tree.ts';

async function run(site: Site, plan: Partial<DrillPlan> & { name?: string } = {}, more: { signal?: AbortSignal; onWarning?: (text: string) => void; onProgress?: (progress: any) => void } = {}): Promise<DrillResult> {
  const { name = 'nightly', ...rest } = plan;
  return drill({ backup: storeAt(site.store).open(name), groups: null, identity: null, scratch: join(site.place, 'drills', 'd1'), ...rest }, {
    signal: new AbortController().signal, onProgress: () => undefined, ...more,
  });
}

/** Nothing is left where a drill unpacked. */
const expectNothingLeft = (site: Site): void => expect(fs.existsSync(join(site.place, 'drills')) ? fs.readdirSync(join(site.place, 'drills')) : []).toEqual([]);

test('everything that a file system can hold is unpacked and found to be what it was, and nothing is left of it', async () => {
  const site = makeSite();
  const tree = join(site.place, 'tree');
  makeOddTree(tree);
  const single = join(site.place, 'one\\file &|');
  fs.writeFileSync(single, 'content');
  const { manifest } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(tree) }, { group: 'LICENSE_CONFIG', source: file(single) }]);
  const before = describeTree(tree);
  const { reports, onProgress } = progressLog();
  const files = manifest.archives.reduce((sum, archive) => sum + archive.files, 0);
  expect(await run(site, {}, { onProgress })).toEqual({ files, bytes: manifest.archives.reduce((sum, archive) => sum + archive.bytes, 0) });
  expect(reports.at(-1)).toMatchObject({ filesDone: 2 * files, filesTotal: 2 * files });
  expect(await run(site, { groups: ['LICENSE_CONFIG'] })).toMatchObject({ files: 1 });
  expect(describeTree(tree)).toEqual(before);
  expectNothingLeft(site);
});

test('a backup in layers is unpacked layer by layer, encrypted or not', async () => {
  const site = makeSite();
  const source = join(site.place, 'data');
  const { recipient, wrapped } = await createIdentity('correct horse');
  makeOddTree(source);
  fs.chmodSync(source, 0o700);
  for (const [prefix, key] of [['clear', undefined], ['sealed', { recipient, wrappedIdentity: wrapped }]] as const) {
    await makeLayer(site, source, `${prefix}-1`, null, { key });
    fs.rmSync(join(source, 'plain'), { force: true });
    fs.writeFileSync(join(source, `new of ${prefix}`), 'new');
    const { manifest } = await makeLayer(site, source, `${prefix}-2`, `${prefix}-1`, { key });
    expect(manifest.archives).toHaveLength(2);
    const identity = key === undefined ? null : await openIdentity(wrapped, 'correct horse');
    expect(await run(site, { name: `${prefix}-2`, identity })).toMatchObject({ files: manifest.archives.reduce((sum, archive) => sum + archive.files, 0) });
    const update = join(site.store, `${prefix}-2`, manifest.archives[1]!.file);
    const bytes = fs.readFileSync(update);
    bytes[bytes.length >> 1]! ^= 1;
    fs.writeFileSync(update, bytes);
    await expect(run(site, { name: `${prefix}-2`, identity })).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expectNothingLeft(site);
  }
});

describe('a drill', () => {
  test('that is cancelled, or has no key, leaves nothing', async () => {
    const site = makeSite();
    const source = join(site.place, 'source');
    fs.mkdirSync(source);
    fs.writeFileSync(join(source, 'file'), 'content');
    const { recipient, wrapped } = await createIdentity('correct horse');
    await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }], { key: { recipient, wrappedIdentity: wrapped } });
    await expect(run(site)).rejects.toMatchObject({ code: 'KEY_REQUIRED' });
    const identity = await openIdentity(wrapped, 'correct horse');
    const ending = new AbortController();
    // The first report of progress comes before anything is unpacked.
    await expect(run(site, { identity }, { signal: ending.signal, onProgress: () => ending.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(run(site, { identity, groups: ['LICENSE_CONFIG'] })).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    expectNothingLeft(site);
  });

  test('looks first whether there is room, and says how much is needed', async (context) => {
    const site = makeSite();
    const source = join(site.place, 'source');
    fs.mkdirSync(source);
    fs.writeFileSync(join(source, 'file'), Buffer.alloc(3_000_000, 'content'));
    await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }]);
    const small = join(site.place, 'drills');
    fs.mkdirSync(small);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', small]).status !== 0) context.skip('no file system can be mounted here');
    try {
      const refused = await run(site).catch((error: unknown) => error as { code: string; message: string; hint: string });
      expect(refused).toMatchObject({ code: 'TARGET_UNWRITABLE', message: expect.stringMatching(/^The drill needs 30\d{5} bytes of free space in .*, and \d+ are free\.$/), hint: expect.stringContaining('DATA_DIR') });
      expectNothingLeft(site);
    } finally {
      spawnSync('umount', [small]);
    }
  });

  test('of a database turns its dump into what a restore would run', async (context) => {
    const programs = findServerPrograms();
    if (programs === null) return context.skip('there is no Postgres server here');
    const site = makeSite();
    const server = await startPostgresServer(programs);
    process.env['TEST_PG_PASSWORD'] = server.password;
    try {
      server.sql('postgres', 'CREATE DATABASE users');
      server.sql('users', "CREATE TABLE account AS SELECT n, 'user ' || n AS name FROM generate_series(1, 1000) n");
      const { manifest } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: server.source('users') }]);
      const warnings: string[] = [];
      expect(await run(site, {}, { onWarning: (text) => warnings.push(text) })).toEqual({ files: 1, bytes: manifest.archives[0]!.bytes });
      expect(warnings).toEqual([]);
      expectNothingLeft(site);
    } finally {
      delete process.env['TEST_PG_PASSWORD'];
      await server.stop();
    }
  });
});
