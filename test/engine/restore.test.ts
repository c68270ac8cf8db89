import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CancelledError } from '../../src/domain/errors.ts';
import { readManifest, recoverRestore, sweepRestoreLeftovers } from '../../src/engine/index.ts';
import type { ContentGroup } from '../../src/domain/vocabulary.ts';
import { forgeBackup, ROOT, tarOf } from '../support/archives.ts';
import { directory, file, filesAt, leftovers, makeBackup, makeRestore, makeSite, progressLog } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import { describeTree, isRoot, makeOddTree, spoilOddTree, tarPrint } from '../support/tree.ts';

const USERS: { groups: ContentGroup[] } = { groups: ['USERS_CONFIG'] };
const usersTo = (source: ReturnType<typeof directory>) => ({ ...USERS, targets: [{ group: 'USERS_CONFIG' as const, source }] });

async function backUp(site: Site, source: ReturnType<typeof directory>): Promise<void> {
  await makeBackup(site, [{ group: 'USERS_CONFIG', source }]);
}

/** A directory with one file of this content. */
function makeTree(path: string, content: string): string {
  fs.mkdirSync(path, { recursive: true });
  fs.writeFileSync(join(path, 'file'), content);
  return path;
}

const contentOf = (path: string): string => fs.readFileSync(join(path, 'file'), 'utf8');

