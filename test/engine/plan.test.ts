/**
 * What a restore would change, held against what it does change.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import type { PlannedGroup } from '../../src/domain/reports.ts';
import type { ContentGroup } from '../../src/domain/vocabulary.ts';
import { createIdentity, openIdentity, planRestore, type RestoreTarget } from '../../src/engine/index.ts';
import { directory, file, makeBackup, makeRestore, makeSite, storeAt, type Site } from '../support/engine.ts';
import { describeTree, isRoot, makeOddTree, spoilOddTree } from '../support/tree.ts';

const GROUP: ContentGroup = 'USERS_CONFIG';
let site: Site;
let path: string;
let targets: RestoreTarget[];
beforeEach(() => {
  site = makeSite();
  path = join(site.place, 'users');
  targets = [{ group: GROUP, source: directory(path) }];
});

async function plan(more: { groups?: ContentGroup[]; targets?: RestoreTarget[]; identity?: string; name?: string } = {}): Promise<PlannedGroup> {
  const [group] = await planRestore({
    backup: storeAt(site.store).open(more.name ?? 'nightly'), groups: more.groups ?? [GROUP], targets: more.targets ?? targets,
    identity: more.identity ?? null, storePath: site.store,
  }, { signal: new AbortController().signal, onProgress: () => undefined });
  return group!;
}

const names = (group: PlannedGroup) => {
  const below = ({ count, paths }: { count: number; paths: string[] }) => {
    expect(paths).toHaveLength(Math.min(count, 100));
    return paths.map((found) => found.replace(`${path}/`, '')).toSorted();
  };
  return { added: below(group.added), changed: below(group.changed), removed: below(group.removed), unchanged: group.unchanged };
};

test('of a tree with everything that a file system can hold, nothing would change while nothing has changed', async () => {
  makeOddTree(path);
  await makeBackup(site, targets);
  const before = describeTree(path);
  const group = await plan();
  expect(names(group)).toEqual({ added: [], changed: [], removed: [], unchanged: Object.keys(before).length });
  expect(group).toMatchObject({ targets: [path], databases: [], bytesToWrite: 0 });
  expect(describeTree(path)).toEqual(before);
});

test('a plan tells what the restore then does, and touches nothing itself', async () => {
  makeOddTree(path);
  await makeBackup(site, targets);
  const saved = describeTree(path);
  spoilOddTree(path);
  const spoiled = describeTree(path);
  const group = await plan();
  expect(describeTree(path)).toEqual(spoiled);
  expect(fs.readdirSync(site.place).toSorted()).toEqual(['store', 'users']);

  await makeRestore(site, { groups: [GROUP], targets });
  expect(describeTree(path)).toEqual(saved);
  expect(names(group)).toEqual(differences(saved, spoiled));
});

/** What a plan should tell, from two descriptions of a tree: as it was saved, and as it is. */
function differences(saved: Record<string, string>, present: Record<string, string>): ReturnType<typeof names> {
  const latin1 = (name: string): string => Buffer.from(name, 'latin1').toString('utf8').replace('./', '');
  const withoutTimes = (description: string | undefined) => description?.replace(/mtime -?\d+| linked with .*/g, '');
  const isDirectory = (description: string) => (Number.parseInt(/mode (\d+)/.exec(description)![1]!, 8) & 0o170_000) === 0o040_000;
  const shown = (tree: Record<string, string>, wanted: (name: string) => boolean) => Object.keys(tree).filter(wanted)
    .map((name) => (name === '.' ? '' : latin1(name)) + (name !== '.' && isDirectory(tree[name]!) ? '/' : '')).toSorted();
  return {
    added: shown(saved, (name) => !(name in present)),
    removed: shown(present, (name) => !(name in saved)),
    changed: shown(saved, (name) => name in present && withoutTimes(saved[name]) !== withoutTimes(present[name])),
    unchanged: Object.keys(saved).filter((name) => withoutTimes(saved[name]) === withoutTimes(present[name])).length,
  };
}

