/**
 * Backups in layers: what is stored, what is unpacked from it, and what happens where a base is no use.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { chainsOf } from '../../src/engine/incremental/base.ts';
import { identitiesOf } from '../../src/engine/incremental/shared-keys.ts';
import { unpackLayers } from '../../src/engine/incremental/unpack.ts';
import { readManifest, verifyBackup } from '../../src/engine/index.ts';
import type { BackupResult, Manifest, ManifestArchive, Store } from '../../src/engine/index.ts';
import { digestList, manifestText } from '../../src/engine/manifest.ts';
import { requireTar } from '../../src/engine/tar.ts';
import { directory, file, filesAt, has, leftovers, makeBackup, makeSite, storeAt, type Site } from '../support/engine.ts';
import { makeLayer, unpackByHand } from '../support/layers.ts';
import { describeTree, makeOddTree, tarPrint } from '../support/tree.ts';

const canUseXattrs = has('setfattr') && has('setfacl');

/** Numbers from 0 to below the limit, the same in each run of a seed. */
function randomOf(seed: number): (limit: number) => number {
  return (limit) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * limit);
  };
}

/** A random tree that can be changed at random places in every way that a file system knows. */
class RandomTree {
  readonly root: string;
  readonly #random: (limit: number) => number;
  #count = 0;

  constructor(root: string, seed: number) {
    this.root = root;
    this.#random = randomOf(seed);
    fs.mkdirSync(root);
    for (let n = 0; n < 60; n += 1) this.add();
  }

