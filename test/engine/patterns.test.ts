/**
 * Include and exclude patterns: what they take, in a backup and in a restore, and what a restore must not touch.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join, matchesGlob } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { FilesSource } from '../../src/domain/deployment.ts';
import { verifyBackup } from '../../src/engine/index.ts';
import { planRestore } from '../../src/engine/plan.ts';
import { Selection } from '../../src/engine/sources/patterns.ts';
import type { Patterns } from '../../src/engine/sources/patterns.ts';
import { directory, filesAt, leftovers, makeBackup, makeRestore, makeSite, storeAt } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import { describeTree } from '../support/tree.ts';

const GROUP = 'DEPLOYMENT_CONFIG' as const;
const bytes = (name: string): string => Buffer.from(name).toString('latin1');

function makeFiles(root: string, names: readonly string[]): void {
  for (const name of names) {
    const path = join(root, name);
    if (name.endsWith('/')) fs.mkdirSync(path, { recursive: true });
    else {
      fs.mkdirSync(join(path, '..'), { recursive: true });
      fs.writeFileSync(path, `content of ${name}`);
    }
  }
}

function makeSource(site: Site, patterns: Patterns): FilesSource {
  return { ...directory(join(site.place, 'source')), ...patterns } as FilesSource;
}

const namesIn = (root: string): string[] => fs.readdirSync(root, { recursive: true }).map(String).sort();
const members = (site: Site): string[] => execFileSync('tar', ['-tf', '-'], { input: zstdDecompressSync(fs.readFileSync(join(site.store, 'nightly', `${GROUP}.tar.zst`))), encoding: 'utf8' }).trim().split('\n');
const restoreTo = (site: Site, source: FilesSource): Promise<void> => makeRestore(site, { groups: [GROUP], targets: [{ group: GROUP, source }] });

describe('a pattern', () => {
  test.each<[Patterns, string[], string[]]>([
    [{ include: ['**/*.conf'] }, ['a.conf', 'a/b/c.conf', '.hidden/.x.conf', 'd.conf/inside'], ['a', 'a/b', 'a.config', 'conf']],
    [{ include: ['etc'] }, ['etc', 'etc/a', 'etc/a/b'], ['x/etc', 'etcetera', 'et']],
    [{ include: ['etc/*'] }, ['etc/a', 'etc/a/b'], ['etc', 'x/etc/a']],
    [{ include: ['etc/**'] }, ['etc/a', 'etc/a/b'], ['etc']],
    [{ include: ['a/**/z'] }, ['a/z', 'a/b/z', 'a/b/c/z', 'a/z/below'], ['a', 'a/b', 'z']],
    [{ exclude: ['cache', '**/*.tmp'] }, ['a', 'a/cache', 'caches'], ['cache', 'cache/a/b', 'x.tmp', 'a/x.tmp', 'a/.tmp', 'dir.tmp/inside']],
    [{ include: ['a'], exclude: ['a/b'] }, ['a', 'a/c'], ['a/b', 'a/b/c', 'c']],
    [{ include: ['?'] }, ['x', bytes('é'), bytes('€'), '\xff'], ['xy', bytes('éé'), '', 'x\n']],
    [{ include: ['[a]{b}(c)$.+^|\\d'] }, ['[a]{b}(c)$.+^|\\d'], ['a', 'ab']],
  ])('%j takes what it says', (patterns, taken, left) => {
    const selection = new Selection(patterns);
    expect(taken.filter((name) => !selection.takes(name))).toEqual([]);
    expect(left.filter((name) => selection.takes(name))).toEqual([]);
  });

  test('means what it means elsewhere, as far as plain names and these characters go', () => {
    const patterns = ['*', 'a*', '*/b', 'a/*/c', '**/c', 'a/**/c', 'a/?', '?/b', '**/b/*', 'a/b'];
    const parts = ['a', 'b', 'c', 'ab'];
    const names = parts.flatMap((one) => [one, ...parts.flatMap((two) => [`${one}/${two}`, ...parts.map((three) => `${one}/${two}/${three}`)])]);
    for (const pattern of patterns) {
      const selection = new Selection({ include: [pattern] });
      const prefixes = (name: string): string[] => name.split('/').map((_, index, all) => all.slice(0, index + 1).join('/'));
      expect(names.filter((name) => selection.takes(name)), pattern).toEqual(names.filter((name) => prefixes(name).some((prefix) => matchesGlob(prefix, pattern))));
      // No directory is passed by that holds something taken.
      const missed = names.filter((name) => selection.takes(name) && prefixes(name).slice(0, -1).some((prefix) => !selection.entersInto(prefix)));
      expect(missed, pattern).toEqual([]);
    }
  });
});

