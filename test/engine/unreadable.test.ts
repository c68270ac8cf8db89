/**
 * Files that cannot be read whole: they fail a backup, or are listed in it where the source says so.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { FilesSource } from '../../src/domain/deployment.ts';
import { verifyBackup } from '../../src/engine/index.ts';
import type { BackupResult, IncrementalPlan } from '../../src/engine/index.ts';
import { judgeReading } from '../../src/engine/sources/unreadable.ts';
import { directory, file, filesAt, makeBackup, makeSite, storeAt } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import { isRoot } from '../support/tree.ts';

const GROUP = 'DEPLOYMENT_CONFIG' as const;
const MEGABYTE = 1024 * 1024;
const warn = (source: FilesSource): FilesSource => ({ ...source, onUnreadable: 'WARN' });
const source = (site: Site): FilesSource => directory(join(site.place, 'source'));
const exit = (code: number | null, ...lines: string[]) => ({ code, signal: null, stderr: lines.map((line) => `tar: ${line}\n`).join('') });
const SUMMARY = 'Exiting with failure status due to previous errors';

/** Makes a source whose first file is large and does not compress. */
function makeSource(site: Site): string {
  const root = join(site.place, 'source');
  fs.mkdirSync(join(root, 'z-directory'), { recursive: true });
  fs.writeFileSync(join(root, 'a-large'), randomBytes(48 * MEGABYTE));
  fs.writeFileSync(join(root, 'z-directory', 'file'), 'content');
  fs.writeFileSync(join(root, 'z-file'), 'content');
  return root;
}

/**
 * Backs it up, and does something when the first of the archive is to be written. No more than a few megabytes of the large
 * file have been read then: tar waits for the store.
 */
async function backUpWhile(site: Site, files: FilesSource, disturb: (root: string) => void): Promise<BackupResult> {
  const store = storeAt(site.store);
  const begin = store.begin.bind(store);
  let isDone = false;
  store.begin = async (name, attempt) => {
    const writer = await begin(name, attempt);
    const create = writer.create.bind(writer);
    writer.create = async (archive) => {
      // Without a descriptor it is this process that writes.
      const to = Object.defineProperty(await create(archive), 'descriptor', { value: undefined });
      const write = to.write.bind(to) as (...given: unknown[]) => boolean;
      to.write = (...given: unknown[]): boolean => {
        if (!isDone) disturb(files.path);
        isDone = true;
        return write(...given);
      };
      return to;
    };
    return writer;
  };
  return await makeBackup(site, [{ group: GROUP, source: files }], { store });
}

async function expectWhole(site: Site, result: BackupResult): Promise<void> {
  const { problems } = await verifyBackup(filesAt(join(site.store, 'nightly')), { signal: new AbortController().signal });
  expect(problems).toEqual([]);
  expect(result.manifest.archives).toHaveLength(1);
}

describe('what happens while a source is read', () => {
  test.each([
    ['a file that is cut', (root: string) => fs.truncateSync(join(root, 'a-large'), 1000), 'a-large', /File shrank by \d+ bytes; padding with zeros/],
    ['a file that grows', (root: string) => fs.appendFileSync(join(root, 'a-large'), 'more'), 'a-large', /file changed as we read it/],
    ['a file that vanishes', (root: string) => fs.rmSync(join(root, 'z-file')), 'z-file', /File removed before we read it/],
    ['a directory that vanishes', (root: string) => fs.rmSync(join(root, 'z-directory'), { recursive: true }), 'z-directory', /File removed before we read it|No such file or directory/],
  ])('%s fails the backup by name, or is listed', async (_, disturb, name, reason) => {
    const site = makeSite();
    makeSource(site);
    const failure: unknown = await backUpWhile(site, source(site), disturb).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'SOURCE_UNREADABLE', message: expect.stringContaining(name) });
    expect(fs.readdirSync(site.store)).toEqual([]);

    fs.rmSync(source(site).path, { recursive: true });
    makeSource(site);
    const result = await backUpWhile(site, warn(source(site)), disturb);
    const unreadable = result.manifest.archives[0]?.unreadable ?? [];
    expect(unreadable.find((line) => line.startsWith(`${join(source(site).path, name)}: `))).toMatch(reason);
    await expectWhole(site, result);
  });

  test('a file that vanishes from a directory with patterns fails the backup by name, or is listed', async () => {
    const site = makeSite();
    makeSource(site);
    const disturb = (root: string): void => fs.rmSync(join(root, 'z-file'));
    const patterned = { ...source(site), exclude: ['none'] };
    // The names may all be told before it vanishes; then tar itself misses it.
    await expect(backUpWhile(site, patterned, disturb)).rejects.toMatchObject({ code: 'SOURCE_UNREADABLE', message: expect.stringContaining('z-file') });
    makeSource(site);
    const result = await backUpWhile(site, warn(patterned), disturb);
    expect(result.manifest.archives[0]?.unreadable?.join()).toContain('z-file: ');
    await expectWhole(site, result);
  });
});