  #paths(kind: (stat: fs.Stats) => boolean): string[] {
    return fs.readdirSync(this.root, { recursive: true }).map((name) => join(this.root, String(name))).sort()
      .filter((path) => !path.endsWith('weight') && kind(fs.lstatSync(path)));
  }

  #pick(paths: string[]): string | undefined {
    return paths[this.#random(paths.length)];
  }

  #directory(): string {
    return this.#pick([this.root, ...this.#paths((stat) => stat.isDirectory())]) ?? this.root;
  }

  #newPath(): string {
    this.#count += 1;
    // Names that sort around the slash, and one that is no text.
    return join(this.#directory(), `${['a', 'b', 'a-', 'a.b', ' ', '*', 'line\nbreak ', '-x', 'é'][this.#random(9)]}${this.#count}`);
  }

  add(): void {
    const path = this.#newPath();
    switch (this.#random(8)) {
      case 0: case 1: fs.mkdirSync(path); break;
      case 2: fs.symlinkSync(`../${this.#random(100)}`, path); break;
      case 3: {
        const file = this.#pick(this.#paths((stat) => stat.isFile()));
        if (file !== undefined) fs.linkSync(file, path);
        break;
      }
      case 4: execFileSync('mkfifo', [path]); break;
      default: fs.writeFileSync(path, 'x'.repeat(this.#random(5000)) + this.#count);
    }
  }

  change(): void {
    const file = this.#pick(this.#paths((stat) => stat.isFile()));
    const any = this.#pick(this.#paths(() => true));
    if (any === undefined || file === undefined) return this.add();
    const stat = fs.lstatSync(any);
    switch (this.#random(14)) {
      case 0: case 1: return this.add();
      case 2: return fs.rmSync(any, { recursive: true });
      case 3: { // other content of the same length, the old time put back
        const before = fs.statSync(file, { bigint: true });
        const content = fs.readFileSync(file);
        fs.writeFileSync(file, Buffer.alloc(content.length, `${this.#random(1000)}`));
        execFileSync('touch', ['-h', '-d', `@${before.mtimeNs / 1_000_000_000n}.${String(before.mtimeNs % 1_000_000_000n).padStart(9, '0')}`, '--', file]);
        return;
      }
      case 4: return fs.appendFileSync(file, 'more');
      case 5: { // moved, maybe with all that is in it
        const to = this.#newPath();
        if (!`${to}/`.startsWith(`${any}/`)) fs.renameSync(any, to);
        return;
      }
      case 6: { // another type under the same name
        fs.rmSync(any, { recursive: true });
        if (stat.isDirectory()) fs.writeFileSync(any, 'was a directory');
        else fs.mkdirSync(join(any, 'below'), { recursive: true });
        return;
      }
      case 7: return stat.isSymbolicLink() ? undefined : fs.chmodSync(any, stat.isDirectory() ? 0o700 + this.#random(0o77) : 0o600 + this.#random(0o77));
      case 8: { // a link with another target, of the same length
        const link = this.#pick(this.#paths((other) => other.isSymbolicLink()));
        if (link === undefined) return;
        const target = fs.readlinkSync(link);
        fs.rmSync(link);
        return fs.symlinkSync(target.replace(/.$/, (last) => (last === '1' ? '2' : '1')), link);
      }
      case 9: { // a file put in the place of another, as editors do
        fs.writeFileSync(join(this.root, 'temporary'), fs.readFileSync(file));
        return fs.renameSync(join(this.root, 'temporary'), file);
      }
      case 10: return fs.lutimesSync(any, this.#random(1e9), this.#random(1e9));
      case 11: { // two names exchanged
        const other = this.#pick(this.#paths((found) => found.isFile()));
        if (other === undefined || other === file) return;
        fs.renameSync(file, join(this.root, 'temporary'));
        fs.renameSync(other, file);
        return fs.renameSync(join(this.root, 'temporary'), other);
      }
      case 12: {
        if (!canUseXattrs || stat.isSymbolicLink() || stat.isFIFO()) return;
        // Some file systems keep none.
        spawnSync('setfattr', [...(this.#random(2) === 0 ? ['-n', `user.${this.#random(3)}`, '-v', `${this.#random(9)}`] : ['-x', `user.${this.#random(3)}`]), any]);
        return;
      }
      default: {
        if (!canUseXattrs || stat.isSymbolicLink() || stat.isFIFO()) return;
        spawnSync('setfacl', this.#random(2) === 0 ? ['-m', `u:${1000 + this.#random(3)}:r`, any] : ['-b', any]);
      }
    }
  }
}

describe('a chain of incremental backups', () => {
  it.each([1, 2, 3])('gives back, with stock tools, exactly what the source was at each time (seed %i)', async (seed) => {
    const site = makeSite();
    const tree = new RandomTree(join(site.place, 'source'), seed);
    const random = randomOf(seed + 100);
    // Weight, so that many small changes remain a small part of the whole.
    fs.writeFileSync(join(tree.root, 'weight'), Buffer.alloc(3_000_000, 'weight'));
    let base: string | null = null;
    let layers = 0;
    for (let generation = 0; generation < 7; generation += 1) {
      for (let n = generation === 0 ? 0 : random(12); n > 0; n -= 1) tree.change();
      const name = `generation-${generation}`;
      const { manifest } = await makeLayer(site, tree.root, name, base);
      layers = Math.max(layers, manifest.archives.length);
      const unpacked = join(site.place, 'unpacked');
      unpackByHand(join(site.store, name), unpacked);
      expect(describeTree(unpacked)).toEqual(describeTree(tree.root));
      expect(tarPrint(unpacked)).toBe(tarPrint(tree.root));
      // Whatever is gone of the earlier ones, the later ones are whole.
      if (base !== null && random(2) === 0) await storeAt(site.store).remove(base);
      base = name;
    }
    expect(layers).toBeGreaterThan(2);
    expect((await verifyBackup(filesAt(join(site.store, base ?? '')), { signal: new AbortController().signal })).details).toEqual([]);
    expect(leftovers(site.place)).toEqual([]);
  }, 60_000);

  it('keeps everything that a file system can hold', async () => {
    const site = makeSite();
    const source = join(site.place, 'source');
    makeOddTree(source);
    await makeLayer(site, source, 'one', null);
    fs.chmodSync(source, 0o700);
    fs.appendFileSync(join(source, 'plain'), 'more');
    fs.rmSync(join(source, 'sub', 'sub'), { recursive: true });
    fs.renameSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x64, 0x69, 0x72, 0xff])]), Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xfe, 0x0a])]));
    fs.rmSync(join(source, '-rf'));
    const { manifest } = await makeLayer(site, source, 'two', 'one');
    expect(manifest.archives.map(({ file, layer }) => [file, layer])).toEqual([['DATA.tar.zst', undefined], ['DATA.update.01.tar.zst', 1]]);
    const unpacked = join(site.place, 'unpacked');
    unpackByHand(join(site.store, 'two'), unpacked);
    expect(describeTree(unpacked)).toEqual(describeTree(source));
  });
});

/** A source of which a tenth of a per cent is easily changed, and its first backup. */
async function makeFirst(options: Parameters<typeof makeLayer>[4] = {}) {
  const site = makeSite();
  const source = join(site.place, 'source');
  fs.mkdirSync(source);
  fs.writeFileSync(join(source, 'weight'), randomBytes(1_000_000));
  fs.writeFileSync(join(source, 'a'), 'first a');
  fs.writeFileSync(join(source, 'b'), 'first b');
  const first = await makeLayer(site, source, 'one', null, options);
  return { site, source, first };
}