describe('a backup of a directory with patterns', () => {
  test('holds what they take and the directories on the way there', async () => {
    const site = makeSite();
    const source = makeSource(site, { include: ['**/*.conf', 'all'], exclude: ['**/secret*', 'all/cache'] });
    makeFiles(source.path, ['a.conf', 'b.txt', 'deep/er/c.conf', 'deep/d.txt', 'none/e.txt', 'empty/', 'all/x', 'all/y/z', 'all/cache/big', 'secret.conf', 'deep/secrets/f.conf']);
    const { manifest } = await makeBackup(site, [{ group: GROUP, source }]);
    expect(members(site)).toEqual(['./', './a.conf', './all/', './all/x', './all/y/', './all/y/z', './deep/', './deep/er/', './deep/er/c.conf']);
    expect(manifest.archives[0]).toMatchObject({ files: 4, directories: 5, source: { type: 'DIRECTORY', path: source.path, include: ['**/*.conf', 'all'], exclude: ['**/secret*', 'all/cache'] } });
    expect((await verifyBackup(filesAt(join(site.store, 'nightly')), { signal: new AbortController().signal })).problems).toEqual([]);
  });

  test('takes any name, and leaves its own store and staging out', async () => {
    const site = makeSite();
    const source = { ...makeSource(site, { exclude: ['**/*.tmp'] }), staging: join(site.place, 'source', 'staging') };
    const odd = Buffer.concat([Buffer.from(`${source.path}/`), Buffer.from([0xff, 0x0a, 0x5c, 0x3a])]);
    makeFiles(source.path, ['-rf', '--null', 'a b', "quote'", 'x.tmp', 'store/', 'staging/left', '@list']);
    fs.writeFileSync(odd, 'odd');
    fs.linkSync(odd, join(source.path, 'hard'));
    await makeBackup(site, [{ group: GROUP, source }], { store: storeAt(join(source.path, 'store')) });
    fs.renameSync(join(source.path, 'store', 'nightly'), join(site.store, 'nightly'));
    fs.rmSync(join(source.path, 'store'), { recursive: true });
    fs.rmSync(join(source.path, 'staging'), { recursive: true });
    fs.rmSync(join(source.path, 'x.tmp'));
    const before = describeTree(source.path);
    fs.rmSync(source.path, { recursive: true });
    await restoreTo(site, makeSource(site, { exclude: ['**/*.tmp'] }));
    const after = describeTree(source.path);
    // Its own time was changed by the tidying up above.
    expect({ ...after, '': '', '.': '' }).toEqual({ ...before, '': '', '.': '' });
  });

  test('that match nothing holds the directory alone', async () => {
    const site = makeSite();
    const source = makeSource(site, { include: ['*.none'] });
    makeFiles(source.path, ['a', 'b/c']);
    const { manifest } = await makeBackup(site, [{ group: GROUP, source }]);
    expect(manifest.archives[0]).toMatchObject({ files: 0, directories: 1 });
  });
});

