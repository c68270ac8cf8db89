import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { describe, expect, test } from 'vitest';
import type { FilesSource } from '../../src/domain/deployment.ts';
import { CancelledError } from '../../src/domain/errors.ts';
import { findTar, readManifest } from '../../src/engine/index.ts';
import { createIdentity } from '../../src/engine/keys.ts';
import { directory, file, filesAt, has, leftovers, makeBackup, makeSite, progressLog, storeAt } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import { describeTree, isRoot, makeOddTree } from '../support/tree.ts';

function smallTree(site: Site, name = 'etc'): string {
  const path = join(site.place, name);
  fs.mkdirSync(join(path, 'sub'), { recursive: true });
  fs.writeFileSync(join(path, 'sub', 'file'), 'content');
  fs.writeFileSync(join(path, 'other'), 'other content');
  return path;
}

/** A disk with a bad bit, in one byte of what it gives back; a negative number counts from the end. */
class BitFlip extends Transform {
  readonly #pieces: Buffer[] = [];
  readonly #byte: number;

  constructor(byte: number) {
    super();
    this.#byte = byte;
  }

  override _transform(piece: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#pieces.push(Buffer.from(piece));
    done();
  }

  override _flush(done: (error: null, content: Buffer) => void): void {
    const content = Buffer.concat(this.#pieces);
    const nth = this.#byte < 0 ? content.length + this.#byte : this.#byte;
    content[nth] = (content[nth] ?? 0) ^ 1;
    done(null, content);
  }
}

const names = (path: string): string[] => fs.readdirSync(path).sort();

describe('a finished backup', () => {
  test('has one archive for each source, a manifest, and the digests of both', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    fs.writeFileSync(join(site.place, 'users.txt'), 'users');
    const result = await makeBackup(site, [
      { group: 'DEPLOYMENT_CONFIG', source: directory(etc) },
      { group: 'USERS_CONFIG', source: file(join(site.place, 'users.txt')) },
      { group: 'USERS_CONFIG', source: directory(join(etc, 'sub')) },
    ]);
    expect(result.location).toBe(join(site.store, 'nightly'));
    expect(names(site.store)).toEqual(['nightly']);
    expect(names(result.location)).toEqual([
      'DEPLOYMENT_CONFIG.tar.zst', 'USERS_CONFIG.1.tar.zst', 'USERS_CONFIG.2.tar.zst', 'manifest.json', 'manifest.sha256',
    ]);
    expect(result.manifest).toEqual(await readManifest(filesAt(result.location)));
    expect(result.manifest.groups).toEqual(['DEPLOYMENT_CONFIG', 'USERS_CONFIG']);
    expect(result.manifest.archives.map(({ files, directories }) => [files, directories])).toEqual([[2, 2], [1, 0], [1, 1]]);
    const sizes = names(result.location).map((name) => fs.statSync(join(result.location, name)).size);
    expect(result.sizeOnDisk).toBe(sizes.reduce((sum, size) => sum + size));
  });

  test('calls the archives of a data backup DATA', async () => {
    const site = makeSite();
    const { manifest } = await makeBackup(site, [{ group: null, source: directory(smallTree(site)) }]);
    expect(manifest.archives.map(({ file: name }) => name)).toEqual(['DATA.tar.zst']);
    expect(manifest.groups).toEqual([]);
  });

  test('is for its owner alone', async () => {
    const site = makeSite();
    const { location: path } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(smallTree(site)) }]);
    expect(fs.statSync(path).mode & 0o777).toBe(0o700);
    for (const name of names(path)) expect(fs.statSync(join(path, name)).mode & 0o777).toBe(0o600);
  });

  test.skipIf(!has('zstd'))('is checked, listed and extracted by sha256sum, zstd and tar (install zstd to run this)', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    const { location: path } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }]);
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'manifest.sha256'], { cwd: path });
    const target = join(site.place, 'by hand');
    fs.mkdirSync(target);
    execFileSync('tar', ['--zstd', '-xpf', join(path, 'USERS_CONFIG.tar.zst'), '--numeric-owner', '-C', target]);
    expect(describeTree(target)).toEqual(describeTree(source));
  });

  test('is the same, byte for byte, each time that nothing has changed', async () => {
    const site = makeSite();
    const archives = [{ group: 'USERS_CONFIG' as const, source: directory(smallTree(site)) }];
    const first = await makeBackup(site, archives);
    const second = await makeBackup(site, archives, { name: 'again' });
    expect(second.manifest.archives).toEqual(first.manifest.archives);
  });

  test('is expected to take what an earlier backup took from the same sources, and walks others', async () => {
    const site = makeSite();
    const [known, other] = [smallTree(site), join(site.place, 'other')];
    fs.mkdirSync(other);
    fs.writeFileSync(join(other, 'file'), 'content');
    fs.writeFileSync(join(known, 'more'), 'x'.repeat(100_000));
    const first = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(known) }], { name: 'first' });
    const [{ bytes, files } = { bytes: 0, files: 0 }] = first.manifest.archives;
    fs.rmSync(join(known, 'more'));
    const expectedOf = async (name: string, source: FilesSource, group: 'USERS_CONFIG' | 'CUSTOM_RULES_CONFIG' = 'USERS_CONFIG') => {
      const { reports, onProgress } = progressLog();
      const { manifest } = await makeBackup(site, [{ group, source }], { name, earlier: 'first', onProgress });
      const [archive] = manifest.archives;
      expect(reports.at(-1)).toMatchObject({ bytesTotal: archive?.bytes, filesTotal: archive?.files });
      const told = reports.find(({ bytesTotal }) => bytesTotal !== null);
      return { isAsBefore: told?.bytesTotal === bytes && told.filesTotal === files, isAsNow: told?.bytesTotal === archive?.bytes && told?.filesTotal === archive?.files };
    };
    const [before, now] = [{ isAsBefore: true, isAsNow: false }, { isAsBefore: false, isAsNow: true }];
    expect(await expectedOf('same', directory(known))).toEqual(before);
    expect(await expectedOf('elsewhere', directory(other))).toEqual(now);
    expect(await expectedOf('patterns', { ...directory(known), exclude: ['nothing'] })).toEqual(now);
    expect(await expectedOf('group', directory(known), 'CUSTOM_RULES_CONFIG')).toEqual(now);
  });

  test('tells its progress up to its total', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    const { reports, onProgress } = progressLog();
    const { manifest } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }], { onProgress });
    const [archive] = manifest.archives;
    const totals = reports.filter(({ bytesTotal }) => bytesTotal !== null);
    for (const { bytesTotal, filesTotal } of totals) expect({ bytesTotal, filesTotal }).toEqual({ bytesTotal: archive?.bytes, filesTotal: archive?.files });
    expect(reports.at(-1)).toEqual({ bytesDone: archive?.bytes, bytesTotal: archive?.bytes, filesDone: archive?.files, filesTotal: archive?.files });
    for (const [index, { bytesDone }] of reports.entries()) expect(bytesDone).toBeGreaterThanOrEqual(reports[index - 1]?.bytesDone ?? 0);
  });

  test('leaves out its own store, its staging and the work of restores', async () => {
    const site = makeSite();
    fs.mkdirSync(join(site.place, 'staging [1]'));
    fs.mkdirSync(join(site.place, 'deep', '.backup-gateway-restore-r9-0'), { recursive: true });
    fs.mkdirSync(join(site.place, 'deep', 'store'));
    const { location: path } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(site.place, join(site.place, 'staging [1]')) }]);
    const listing = execFileSync('tar', ['--zstd', '-tf', join(path, 'USERS_CONFIG.tar.zst')], { encoding: 'utf8' });
    expect(listing.trim().split('\n').sort()).toEqual(['./', './deep/', './deep/store/']);
  });

  test('warns of sockets, which no archive can hold', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    const server = createServer().listen(join(etc, 'socket'));
    await once(server, 'listening');
    const warnings: string[] = [];
    await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(etc) }], { onWarning: (text) => warnings.push(text) });
    server.close();
    expect(warnings).toEqual([`${etc}: ./socket: socket ignored`]);
  });

  test('follows a link that is the source itself', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    fs.symlinkSync(etc, join(site.place, 'link'));
    const { manifest } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(join(site.place, 'link')) }]);
    expect(manifest.archives[0]).toMatchObject({ files: 2, directories: 2, source: { path: join(site.place, 'link') } });
  });
});