test('a backup in layers is planned as what all of them make together', async () => {
  makeOddTree(path);
  const layer = async (name: string, base: string | null) => makeBackup(site, targets, {
    name, incremental: { directory: join(site.place, 'indexes'), base, sharedKeys: null, minimumBytes: 0 },
  });
  await layer('one', null);
  fs.chmodSync(path, 0o700);
  fs.writeFileSync(join(path, 'plain'), 'of the second');
  fs.rmSync(join(path, 'sub'), { recursive: true });
  fs.mkdirSync(join(path, 'second', 'deeper'), { recursive: true });
  fs.writeFileSync(join(path, 'second', 'deeper', 'file'), 'of the second');
  await layer('two', 'one');
  fs.rmSync(join(path, 'second'), { recursive: true });
  fs.writeFileSync(join(path, 'second'), 'a file since the third');
  fs.rmSync(join(path, 'setuid'));
  fs.chmodSync(join(path, '-rf'), 0o600);
  const { manifest } = await layer('three', 'two');
  expect(manifest.archives.map(({ layer: number }) => number ?? 0)).toEqual([0, 1, 2]);
  const saved = describeTree(path);
  expect(names(await plan({ name: 'three' }))).toEqual({ added: [], changed: [], removed: [], unchanged: Object.keys(saved).length });
  // Back to what the layers below had, and elsewhere.
  fs.writeFileSync(join(path, 'plain'), 'plain content\n');
  fs.rmSync(join(path, 'second'));
  fs.mkdirSync(join(path, 'second', 'deeper'), { recursive: true });
  fs.writeFileSync(join(path, 'second', 'deeper', 'file'), 'of the second');
  fs.mkdirSync(join(path, 'sub'));
  fs.writeFileSync(join(path, 'setuid'), '#!/bin/true\n');
  fs.rmSync(join(path, 'large'));
  expect(names(await plan({ name: 'three' }))).toEqual(differences(saved, describeTree(path)));
});

test('what the patterns of a source leave out does not count', async () => {
  fs.mkdirSync(join(path, 'cache'), { recursive: true });
  fs.writeFileSync(join(path, 'kept'), 'kept');
  fs.writeFileSync(join(path, 'cache', 'a'), 'a');
  targets = [{ group: GROUP, source: { ...directory(path), exclude: ['cache', '*.tmp'] } }];
  await makeBackup(site, targets);
  fs.writeFileSync(join(path, 'cache', 'b'), 'b');
  fs.writeFileSync(join(path, 'new.tmp'), 'left out');
  fs.writeFileSync(join(path, 'new'), 'removed');
  expect(names(await plan())).toEqual({ added: [], changed: [], removed: ['new'], unchanged: 2 });
  // The backup's own patterns count when the present ones are others.
  const now = [{ group: GROUP, source: directory(path) }];
  expect(names(await plan({ targets: now }))).toEqual({ added: [], changed: [], removed: ['new'], unchanged: 2 });
  const others = [{ group: GROUP, source: { ...directory(path), exclude: ['new'] } }];
  expect(names(await plan({ targets: others }))).toEqual({ added: [], changed: [], removed: [], unchanged: 2 });
});