/** Runs a backup as a user who may not read everything. */
async function backUpUnprivileged(site: Site, files: FilesSource, more: { name?: string; incremental?: IncrementalPlan } = {}): Promise<{ unreadable?: string[]; counted?: number[]; archives?: string[]; code?: string; message?: string }> {
  const child = spawn(process.execPath, [new URL('../support/unprivileged-backup.ts', import.meta.url).pathname, JSON.stringify({ store: site.store, source: files, ...more })], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => { printed += text; });
  await once(child, 'close');
  return JSON.parse(printed) as object;
}

describe.skipIf(!isRoot)('a source that lets files be left out (run as root on Linux)', () => {
  test('never gets back what such a file held in an earlier backup that shares its files', async () => {
    const site = makeSite();
    const root = source(site).path;
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, 'weight'), randomBytes(MEGABYTE));
    for (const name of ['a', 'b']) fs.writeFileSync(join(root, name), `${name} as it was`);
    const indexes = join(site.place, 'indexes');
    fs.mkdirSync(indexes);
    spawnSync('chown', ['-R', '65534:65534', site.place]);
    const incremental = (base: string | null): IncrementalPlan => ({ directory: indexes, base, sharedKeys: null, minimumBytes: 1 });
    expect((await backUpUnprivileged(site, warn(source(site)), { name: 'first', incremental: incremental(null) })).archives).toHaveLength(1);
    fs.writeFileSync(join(root, 'b'), 'b as it is');
    // What can be read is shared.
    expect((await backUpUnprivileged(site, warn(source(site)), { name: 'second', incremental: incremental('first') })).archives).toHaveLength(2);
    for (const name of ['a', 'b']) fs.writeFileSync(join(root, name), `${name} as it is now`);
    fs.chmodSync(join(root, 'a'), 0);
    const third = await backUpUnprivileged(site, warn(source(site)), { name: 'third', incremental: incremental('second') });
    expect([third.archives?.length, third.unreadable]).toEqual([1, [`${root}/a: Cannot open: Permission denied`]]);
    const listed = spawnSync('tar', ['--zstd', '-tf', join(site.store, 'third', third.archives?.[0] ?? '')]).stdout.toString().split('\n');
    expect(listed).toContain('./b');
    expect(listed).not.toContain('./a');
  });

  test('is not blamed where the store is full', async () => {
    const site = makeSite();
    const root = source(site).path;
    fs.mkdirSync(root);
    fs.writeFileSync(join(root, 'file'), randomBytes(300_000));
    fs.writeFileSync(join(root, 'secret'), 'x', { mode: 0 });
    spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', site.store]);
    try {
      spawnSync('chown', ['-R', '65534:65534', site.place]);
      expect(await backUpUnprivileged(site, warn(source(site)))).toMatchObject({ code: 'STORE_FULL' });
      spawnSync('mount', ['-o', 'remount,size=4m', site.store]);
      expect(await backUpUnprivileged(site, warn(source(site)))).toMatchObject({ unreadable: [`${root}/secret: Cannot open: Permission denied`] });
    } finally {
      spawnSync('umount', [site.store]);
    }
  });
});