describe('a backup that fails leaves nothing and says', () => {
  async function expectFailure(site: Site, archives: Parameters<typeof makeBackup>[1], expected: object, options: Parameters<typeof makeBackup>[2] = {}): Promise<void> {
    await expect(makeBackup(site, archives, options)).rejects.toMatchObject(expected);
    expect(names(site.store)).toEqual([]);
  }

  test('that a source is not there', async () => {
    const site = makeSite();
    const path = join(site.place, 'absent');
    await expectFailure(site, [{ group: 'USERS_CONFIG', source: directory(path) }], { code: 'SOURCE_UNREADABLE', message: expect.stringContaining(path) });
  });

  test('that a source is of another kind than declared', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    await expectFailure(site, [{ group: 'USERS_CONFIG', source: file(etc) }], { code: 'SOURCE_UNREADABLE' });
    await expectFailure(site, [{ group: 'USERS_CONFIG', source: directory(join(etc, 'other')) }], { code: 'SOURCE_UNREADABLE' });
  });

  test('which file changed while it was read, and what to do', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    const grown = join(etc, 'growing log');
    fs.writeFileSync(grown, Buffer.alloc(40_000_000));
    let isGrown = false;
    // The first report of bytes comes while tar still reads: a pipe holds far less than the file.
    const onProgress = ({ bytesDone }: { bytesDone: number }): void => {
      if (bytesDone === 0 || isGrown) return;
      isGrown = true;
      fs.appendFileSync(grown, 'one line more');
    };
    await expectFailure(site, [{ group: 'USERS_CONFIG', source: directory(etc) }], {
      code: 'SOURCE_UNREADABLE', message: expect.stringMatching(/growing log: file changed as we read it/), hint: expect.stringContaining('nothing writes to it'),
    }, { onProgress });
  });

  test.skipIf(isRoot && spawnSync('setpriv', ['--version']).error !== undefined)('which file may not be read', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    fs.writeFileSync(join(etc, 'secret\nfile'), 'secret', { mode: 0 });
    fs.chmodSync(site.place, 0o755);
    fs.chmodSync(site.store, 0o777);
    if (!isRoot) {
      await expectFailure(site, [{ group: 'USERS_CONFIG', source: directory(etc) }], { code: 'SOURCE_UNREADABLE', message: expect.stringContaining('secret\\nfile: Cannot open: Permission denied') });
      return;
    }
    // The superuser may read everything, so another user's process makes the attempt.
    const script = `
      const { backup, openStore } = await import(${JSON.stringify(new URL('../../src/engine/index.ts', import.meta.url).href)});
      const run = { signal: new AbortController().signal, onProgress() {}, async beforePublish() {} };
      const store = openStore({ type: 'DIRECTORY', path: ${JSON.stringify(site.store)}, s3: null });
      await backup({ store, ...${JSON.stringify({ name: 'b', attempt: 'test.1', archives: [{ group: 'USERS_CONFIG', source: directory(etc) }], encryption: null, facts: {} })} }, run)
        .catch((error) => console.log(error.code, error.message));`;
    const child = spawnSync('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, '--input-type=module', '-e', script], { encoding: 'utf8' });
    expect(child.stdout).toMatch(/^SOURCE_UNREADABLE .*secret\\nfile: Cannot open: Permission denied/);
    expect(names(site.store)).toEqual([]);
  });

  test('that the name is taken, and leaves what has it', async () => {
    const site = makeSite();
    fs.mkdirSync(join(site.store, 'nightly'));
    await expect(makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(smallTree(site)) }])).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(names(site.store)).toEqual(['nightly']);
    expect(names(join(site.store, 'nightly'))).toEqual([]);
  });

  test('that the store is gone', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    fs.rmdirSync(site.store);
    await expect(makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(etc) }])).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(fs.existsSync(site.store)).toBe(false);
  });

  test('that the store vanished halfway', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    const onStep = (step: string): void => {
      if (step.startsWith('wrote USERS')) fs.rmSync(site.store, { recursive: true });
    };
    await expect(makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(etc) }], { onStep })).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
  });

  const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;
  test.skipIf(!canMount)('that the store is full', async () => {
    const site = makeSite();
    fs.writeFileSync(join(site.place, 'noise'), Buffer.from(Array.from({ length: 3_000_000 }, () => Math.random() * 256)));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', site.store]);
    try {
      await expectFailure(site, [{ group: 'USERS_CONFIG', source: file(join(site.place, 'noise')) }], { code: 'STORE_FULL', hint: expect.stringContaining('enlarge the store') });
    } finally {
      execFileSync('umount', [site.store]);
    }
  });

  test('what the caller says when it may not publish', async () => {
    const site = makeSite();
    const lost = new Error('the job is somebody else\'s now');
    const archives = [{ group: 'USERS_CONFIG' as const, source: directory(smallTree(site)) }];
    await expect(makeBackup(site, archives, { beforePublish: () => Promise.reject(lost) })).rejects.toBe(lost);
    expect(names(site.store)).toEqual([]);
  });

  test.each([
    ['USERS_CONFIG.tar.zst', 20], ['USERS_CONFIG.tar.zst', -1], ['USERS_CONFIG.tar.zst.age', 300], ['USERS_CONFIG.tar.zst.age', -1], ['manifest.sha256', 20],
  ])('that the store gives back other content than was written: %s at byte %i', async (altered, byte) => {
    const site = makeSite();
    const store = storeAt(site.store);
    const begin = store.begin.bind(store);
    store.begin = async (name, attempt) => {
      const writer = await begin(name, attempt);
      const { files } = writer;
      const read = files.read.bind(files);
      files.read = async (wanted, whole) => {
        const { size, stream } = await read(wanted, whole);
        return { size, stream: wanted === altered ? stream.pipe(new BitFlip(byte)) : stream };
      };
      return writer;
    };
    const sealed = altered.endsWith('.age') ? await createIdentity('a passcode') : null;
    const key = sealed === null ? undefined : { recipient: sealed.recipient, wrappedIdentity: sealed.wrapped };
    await expectFailure(site, [{ group: 'USERS_CONFIG', source: directory(smallTree(site)) }], { code: 'VERIFY_FAILED', message: expect.stringContaining(altered) }, { store, key });
  });
});