const layersOf = ({ manifest }: BackupResult): (number | undefined)[] => manifest.archives.map(({ layer }) => layer);

async function details(site: Site, name: string): Promise<string[]> {
  return (await verifyBackup(filesAt(join(site.store, name)), { signal: new AbortController().signal })).details;
}

describe('an incremental backup', () => {
  it('stores what has changed, and shares the rest', async () => {
    const { site, source, first } = await makeFirst();
    expect(first.sizeAdded).toBe(first.sizeOnDisk);
    expect(first.manifest.formatVersion).toBe(1);
    fs.writeFileSync(join(source, 'a'), 'second');
    fs.rmSync(join(source, 'b'));
    const second = await makeLayer(site, source, 'two', 'one');
    expect(layersOf(second)).toEqual([undefined, 1]);
    expect(second.manifest.formatVersion).toBe(2);
    expect(second.manifest.archives[1]).toMatchObject({ file: 'DATA.update.01.tar.zst', files: 1, directories: 1, removed: { file: 'DATA.update.01.removed.zst', names: 1 } });
    expect(second.read).toEqual({ files: 1, bytes: second.manifest.archives[1]?.bytes });
    const sizes = fs.readdirSync(join(site.store, 'two')).map((name) => fs.statSync(join(site.store, 'two', name)).size);
    expect(second.sizeOnDisk).toBe(sizes.reduce((sum, size) => sum + size));
    expect(second.sizeAdded).toBe(second.sizeOnDisk - (first.manifest.archives[0]?.size ?? 0));
    expect(second.sizeAdded).toBeLessThan(10_000);
    expect(fs.statSync(join(site.store, 'two', 'DATA.tar.zst')).ino).toBe(fs.statSync(join(site.store, 'one', 'DATA.tar.zst')).ino);
    expect(execFileSync('sha256sum', ['--check', '--quiet', 'manifest.sha256'], { cwd: join(site.store, 'two'), encoding: 'utf8' })).toBe('');
  });

  it('adds no layer where nothing has changed', async () => {
    const { site, source } = await makeFirst();
    const second = await makeLayer(site, source, 'two', 'one');
    expect(layersOf(second)).toEqual([undefined]);
    expect(second.read).toEqual({ files: 0, bytes: 0 });
    fs.writeFileSync(join(source, 'a'), 'third');
    expect(layersOf(await makeLayer(site, source, 'three', 'two'))).toEqual([undefined, 1]);
  });

  it('takes what has changed while it ran for changed the next time, and what came and went for gone', async () => {
    const { site, source } = await makeFirst();
    const { mtime } = fs.statSync(join(source, 'weight'));
    const onStep = (step: string): void => {
      // The names are listed by now, and nothing is read yet.
      if (step !== 'begun') return;
      fs.writeFileSync(join(source, 'a'), 'Second!');
      fs.writeFileSync(join(source, 'fleeting'), '');
      fs.rmSync(join(source, 'b'));
    };
    fs.writeFileSync(join(source, 'a'), 'second.');
    const second = await makeLayer(site, source, 'two', 'one', { onStep });
    expect(layersOf(second)).toEqual([undefined, 1]);
    // Other content of the same length, with the old time, right after it was read.
    const weight = fs.readFileSync(join(source, 'weight'));
    weight[500_000]! ^= 1;
    fs.writeFileSync(join(source, 'weight'), weight);
    fs.utimesSync(join(source, 'weight'), mtime, mtime);
    fs.rmSync(join(source, 'fleeting'));
    await makeLayer(site, source, 'three', 'two');
    unpackByHand(join(site.store, 'three'), join(site.place, 'unpacked'));
    expect(describeTree(join(site.place, 'unpacked'))).toEqual(describeTree(source));
  });

  it('is not fooled by a clock that was put back', async () => {
    const { site, source } = await makeFirst();
    fs.writeFileSync(join(source, 'a'), 'second a');
    fs.utimesSync(join(source, 'a'), 1, 1);
    const second = await makeLayer(site, source, 'two', 'one');
    expect(second.manifest.archives[1]?.files).toBe(1);
  });

  it('is found damaged with every other that shares the damaged file, and is then no base any more', async () => {
    const { site, source } = await makeFirst();
    fs.writeFileSync(join(source, 'a'), 'second');
    await makeLayer(site, source, 'two', 'one');
    const path = join(site.store, 'one', 'DATA.tar.zst');
    const content = fs.readFileSync(path);
    content[content.length >> 1]! ^= 4;
    fs.writeFileSync(path, content);
    for (const name of ['one', 'two']) expect(await details(site, name)).toEqual([expect.stringContaining('DATA.tar.zst')]);
    const warnings: string[] = [];
    const third = await makeLayer(site, source, 'three', 'two', { onWarning: (text) => warnings.push(text) });
    expect(layersOf(third)).toEqual([undefined]);
    expect(warnings).toEqual([expect.stringContaining('shares nothing with two')]);
    expect(await details(site, 'three')).toEqual([]);
  });

  it.each<[string, (scene: { site: Site; source: string }) => void | Promise<void>]>([
    ['its base is gone', ({ site }) => storeAt(site.store).remove('one')],
    ['the index is gone', ({ site }) => fs.rmSync(join(site.place, 'indexes'), { recursive: true })],
    ['the index is torn', ({ site }) => fs.truncateSync(join(site.place, 'indexes', 'one', '1.index.zst'), 50)],
    ['the index is damaged', ({ site }) => fs.writeFileSync(join(site.place, 'indexes', 'one', '1.index.zst'), 'no index')],
    ['somebody has put another backup in the place of its base', ({ site }) => {
      const path = join(site.store, 'one', 'manifest.json');
      const text = fs.readFileSync(path, 'utf8').replace('nightly', 'forged!');
      fs.writeFileSync(path, text);
      const digests = join(site.store, 'one', 'manifest.sha256');
      fs.writeFileSync(digests, fs.readFileSync(digests, 'utf8').replace(/[0-9a-f]{64}(?= {2}manifest.json)/, createHash('sha256').update(text).digest('hex')));
    }],
    ['much has changed', ({ source }) => fs.writeFileSync(join(source, 'weight'), randomBytes(900_000))],
    ['the source is another directory now', ({ site, source }) => {
      fs.renameSync(source, join(site.place, 'elsewhere'));
      fs.symlinkSync('elsewhere', source);
    }],
  ])('is whole where %s', async (_why, spoil) => {
    const { site, source } = await makeFirst();
    await spoil({ site, source });
    fs.writeFileSync(join(source, 'a'), 'second');
    const second = await makeLayer(site, source, 'two', 'one');
    expect(layersOf(second)).toEqual([undefined]);
    expect(second.manifest.formatVersion).toBe(1);
    unpackByHand(join(site.store, 'two'), join(site.place, 'unpacked'));
    expect(describeTree(join(site.place, 'unpacked'))).toEqual(describeTree(fs.realpathSync(source)));
    // And it is a base itself.
    fs.writeFileSync(join(source, 'b'), 'third');
    expect(layersOf(await makeLayer(site, source, 'three', 'two'))).toEqual([undefined, 1]);
    expect(fs.readdirSync(join(site.place, 'indexes')).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('is whole where its base is being deleted just now, or the store cannot share', async () => {
    const { site, source } = await makeFirst();
    fs.writeFileSync(join(source, 'a'), 'second');
    let steps = 0;
    const onStep = async (step: string): Promise<void> => {
      if (step === 'begun' && (steps += 1) === 1) await storeAt(site.store).remove('one');
    };
    expect(layersOf(await makeLayer(site, source, 'two', 'one', { onStep }))).toEqual([undefined]);

    const real = storeAt(site.store);
    const store = Object.create(real, {
      begin: { value: async (name: string, attempt: string) => Object.assign(await real.begin(name, attempt), { share: async () => false }) },
    }) as Store;
    expect(layersOf(await makeLayer(site, source, 'three', 'two', { store }))).toEqual([undefined]);
    for (const name of ['two', 'three']) expect(await details(site, name)).toEqual([]);
    expect(leftovers(site.place)).toEqual([]);
  });

  it('starts a new chain when the updates come to half of what they update, and after twenty of them', async () => {
    const { site, source } = await makeFirst();
    fs.writeFileSync(join(source, 'large'), randomBytes(300_000));
    expect(layersOf(await makeLayer(site, source, 'two', 'one'))).toEqual([undefined, 1]);
    fs.writeFileSync(join(source, 'large'), randomBytes(300_000));
    expect(layersOf(await makeLayer(site, source, 'three', 'two'))).toEqual([undefined]);
    let base = 'three';
    for (let n = 1; n <= 21; n += 1) {
      fs.writeFileSync(join(source, 'a'), `change ${n}`);
      const { manifest } = await makeLayer(site, source, `small-${n}`, base);
      expect(manifest.archives.length).toBe(n === 21 ? 1 : n + 1);
      base = `small-${n}`;
    }
    expect(fs.readdirSync(join(site.place, 'indexes')).length).toBe(3);
  }, 30_000);

  it('leaves small sources whole', async () => {
    const { site, source } = await makeFirst();
    const second = await makeBackup(site, [{ group: null, source: directory(source) }], { name: 'two', incremental: { directory: join(site.place, 'indexes'), base: 'one', sharedKeys: null } });
    expect(layersOf(second)).toEqual([undefined]);
  });

  it('shares each of several sources for itself', async () => {
    const site = makeSite();
    const [one, two] = [join(site.place, 'source one'), join(site.place, 'source two')];
    for (const path of [one, two]) {
      fs.mkdirSync(path);
      fs.writeFileSync(join(path, 'weight'), randomBytes(100_000));
    }
    fs.writeFileSync(join(site.place, 'file'), 'a source that is a file');
    const sources = [directory(one), directory(two, null), file(join(site.place, 'file'))].map((source) => ({ group: null, source }));
    const incremental = (base: string | null) => ({ directory: join(site.place, 'indexes'), base, sharedKeys: null, minimumBytes: 0 });
    await makeBackup(site, sources, { name: 'one', incremental: incremental(null) });
    fs.writeFileSync(join(two, 'added'), 'added');
    // In another order, and one of them patterned otherwise.
    const second = await makeBackup(site, [sources[1]!, sources[2]!, { group: null, source: { ...directory(one), exclude: ['*.tmp'] } }], { name: 'two', incremental: incremental('one') });
    expect(second.manifest.archives.map(({ file: name }) => name)).toEqual(['DATA.1.tar.zst', 'DATA.1.update.01.tar.zst', 'DATA.2.tar.zst', 'DATA.3.tar.zst']);
    expect(second.read.files).toBe(2);
    expect(await details(site, 'two')).toEqual([]);
    fs.writeFileSync(join(one, 'left out.tmp'), '');
    fs.writeFileSync(join(site.place, 'file'), 'another file');
    const third = await makeBackup(site, [sources[1]!, sources[2]!, { group: null, source: { ...directory(one), exclude: ['*.tmp'] } }], { name: 'three', incremental: incremental('two') });
    // The directory's own time has changed, and nothing in it that is backed up.
    expect(third.manifest.archives.map(({ file: name, files }) => [name, files])).toEqual([
      ['DATA.1.tar.zst', 1], ['DATA.1.update.01.tar.zst', 1], ['DATA.2.tar.zst', 1], ['DATA.3.tar.zst', 1], ['DATA.3.update.01.tar.zst', 0],
    ]);
  });

  it('keeps no index of what it could not read, so that the next one is whole', async () => {
    const site = makeSite();
    const source = join(site.place, 'source');
    fs.mkdirSync(join(source, 'sub'), { recursive: true });
    fs.writeFileSync(join(source, 'a'), 'a');
    const spec = [{ group: null, source: { ...directory(source), onUnreadable: 'WARN' as const } }];
    const incremental = (base: string | null) => ({ directory: join(site.place, 'indexes'), base, sharedKeys: null, minimumBytes: 0 });
    // What grows while tar reads it is not whole.
    const writer = spawn('bash', ['-c', `while :; do echo more >> ${JSON.stringify(join(source, 'log'))}; done`], { stdio: 'ignore' });
    try {
      let result: BackupResult | undefined;
      for (let n = 0; n < 50 && result?.manifest.archives[0]?.unreadable === undefined; n += 1) {
        result = await makeBackup(site, spec, { name: `one-${n}`, incremental: incremental(null) });
      }
      const name = result?.location.split('/').at(-1) ?? '';
      expect(result?.manifest.archives[0]?.unreadable).toHaveLength(1);
      expect(JSON.parse(fs.readFileSync(join(site.place, 'indexes', name, 'index.json'), 'utf8'))).toMatchObject({ sources: [null] });
    } finally {
      writer.kill('SIGKILL');
    }
  });

  it('keeps its names on this machine for its own user alone', async () => {
    const { site } = await makeFirst();
    const all = fs.readdirSync(join(site.place, 'indexes'), { recursive: true }).map((name) => join(site.place, 'indexes', String(name)));
    expect(fs.readdirSync(join(site.place, 'indexes', 'one')).sort()).toEqual(['1.index.zst', 'index.json']);
    for (const path of all) expect(fs.statSync(path).mode & 0o077).toBe(0);
  });
});

describe('unpacking layers', () => {
  it('gives back the source, layer by layer', async () => {
    const { site, source } = await makeFirst();
    fs.mkdirSync(join(source, 'sub', 'deep'), { recursive: true });
    fs.writeFileSync(join(source, 'sub', 'deep', 'x'), 'x');
    await makeLayer(site, source, 'two', 'one');
    fs.rmSync(join(source, 'sub'), { recursive: true });
    fs.writeFileSync(join(source, 'sub'), 'a file now');
    fs.rmSync(join(source, 'b'));
    await makeLayer(site, source, 'three', 'two');
    const into = join(site.place, 'unpacked');
    const seen: (number | undefined)[] = [];
    await unpackAll(site, 'three', into, (archive) => seen.push(archive.layer));
    expect(seen).toEqual([undefined, 1, 2]);
    expect(describeTree(into)).toEqual(describeTree(source));
  });

  it.each([
    ['an absolute name', '/etc/passwd\0'], ['a way out', './sub/../../outside\0'], ['itself', '.\0'], ['no name', './\0'], ['a name that is not ended', './a'],
  ])('refuses a list that removes %s', async (_what, list) => {
    const { site, source } = await makeFirst();
    fs.rmSync(join(source, 'b'));
    await makeLayer(site, source, 'two', 'one');
    forgeRemoved(join(site.store, 'two'), list);
    fs.writeFileSync(join(site.place, 'outside'), 'outside');
    await expect(unpackAll(site, 'two', join(site.place, 'unpacked'))).rejects.toMatchObject({ code: expect.stringMatching(/ARCHIVE_UNSAFE|DIGEST_MISMATCH/) });
    expect(fs.existsSync(join(site.place, 'outside'))).toBe(true);
  });

  it('refuses a list that leads through a link, and puts no directory where a link leads', async () => {
    const { site, source } = await makeFirst();
    const outside = join(site.place, 'outside');
    fs.mkdirSync(outside);
    fs.writeFileSync(join(outside, 'kept'), 'kept');
    fs.symlinkSync(outside, join(source, 'link'));
    await makeLayer(site, source, 'two', 'one');
    fs.rmSync(join(source, 'link'));
    fs.mkdirSync(join(source, 'link'));
    fs.writeFileSync(join(source, 'link', 'kept'), 'replaced');
    await makeLayer(site, source, 'three', 'two');
    forgeRemoved(join(site.store, 'three'), './link/kept\0');
    await expect(unpackAll(site, 'three', join(site.place, 'unpacked'))).rejects.toMatchObject({ code: 'ARCHIVE_UNSAFE' });
    // Without the removal that belongs to it, the update finds the link where its directory goes.
    forgeRemoved(join(site.store, 'three'), './b\0');
    await unpackAll(site, 'three', join(site.place, 'unpacked again')).catch(() => undefined);
    expect(fs.readFileSync(join(outside, 'kept'), 'utf8')).toBe('kept');
  });
});

/** Unpacks the one source of a backup in clear. */
async function unpackAll(site: Site, name: string, into: string, onLayer: (archive: ManifestArchive) => void = () => undefined): Promise<void> {
  const backup = filesAt(join(site.store, name));
  const manifest = await readManifest(backup);
  fs.mkdirSync(into);
  await unpackLayers({ tar: await requireTar(), backup, layers: chainsOf(manifest.archives)[0] ?? [], identityOf: await identitiesOf(backup, manifest, null), into },
    new AbortController().signal, () => undefined, () => undefined, async (archive) => onLayer(archive));
}

/** Puts another list of removed names into a backup's last update, with digests to match. */
function forgeRemoved(path: string, list: string): void {
  const manifest = JSON.parse(fs.readFileSync(join(path, 'manifest.json'), 'utf8')) as Manifest;
  const { removed } = manifest.archives.at(-1) ?? {};
  if (removed === undefined) throw new Error('there is no list');
  const content = zstdCompressSync(Buffer.from(list));
  Object.assign(removed, { names: 1, size: content.length, sha256: createHash('sha256').update(content).digest('hex') });
  const text = manifestText(manifest);
  fs.writeFileSync(join(path, removed.file), content);
  fs.writeFileSync(join(path, 'manifest.json'), text);
  fs.writeFileSync(join(path, 'manifest.sha256'), digestList(manifest, text));
}