describe('what a user may not read', () => {
  function makeForbidden(): Site {
    const site = makeSite();
    const root = source(site).path;
    fs.mkdirSync(join(root, 'closed', 'deep'), { recursive: true });
    fs.writeFileSync(join(root, 'closed', 'deep', 'file'), 'content');
    fs.writeFileSync(join(root, 'open'), 'content');
    fs.writeFileSync(join(root, 'a: b\nc'), 'content');
    fs.writeFileSync(join(root, 'sécret'), 'content');
    for (const name of ['closed', 'a: b\nc', 'sécret']) fs.chmodSync(join(root, name), 0);
    if (isRoot) spawnSync('chown', ['-R', '65534:65534', site.place]);
    return site;
  }

  test.each([['without patterns', {}], ['with patterns', { exclude: ['none'] }]])('fails the backup by name, or is listed, %s', async (_, patterns) => {
    const site = makeForbidden();
    const files = { ...source(site), ...patterns };
    const failure = await backUpUnprivileged(site, files);
    expect(failure).toMatchObject({ code: 'SOURCE_UNREADABLE', message: expect.stringContaining('closed') });

    const { unreadable, counted } = await backUpUnprivileged(site, warn(files));
    expect(unreadable?.toSorted()).toEqual([
      `${files.path}/a\\: b\\nc: Cannot open: Permission denied`, `${files.path}/closed: Cannot open: Permission denied`, `${files.path}/sécret: Cannot open: Permission denied`,
    ].toSorted());
    // The directory itself is there where its name was told; what it holds is not.
    expect(counted?.[0]).toBe(1);
    const { problems } = await verifyBackup(filesAt(join(site.store, 'nightly')), { signal: new AbortController().signal });
    expect(problems).toEqual([]);
    fs.chmodSync(join(files.path, 'closed'), 0o700);
  });

  test('fails the backup where it is all of the source, whatever that says', async () => {
    const site = makeForbidden();
    fs.chmodSync(source(site).path, 0o300);
    expect(await backUpUnprivileged(site, warn(source(site)))).toMatchObject({ code: 'SOURCE_UNREADABLE', message: expect.stringContaining('Permission denied') });
    fs.chmodSync(source(site).path, 0o700);
    expect(await backUpUnprivileged(site, warn(file(join(source(site).path, 'sécret'))))).toMatchObject({ code: 'SOURCE_UNREADABLE' });
    fs.chmodSync(join(source(site).path, 'closed'), 0o700);
  });
});

describe('a complaint of tar', () => {
  const files = warn(directory('/source'));

  test.each([
    ['an unknown one', exit(2, './a: Cannot open: Permission denied', './b: Something else', SUMMARY)],
    ['one that is not the file\'s fault', exit(2, './a: Cannot open: Too many open files', SUMMARY)],
    ['a full disk', exit(2, '-: Wrote only 2048 of 10240 bytes', 'Error is not recoverable: exiting now')],
    ['a fatal one after harmless ones', exit(2, './a: Cannot open: Permission denied', 'memory exhausted', 'Error is not recoverable: exiting now')],
    ['none at all', exit(2)],
    ['none but the summary', exit(2, SUMMARY)],
    ['one whose name holds a message', exit(2, './x: Cannot open: Permission denied: y', SUMMARY)],
  ])('that is %s fails the backup all the same', (_, ended) => {
    expect(() => judgeReading(files, ended)).toThrow(expect.objectContaining({ code: 'SOURCE_UNREADABLE' }));
  });

  test('that a signal cut off fails the backup', () => {
    expect(() => judgeReading(files, { code: null, signal: 'SIGKILL', stderr: 'tar: ./a: Cannot open: Permission denied\n' })).toThrow(/SIGKILL/);
  });

  test('that comes more than a thousand times is counted', () => {
    const lines = Array.from({ length: 1234 }, (__, nth) => `./file ${nth}: file changed as we read it`);
    const { unreadable } = judgeReading(files, exit(1, ...lines));
    expect(unreadable).toHaveLength(1001);
    expect(unreadable.at(-1)).toBe('and 234 more');
  });

  test('about a socket is no more than a warning', () => {
    expect(judgeReading(files, exit(1, './s: socket ignored', './a: file changed as we read it'))).toEqual({ unreadable: ['/source/a: file changed as we read it'], warnings: ['./s: socket ignored'] });
  });
});