describe('content matters, not times', () => {
  beforeEach(async () => {
    fs.mkdirSync(join(path, 'sub'), { recursive: true });
    for (const name of ['a', 'b', 'c', 'sub/d']) fs.writeFileSync(join(path, name), `content of ${name}`);
    fs.symlinkSync('a', join(path, 'link'));
    await makeBackup(site, targets);
  });

  test('a file with other bytes, the same length and the same time is changed', async () => {
    const { atime, mtime } = fs.statSync(join(path, 'a'));
    fs.writeFileSync(join(path, 'a'), 'CONTENT of a');
    fs.utimesSync(join(path, 'a'), atime, mtime);
    const group = await plan();
    expect(names(group)).toEqual({ added: [], changed: ['a'], removed: [], unchanged: 6 });
    expect(group.bytesToWrite).toBe('content of a'.length);
    expect(group.bytesToUnpack).toBe('content of abccontent of content of content of sub/d'.length);
  });

  test('a file with another time alone is unchanged', async () => {
    fs.utimesSync(join(path, 'b'), 1, 1);
    expect(names(await plan())).toEqual({ added: [], changed: [], removed: [], unchanged: 7 });
  });

  test('modes, owners, kinds and what links lead to count', async () => {
    fs.chmodSync(join(path, 'c'), 0o600);
    fs.chmodSync(join(path, 'sub'), 0o700);
    fs.rmSync(join(path, 'link'));
    fs.symlinkSync('b', join(path, 'link'));
    if (isRoot) fs.chownSync(join(path, 'sub/d'), 1234, 5678);
    if (isRoot) fs.lchownSync(path, 1234, 5678);
    expect(names(await plan())).toEqual({ added: [], changed: [...(isRoot ? [''] : []), 'c', 'link', 'sub/', ...(isRoot ? ['sub/d'] : [])], removed: [], unchanged: isRoot ? 2 : 4 });
  });
});

test('a target that is not there comes back whole; one of another kind is replaced', async () => {
  fs.mkdirSync(path);
  fs.writeFileSync(join(path, 'a'), 'a');
  await makeBackup(site, targets);
  fs.rmSync(path, { recursive: true });
  expect(names(await plan())).toEqual({ added: ['', 'a'], changed: [], removed: [], unchanged: 0 });
  expect(fs.existsSync(path)).toBe(false);
  fs.writeFileSync(path, 'a file');
  expect((await plan()).changed).toEqual({ count: 1, paths: [`${path}/`] });
});

test('a source that is a file is compared by its content, whatever it is called', async () => {
  const name = join(site.place, 'a|b&c\\1 name.conf');
  fs.writeFileSync(name, 'one');
  const before = join(site.place, 'old.conf');
  fs.writeFileSync(before, 'one');
  await makeBackup(site, [{ group: GROUP, source: file(before) }]);
  targets = [{ group: GROUP, source: file(name) }];
  fs.utimesSync(name, 1, 1);
  expect(await plan()).toMatchObject({ added: { count: 0 }, changed: { count: 0 }, removed: { count: 0 }, unchanged: 1 });
  fs.writeFileSync(name, 'two');
  expect(await plan()).toMatchObject({ changed: { count: 1, paths: [name] }, unchanged: 0, bytesToWrite: 3 });
  fs.rmSync(name);
  expect(await plan()).toMatchObject({ added: { count: 1, paths: [name] }, unchanged: 0 });
});

test('an encrypted backup is planned with its key, and refused without', async () => {
  fs.mkdirSync(path);
  fs.writeFileSync(join(path, 'a'), 'a');
  const { recipient, wrapped } = await createIdentity('correct horse');
  await makeBackup(site, targets, { key: { recipient, wrappedIdentity: wrapped } });
  fs.writeFileSync(join(path, 'a'), 'b');
  const identity = await openIdentity(wrapped, 'correct horse');
  expect(names(await plan({ identity: identity! }))).toEqual({ added: [], changed: ['a'], removed: [], unchanged: 1 });
  await expect(plan()).rejects.toMatchObject({ code: 'KEY_REQUIRED' });
});

test('of thousands of differences all are counted and the first hundred named', async () => {
  fs.mkdirSync(path);
  execFileSync('sh', ['-c', 'seq -f "file %g" 600 | xargs -d "\\n" touch'], { cwd: path });
  await makeBackup(site, targets);
  execFileSync('sh', ['-c', 'rm -f file*; seq -f "other %g" 300 | xargs -d "\\n" touch'], { cwd: path });
  const group = await plan();
  expect([group.added.count, group.changed.count, group.removed.count, group.unchanged]).toEqual([600, 0, 300, 1]);
  names(group);
});