describe('after a restore', () => {
  test('the target is exactly what was backed up: altered, removed and added files, kinds, modes, owners, times, links, holes', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    const [before, print] = [describeTree(source), tarPrint(source)];
    await backUp(site, directory(source));
    spoilOddTree(source);
    expect(describeTree(source)).not.toEqual(before);
    const { reports, onProgress } = progressLog();
    await makeRestore(site, usersTo(directory(source)), { onProgress });
    expect(describeTree(source)).toEqual(before);
    expect(tarPrint(source)).toBe(print);
    expect(leftovers(site.place)).toEqual([]);
    const [archive] = (await readManifest(filesAt(join(site.store, 'nightly')))).archives;
    expect(reports.at(-1)).toEqual({ bytesDone: archive?.bytes, bytesTotal: archive?.bytes, filesDone: archive?.files, filesTotal: archive?.files });
  });

  test('a second restore onto its result changes nothing', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    await backUp(site, directory(source));
    await makeRestore(site, usersTo(directory(source)));
    const once = describeTree(source);
    await makeRestore(site, usersTo(directory(source)));
    expect(describeTree(source)).toEqual(once);
  });

  test('extended attributes are back', async () => {
    const site = makeSite();
    const [source, made] = [join(site.place, 'source'), join(site.place, 'made')];
    const tar = tarOf([{ ...ROOT, pax: { 'SCHILY.xattr.user.of.root': 'a' } }, { name: './f', content: 'x', pax: { 'SCHILY.xattr.user.colour': 'blue\xff\n' } }]);
    fs.mkdirSync(made);
    execFileSync('tar', ['-x', '--xattrs', '-C', made], { input: tar, stdio: ['pipe', 'ignore', 'ignore'] });
    forgeBackup(join(site.store, 'nightly'), tar, { files: 1, directories: 1 });
    await makeRestore(site, usersTo(directory(source)));
    expect(tarPrint(source)).toBe(tarPrint(made));
    await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }], { name: 'own' });
    fs.rmSync(join(source, 'f'));
    await makeRestore(site, { ...usersTo(directory(source)), backup: filesAt(join(site.store, 'own')) });
    expect(tarPrint(source)).toBe(tarPrint(made));
  });

  test('groups that were not asked for are as they were', async () => {
    const site = makeSite();
    const [users, reports] = [makeTree(join(site.place, 'users'), 'old users'), makeTree(join(site.place, 'reports'), 'old reports')];
    const targets = [{ group: 'USERS_CONFIG' as const, source: directory(users) }, { group: 'REPORT_TEMPLATES' as const, source: directory(reports) }];
    await makeBackup(site, targets);
    makeTree(users, 'new users');
    makeTree(reports, 'new reports');
    const untouched = describeTree(reports);
    await makeRestore(site, { ...USERS, targets });
    expect(contentOf(users)).toBe('old users');
    expect(describeTree(reports)).toEqual(untouched);
  });

  test('a group of several sources has each of them in its place', async () => {
    const site = makeSite();
    const [one, two, three] = ['one', 'two', 'three'].map((name) => makeTree(join(site.place, name), name)) as [string, string, string];
    const targets = [directory(one), directory(two), file(join(three, 'file'))].map((source) => ({ group: 'USERS_CONFIG' as const, source }));
    await makeBackup(site, targets);
    for (const path of [one, two, three]) makeTree(path, 'altered');
    await makeRestore(site, { ...USERS, targets });
    expect([one, two, three].map(contentOf)).toEqual(['one', 'two', 'three']);
  });

  test('a target that was not there is there, and the directories above it', async () => {
    const site = makeSite();
    const source = makeTree(join(site.place, 'source'), 'content');
    await backUp(site, directory(source));
    const target = join(site.place, 'new', 'deep', 'target');
    await makeRestore(site, usersTo(directory(target)));
    expect(describeTree(target)).toEqual(describeTree(source));
  });

  test('a file is back with all that belongs to it, whatever stands in its place', async () => {
    const site = makeSite();
    const path = join(site.place, 'a file');
    fs.writeFileSync(path, 'content', { mode: 0o640 });
    const before = describeTree(path);
    await backUp(site, file(path));
    for (const spoil of [() => fs.writeFileSync(path, 'altered'), () => fs.rmSync(path), () => (fs.rmSync(path), makeTree(path, 'a directory'))]) {
      spoil();
      await makeRestore(site, usersTo(file(path)));
      expect(describeTree(path)).toEqual(before);
    }
    expect(leftovers(site.place)).toEqual([]);
  });

  test('a link to a target is still there, and what it leads to was replaced', async () => {
    const site = makeSite();
    const real = makeTree(join(site.place, 'real'), 'old');
    const link = join(site.place, 'link');
    fs.symlinkSync('real', link);
    await backUp(site, directory(link));
    makeTree(real, 'new');
    await makeRestore(site, usersTo(directory(link)));
    expect(fs.readlinkSync(link)).toBe('real');
    expect(contentOf(real)).toBe('old');
  });

  test('a declared staging directory is empty again', async () => {
    const site = makeSite();
    const [target, staging] = [makeTree(join(site.place, 'target'), 'old'), join(site.place, 'staging')];
    fs.mkdirSync(staging);
    await backUp(site, directory(target, staging));
    makeTree(target, 'new');
    const seen: string[][] = [];
    await makeRestore(site, usersTo(directory(target, staging)), { beforeSwap: async () => void seen.push(fs.readdirSync(staging)) });
    expect(seen).toEqual([['.backup-gateway-restore-r1-0']]);
    expect(fs.readdirSync(staging)).toEqual([]);
    expect(contentOf(target)).toBe('old');
  });

  test('what a staging directory inside the target is for is kept', async () => {
    const site = makeSite();
    const target = makeTree(join(site.place, 'target'), 'old');
    const staging = join(target, '.staging');
    fs.mkdirSync(staging);
    await backUp(site, directory(target, staging));
    makeTree(target, 'new');
    await makeRestore(site, usersTo(directory(target, staging)));
    expect(contentOf(target)).toBe('old');
    expect(fs.readdirSync(target).sort()).toEqual(['.staging', 'file']);
  });
});