describe('a cancelled backup', () => {
  test.each(['begun', 'wrote USERS_CONFIG.tar.zst', 'wrote digests', 'verified'])('ends at once after %j and leaves nothing', async (at) => {
    const site = makeSite();
    const abort = new AbortController();
    const onStep = (step: string): void => {
      if (step === at) abort.abort();
    };
    const archives = [{ group: 'USERS_CONFIG' as const, source: directory(smallTree(site)) }];
    await expect(makeBackup(site, archives, { signal: abort.signal, onStep })).rejects.toBeInstanceOf(CancelledError);
    expect(names(site.store)).toEqual([]);
  });

  test('ends within a second in the middle of a large source, with tar gone', async () => {
    const site = makeSite();
    const etc = smallTree(site);
    fs.writeFileSync(join(etc, 'huge'), '');
    fs.truncateSync(join(etc, 'huge'), 200_000_000);
    const full = fs.openSync(join(etc, 'huge'), 'r+');
    for (let at = 0; at < 200_000_000; at += 4096) fs.writeSync(full, 'x', at);
    fs.closeSync(full);
    const abort = new AbortController();
    let abortedAt = 0;
    const onProgress = ({ bytesDone }: { bytesDone: number }): void => {
      if (bytesDone === 0 || abortedAt > 0) return;
      abortedAt = performance.now();
      abort.abort();
    };
    const archives = [{ group: 'USERS_CONFIG' as const, source: directory(etc) }];
    await expect(makeBackup(site, archives, { signal: abort.signal, onProgress })).rejects.toBeInstanceOf(CancelledError);
    expect(performance.now() - abortedAt).toBeLessThan(1000);
    expect(leftovers(site.place)).toEqual([]);
    const children = fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ').filter(Boolean);
    const commands = children.map((pid) => fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim());
    expect(commands).not.toContain('tar');
  });

  test('does not begin where the signal is already aborted', async () => {
    const site = makeSite();
    await expect(makeBackup(site, [], { signal: AbortSignal.abort() })).rejects.toBeInstanceOf(CancelledError);
  });
});

test('GNU tar is found with its version', async () => {
  expect(await findTar()).toEqual({ path: expect.stringMatching(/tar$/), version: expect.stringMatching(/^\d+\.\d+/) });
});