describe('a restore of a directory with patterns', () => {
  test('replaces what they take, and leaves everything else as it is', async () => {
    const site = makeSite();
    const source = makeSource(site, { exclude: ['cache', 'deep/er/*.tmp'] });
    makeFiles(source.path, ['kept', 'altered', 'removed', 'deep/er/file', 'deep/er/x.tmp', 'cache/one']);
    await makeBackup(site, [{ group: GROUP, source }]);
    const before = describeTree(source.path);

    makeFiles(source.path, ['added', 'cache/two', 'cache/more/three', 'deep/er/y.tmp', 'deep/added']);
    fs.writeFileSync(join(source.path, 'altered'), 'altered');
    fs.writeFileSync(join(source.path, 'cache/one'), 'altered too');
    fs.symlinkSync('/etc', join(source.path, 'cache/link'));
    fs.chmodSync(join(source.path, 'cache/more'), 0o750);
    execFileSync('touch', ['-d', '@1234567890.987654321', join(source.path, 'cache/more'), join(source.path, 'cache')]);
    const changed = describeTree(source.path);
    const inode = fs.statSync(join(source.path, 'cache/one')).ino;
    fs.rmSync(join(source.path, 'removed'));
    await restoreTo(site, source);

    const after = describeTree(source.path);
    const isLeftOut = (name: string): boolean => /(^|\/)cache(\/|$)|\.tmp$/.test(name);
    const part = (tree: Record<string, string>, wanted: boolean) => Object.fromEntries(Object.entries(tree).filter(([name]) => isLeftOut(name) === wanted));
    expect(part(after, true)).toEqual(part(changed, true));
    expect(part(after, false)).toEqual(part(before, false));
    expect(fs.statSync(join(source.path, 'cache/one'))).toMatchObject({ ino: inode, nlink: 1 });
    expect(leftovers(site.place)).toEqual([]);
  });

  test('with include patterns leaves all that is not named, and the directories that it lies in', async () => {
    const site = makeSite();
    const source = makeSource(site, { include: ['**/*.conf'] });
    makeFiles(source.path, ['a.conf', 'data/b.conf', 'data/big']);
    await makeBackup(site, [{ group: GROUP, source }]);
    makeFiles(source.path, ['added.conf', 'data/bigger', 'new/c.conf', 'new/d.txt', 'empty/']);
    fs.rmSync(join(source.path, 'a.conf'));
    await restoreTo(site, source);
    expect(namesIn(source.path)).toEqual(['a.conf', 'data', 'data/b.conf', 'data/big', 'data/bigger', 'empty', 'new', 'new/d.txt']);
  });

  test('leaves out what the patterns of then or those of now leave out, and prefers what the backup holds', async () => {
    const site = makeSite();
    const then = makeSource(site, { exclude: ['then'] });
    makeFiles(then.path, ['then/a', 'now/b', 'both']);
    await makeBackup(site, [{ group: GROUP, source: then }]);
    const now = makeSource(site, { exclude: ['now'] });
    fs.writeFileSync(join(now.path, 'now/b'), 'of today');
    makeFiles(now.path, ['now/c', 'then/d', 'added']);
    await restoreTo(site, now);
    expect(namesIn(now.path)).toEqual(['both', 'now', 'now/b', 'now/c', 'then', 'then/a', 'then/d']);
    expect(fs.readFileSync(join(now.path, 'now/b'), 'utf8')).toBe('content of now/b');
  });

  test('is refused where something left out has no place any more, and touches nothing', async () => {
    const site = makeSite();
    const source = makeSource(site, { exclude: ['place/cache'] });
    makeFiles(source.path, ['place']);
    await makeBackup(site, [{ group: GROUP, source }]);
    fs.rmSync(join(source.path, 'place'));
    makeFiles(source.path, ['place/cache/precious']);
    const before = describeTree(source.path);
    await expect(restoreTo(site, source)).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE', message: expect.stringContaining('place/cache') });
    expect(describeTree(source.path)).toEqual(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test.each([['beside it', null], ['in it', 'source/.staging']])('does so where the restore works %s', async (_, staging) => {
    const site = makeSite();
    const source = { ...makeSource(site, { exclude: ['cache', 'deep/cache'] }), staging: staging === null ? null : join(site.place, staging) };
    makeFiles(source.path, ['file', 'cache/one', 'deep/file', 'deep/cache/two']);
    execFileSync('touch', ['-d', '@1234567890.123456789', join(source.path, 'deep')]);
    await makeBackup(site, [{ group: GROUP, source }]);
    const { './deep': deep } = describeTree(source.path);
    makeFiles(source.path, ['added', 'cache/three', 'deep/cache/four']);
    await restoreTo(site, source);
    const names = namesIn(source.path).filter((name) => !name.startsWith('.staging'));
    expect(names).toEqual(['cache', 'cache/one', 'cache/three', 'deep', 'deep/cache', 'deep/cache/four', 'deep/cache/two', 'deep/file', 'file']);
    expect(describeTree(source.path)['./deep']).toBe(deep);
    expect(leftovers(site.place)).toEqual([]);
  });

  test('that is interrupted changes nothing about what it had linked already', async () => {
    const site = makeSite();
    const source = makeSource(site, { exclude: ['cache'] });
    makeFiles(source.path, ['file', 'cache/closed/file']);
    fs.chmodSync(join(source.path, 'cache/closed/file'), 0o400);
    fs.chmodSync(join(source.path, 'cache/closed'), 0o500);
    await makeBackup(site, [{ group: GROUP, source }]);
    const before = describeTree(source.path);
    const refusal = new Error('lost');
    await expect(makeRestore(site, { groups: [GROUP], targets: [{ group: GROUP, source }] }, { beforeSwap: () => Promise.reject(refusal) })).rejects.toBe(refusal);
    expect(describeTree(source.path)).toEqual(before);
    await restoreTo(site, source);
    expect(describeTree(source.path)).toEqual(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test('follows no link that is carried over', async () => {
    const site = makeSite();
    const source = makeSource(site, { exclude: ['link'] });
    const outside = join(site.place, 'outside');
    makeFiles(site.place, ['outside/file']);
    makeFiles(source.path, ['link/file', 'other']);
    await makeBackup(site, [{ group: GROUP, source: directory(source.path) }]);
    fs.rmSync(join(source.path, 'link'), { recursive: true });
    fs.symlinkSync(outside, join(source.path, 'link'));
    await restoreTo(site, source);
    // The backup holds a directory of that name.
    expect(fs.lstatSync(join(source.path, 'link')).isDirectory()).toBe(true);
    expect(fs.readFileSync(join(outside, 'file'), 'utf8')).toBe('content of outside/file');
  });

  test('is planned as it is done', async () => {
    const site = makeSite();
    const source = makeSource(site, { exclude: ['**/cache'] });
    makeFiles(source.path, ['kept', 'altered', 'gone', 'cache/one']);
    await makeBackup(site, [{ group: GROUP, source }]);
    fs.writeFileSync(join(source.path, 'altered'), 'altered');
    fs.rmSync(join(source.path, 'gone'));
    makeFiles(source.path, ['added', 'cache/two', 'later/added', 'later/cache/kept']);
    const [planned] = await planRestore({ backup: storeAt(site.store).open('nightly'), groups: [GROUP], targets: [{ group: GROUP, source }], identity: null, storePath: site.store },
      { signal: new AbortController().signal, onProgress: () => undefined });
    expect(planned?.removed.paths).toEqual([join(source.path, 'added'), join(source.path, 'later/added')]);
    expect(planned?.added.paths).toEqual([join(source.path, 'gone')]);
    await restoreTo(site, source);
    expect(namesIn(source.path)).toEqual(['altered', 'cache', 'cache/one', 'cache/two', 'gone', 'kept', 'later', 'later/cache', 'later/cache/kept']);
  });
});