describe('a restore is refused, and everything left as it was,', () => {
  async function expectRefusal(site: Site, plan: Parameters<typeof makeRestore>[1], expected: object, options: Parameters<typeof makeRestore>[2] = {}): Promise<void> {
    const trees = plan.targets.map(({ source }) => [source.path, fs.existsSync(source.path) ? describeTree(source.path) : null] as const);
    await expect(makeRestore(site, plan, options)).rejects.toMatchObject(expected);
    for (const [path, tree] of trees) expect(fs.existsSync(path) ? describeTree(path) : null).toEqual(tree);
    expect(leftovers(site.place)).toEqual([]);
  }

  test('where any archive of its groups is damaged', async () => {
    const site = makeSite();
    const [one, two] = [makeTree(join(site.place, 'one'), 'one'), makeTree(join(site.place, 'two'), 'two')];
    const targets = [directory(one), directory(two)].map((source) => ({ group: 'USERS_CONFIG' as const, source }));
    const { location: path } = await makeBackup(site, targets);
    makeTree(one, 'altered');
    const archive = join(path, 'USERS_CONFIG.2.tar.zst');
    const content = fs.readFileSync(archive);
    for (const [what, bytes] of Object.entries({ flipped: Buffer.from(content).fill(content[30]! ^ 4, 30, 31), cut: content.subarray(0, -9), extended: Buffer.concat([content, Buffer.alloc(9)]) })) {
      fs.writeFileSync(archive, bytes);
      await expectRefusal(site, { ...USERS, targets }, { code: 'DIGEST_MISMATCH', message: expect.stringContaining('USERS_CONFIG.2.tar.zst') });
      expect(contentOf(one), what).toBe('altered');
    }
    fs.rmSync(archive);
    await expectRefusal(site, { ...USERS, targets }, { code: 'FILE_MISSING' });
  });

  test('where the sources are others now', async () => {
    const site = makeSite();
    const target = makeTree(join(site.place, 'target'), 'content');
    await backUp(site, directory(target));
    await expectRefusal(site, usersTo(file(join(target, 'file'))), { code: 'TARGET_UNWRITABLE' });
    await expectRefusal(site, { ...USERS, targets: [] }, { code: 'TARGET_UNWRITABLE' });
    await expectRefusal(site, { groups: ['REPORT_TEMPLATES'], targets: [] }, { code: 'MANIFEST_INVALID' });
  });

  test('where the target holds the store, the journals or another thing to keep', async () => {
    const site = makeSite();
    const source = makeTree(join(site.place, 'source'), 'content');
    await backUp(site, directory(source));
    await expectRefusal(site, usersTo(directory(site.place)), { code: 'TARGET_UNWRITABLE', message: expect.stringContaining('store lies in it') });
    await expectRefusal(site, { ...usersTo(directory(source)), protectedPaths: [join(source, 'file')] }, { code: 'TARGET_UNWRITABLE' });
  });

  test('where one target lies in another', async () => {
    const site = makeSite();
    const outer = makeTree(join(site.place, 'outer'), 'content');
    const inner = makeTree(join(outer, 'inner'), 'content');
    const targets = [directory(outer), directory(inner)].map((source) => ({ group: 'USERS_CONFIG' as const, source }));
    await makeBackup(site, targets);
    await expectRefusal(site, { ...USERS, targets }, { code: 'TARGET_UNWRITABLE', message: expect.stringContaining('lies in') });
  });

  test('where the caller has lost the job before the swap', async () => {
    const site = makeSite();
    const target = makeTree(join(site.place, 'target'), 'old');
    await backUp(site, directory(target));
    makeTree(target, 'new');
    await expectRefusal(site, usersTo(directory(target)), { message: 'lost' }, { beforeSwap: () => Promise.reject(new Error('lost')) });
    expect(await recoverRestore(site.journals, 'r1')).toBe('none');
  });

  test.each(['journal says UNPACKING', 'unpacked'])('where it is cancelled at %j', async (at) => {
    const site = makeSite();
    const target = makeTree(join(site.place, 'target'), 'old');
    await backUp(site, directory(target));
    makeTree(target, 'new');
    const abort = new AbortController();
    const onStep = (step: string): void => {
      if (step === at) abort.abort();
    };
    const before = describeTree(target);
    await expect(makeRestore(site, { ...usersTo(directory(target)), onStep }, { signal: abort.signal })).rejects.toBeInstanceOf(CancelledError);
    expect(describeTree(target)).toEqual(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test('where it is cancelled while tar unpacks', async () => {
    const site = makeSite();
    const target = makeTree(join(site.place, 'target'), 'old');
    fs.writeFileSync(join(target, 'large'), Buffer.alloc(60_000_000, 'some text'));
    await backUp(site, directory(target));
    const abort = new AbortController();
    const before = describeTree(target);
    const onProgress = ({ bytesDone, bytesTotal }: { bytesDone: number; bytesTotal: number | null }): void => {
      if (bytesDone > 0 && bytesDone < (bytesTotal ?? 0)) abort.abort();
    };
    await expect(makeRestore(site, usersTo(directory(target)), { signal: abort.signal, onProgress })).rejects.toBeInstanceOf(CancelledError);
    expect(describeTree(target)).toEqual(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test('where its key is no file name', async () => {
    const site = makeSite();
    await expect(makeRestore(site, { ...usersTo(directory('/nowhere')), restoreKey: '../evil' })).rejects.toMatchObject({ code: 'IO' });
  });
});

test('cancelling is not heeded once replacing has begun', async () => {
  const site = makeSite();
  const target = makeTree(join(site.place, 'target'), 'old');
  await backUp(site, directory(target));
  makeTree(target, 'new');
  const abort = new AbortController();
  const onStep = (step: string): void => {
    if (step === 'journal says SWAPPING') abort.abort();
  };
  await makeRestore(site, { ...usersTo(directory(target)), onStep }, { signal: abort.signal });
  expect(contentOf(target)).toBe('old');
});

describe('where a target cannot be replaced halfway through', () => {
  test('all old content comes back whole', async () => {
    const site = makeSite();
    const paths = ['one', 'two', 'three'].map((name) => makeTree(join(site.place, name), 'old'));
    const absent = join(site.place, 'absent');
    const archives = [...paths, makeTree(absent, 'old')].map((path) => ({ group: 'USERS_CONFIG' as const, source: directory(path) }));
    await makeBackup(site, archives);
    fs.rmSync(absent, { recursive: true });
    for (const path of paths) makeTree(path, 'new');
    const before = paths.map(describeTree);
    for (let failAt = 1; failAt <= 7; failAt += 1) {
      let count = 0;
      const onStep = (step: string): void => {
        if (/in place|old content aside/.test(step) && ++count === failAt) throw Object.assign(new Error('the disk is read-only now'), { code: 'EROFS' });
      };
      await expect(makeRestore(site, { ...USERS, targets: archives, onStep })).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE', message: expect.stringContaining('read-only') });
      expect(paths.map(describeTree)).toEqual(before);
      expect(fs.existsSync(absent)).toBe(false);
      expect(leftovers(site.place)).toEqual([]);
    }
  });
});

const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;

describe.skipIf(!canMount)('a target that is a mount point (needs the superuser)', () => {
  async function withMount(run: (site: Site, target: string) => Promise<void>): Promise<void> {
    const site = makeSite();
    const target = join(site.place, 'mounted');
    fs.mkdirSync(target);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=200m', 'tmpfs', target]);
    try {
      await run(site, target);
    } finally {
      execFileSync('umount', ['--lazy', target]);
    }
  }

  test('is replaced entry by entry, its own mode, owner and times included', async () => {
    await withMount(async (site, target) => {
      makeOddTree(target);
      const before = describeTree(target);
      await backUp(site, directory(target));
      spoilOddTree(target);
      await makeRestore(site, usersTo(directory(target)));
      expect(describeTree(target)).toEqual(before);
      expect(leftovers(site.place)).toEqual([]);
    });
  });

  test('is as it was after a failure at any step', async () => {
    await withMount(async (site, target) => {
      makeOddTree(target);
      await backUp(site, directory(target));
      spoilOddTree(target);
      const before = describeTree(target);
      for (const failAt of [1, 5, 20, 27, 30, 45]) {
        let count = 0;
        const onStep = (): void => {
          if (++count === failAt + 3) throw new Error('no further');
        };
        await expect(makeRestore(site, { ...usersTo(directory(target)), onStep })).rejects.toThrow('no further');
        expect(describeTree(target)).toEqual(before);
      }
      expect(leftovers(site.place)).toEqual([]);
    });
  });

  test('refuses a staging directory on another file system', async () => {
    await withMount(async (site, target) => {
      makeTree(target, 'content');
      await backUp(site, directory(target));
      const staging = join(site.place, 'staging');
      await expect(makeRestore(site, usersTo(directory(target, staging)))).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE', message: expect.stringContaining('another file system') });
    });
  });

  test('refuses to replace a directory that another file system is mounted in', async () => {
    await withMount(async (site, target) => {
      const source = makeTree(join(site.place, 'source'), 'content');
      await backUp(site, directory(source));
      fs.mkdirSync(join(target, 'in', 'inner'), { recursive: true });
      execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(target, 'in', 'inner')]);
      try {
        await expect(makeRestore(site, usersTo(directory(join(target, 'in'))))).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE', message: expect.stringContaining('mounted in it') });
      } finally {
        execFileSync('umount', [join(target, 'in', 'inner')]);
      }
    });
  });

  test('tells that there is too little room, and leaves everything as it was', async () => {
    await withMount(async (site, target) => {
      const source = makeTree(join(site.place, 'source'), 'content');
      fs.writeFileSync(join(source, 'large'), Buffer.alloc(260_000_000, 'x'));
      await backUp(site, directory(source));
      makeTree(target, 'old');
      const before = describeTree(target);
      await expect(makeRestore(site, usersTo(directory(target)))).rejects.toMatchObject({ code: 'TARGET_UNWRITABLE', message: expect.stringContaining('No space left') });
      expect(describeTree(target)).toEqual(before);
      expect(leftovers(site.place)).toEqual([]);
    });
  });
});

describe('leftovers of restores', () => {
  test('are removed where nobody works on them, and the times of a target stay', async () => {
    const site = makeSite();
    const target = makeTree(join(site.place, 'target'), 'content');
    for (const path of ['.backup-gateway-restore-dead-0', 'target/.backup-gateway-restore-dead-1', '.backup-gateway-restore-alive-0']) makeTree(join(site.place, path, 'new'), 'x');
    fs.mkdirSync(join(site.place, '.backup-gateway-restore-dead-0.probe'));
    const { mtimeNs } = fs.statSync(target, { bigint: true });
    const removed = await sweepRestoreLeftovers([directory(target)], (key) => key === 'dead');
    expect(removed.sort()).toEqual(['.backup-gateway-restore-dead-0', '.backup-gateway-restore-dead-0.probe', 'target/.backup-gateway-restore-dead-1'].map((path) => join(site.place, path)));
    expect(leftovers(site.place).map(String)).toContain('.backup-gateway-restore-alive-0');
    expect(fs.statSync(target, { bigint: true }).mtimeNs).toBe(mtimeNs);
  });

  test('that hold the only copy of something are kept and reported', async () => {
    const site = makeSite();
    const work = join(site.place, '.backup-gateway-restore-dead-0');
    makeTree(join(work, 'new'), 'new');
    makeTree(join(work, 'old'), 'old');
    const warnings: string[] = [];
    expect(await sweepRestoreLeftovers([directory(join(site.place, 'target'))], () => true, { onWarning: (text) => warnings.push(text) })).toEqual([]);
    expect(warnings).toEqual([expect.stringContaining(work)]);
    expect(contentOf(join(work, 'old'))).toBe('old');
  });
});
