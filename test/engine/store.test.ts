import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import type { BackupWriter } from '../../src/engine/index.ts';
import { makeSite, storeAt } from '../support/engine.ts';
import { isRoot } from '../support/tree.ts';

const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;

function putBackup(store: string, name: string): void {
  fs.mkdirSync(join(store, name));
  fs.writeFileSync(join(store, name, 'manifest.json'), '{}');
}

describe('a store is', () => {
  test('READY where it can be written, with what is free', async () => {
    const { store } = makeSite();
    expect(await storeAt(store).check()).toEqual({ status: 'READY', freeBytes: expect.any(Number), totalBytes: expect.any(Number), detail: null, isReadable: true, isSilent: false });
    expect(fs.readdirSync(store)).toEqual([]);
  });

  test('UNREACHABLE where it is not there, and is not made', async () => {
    const { place } = makeSite();
    expect(await storeAt(join(place, 'absent')).check()).toEqual({ status: 'UNREACHABLE', freeBytes: null, totalBytes: null, detail: expect.stringContaining('absent'), isReadable: false, isSilent: false });
    expect(fs.existsSync(join(place, 'absent'))).toBe(false);
  });

  test('UNREACHABLE where it is no directory', async () => {
    const { place } = makeSite();
    fs.writeFileSync(join(place, 'file'), '');
    expect(await storeAt(join(place, 'file')).check()).toMatchObject({ status: 'UNREACHABLE' });
  });

  test.skipIf(!canMount)('UNREACHABLE where it is read-only, FULL where nothing is left (needs the superuser)', async () => {
    const { store } = makeSite();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', store]);
    try {
      expect(await storeAt(store).check()).toMatchObject({ status: 'READY' });
      fs.writeFileSync(join(store, 'filler'), Buffer.alloc(5_000_000));
      expect(await storeAt(store).check()).toMatchObject({ status: 'FULL', detail: expect.stringContaining('bytes left') });
      execFileSync('mount', ['-o', 'remount,ro', store]);
      expect(await storeAt(store).check()).toMatchObject({ status: 'UNREACHABLE', isReadable: true, detail: expect.stringMatching(/write-protected.*EROFS/) });
    } finally {
      execFileSync('umount', [store]);
    }
  });
});

describe('a backup in a store', () => {
  test('is there with a manifest and not without', async () => {
    const { store, place } = makeSite();
    putBackup(store, 'one');
    fs.mkdirSync(join(store, 'none'));
    expect([await storeAt(store).has('one'), await storeAt(store).has('none'), await storeAt(store).has('absent')]).toEqual([true, false, false]);
    await expect(storeAt(join(place, 'unmounted')).has('one')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await expect(storeAt(store).has('../store/one')).rejects.toMatchObject({ code: 'IO' });
  });

  test('is listed; partial ones and other things are not', async () => {
    const { store, place } = makeSite();
    for (const name of ['b', 'a', '.partial.1', '.removing-c']) putBackup(store, name);
    fs.mkdirSync(join(store, 'lost+found'));
    fs.writeFileSync(join(store, 'readme'), '');
    expect(await storeAt(store).list()).toEqual(['a', 'b']);
    await expect(storeAt(join(place, 'unmounted')).list()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
  });

  test('is removed, once and again', async () => {
    const { store, place } = makeSite();
    putBackup(store, 'one');
    putBackup(store, 'two');
    await storeAt(store).remove('one');
    await storeAt(store).remove('one');
    expect(fs.readdirSync(store)).toEqual(['two']);
    await expect(storeAt(join(place, 'unmounted')).remove('one')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    for (const name of ['..', '.', '', 'a/b']) await expect(storeAt(store).remove(name)).rejects.toMatchObject({ code: 'IO' });
    expect(fs.readdirSync(store)).toEqual(['two']);
  });

  test('whose removal was interrupted is none any more, and goes with the next removal or sweep', async () => {
    const { store } = makeSite();
    putBackup(store, '.removing-one');
    expect(await storeAt(store).has('one')).toBe(false);
    await storeAt(store).remove('one');
    expect(fs.readdirSync(store)).toEqual([]);
    putBackup(store, '.removing-two');
    expect(await storeAt(store).sweep(() => false)).toEqual(['.removing-two']);
    expect(fs.readdirSync(store)).toEqual([]);
  });
});

test('a sweep removes what the caller knows as left over and nothing else', async () => {
  const { store } = makeSite();
  for (const name of ['one', '.partial.1', '.partial.2']) putBackup(store, name);
  expect(await storeAt(store).sweep((attempt) => attempt === '1')).toEqual(['.partial.1']);
  expect(fs.readdirSync(store).sort()).toEqual(['.partial.2', 'one']);
});

describe('a backup that is written to a store', () => {
  const put = async (writer: BackupWriter, file: string, content: string): Promise<void> => pipeline([Buffer.from(content)], await writer.create(file));

  test('is seen once it is published, whole, and replaces nothing that has its name', async () => {
    const { store } = makeSite();
    const writer = await storeAt(store).begin('one', 'a.1');
    await put(writer, 'archive', 'content');
    expect([await storeAt(store).list(), await writer.files.sizes()]).toEqual([[], new Map([['archive', 7]])]);
    await writer.publish('{}');
    expect(await writer.discard()).toBe(null);
    expect(await storeAt(store).open('one').sizes()).toEqual(new Map([['archive', 7], ['manifest.json', 2]]));
    const second = await storeAt(store).begin('one', 'a.2');
    await expect(second.publish('{"second": true}')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(await second.discard()).toBe(null);
    expect(fs.readFileSync(join(store, 'one', 'manifest.json'), 'utf8')).toBe('{}');
    expect(fs.readdirSync(store)).toEqual(['one']);
  });

  test('leaves nothing of a file that was given up, and nothing at all once it is discarded', async () => {
    const { store } = makeSite();
    const writer = await storeAt(store).begin('one', 'a.1');
    const stream = await writer.create('archive');
    stream.write(Buffer.alloc(100_000));
    stream.destroy();
    await once(stream, 'close');
    expect(await writer.files.sizes()).toEqual(new Map());
    await put(writer, 'archive', 'content');
    await expect(writer.create('archive')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(await writer.discard()).toBe(null);
    expect(fs.readdirSync(store)).toEqual([]);
  });

  test('is refused under the name of an attempt that was begun, and under names that lead out', async () => {
    const { store } = makeSite();
    await storeAt(store).begin('one', 'a.1');
    await expect(storeAt(store).begin('two', 'a.1')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    for (const [name, attempt] of [['../one', 'b'], ['.one', 'b'], ['', 'b'], ['one', ''], ['one', 'a/b']] as const) {
      await expect(storeAt(store).begin(name, attempt)).rejects.toMatchObject({ code: 'IO' });
    }
    expect(fs.readdirSync(store)).toEqual(['.partial.a.1']);
  });

  test('shares files of an earlier one, which it does not need any more afterwards', async () => {
    const { store, place } = makeSite();
    const first = await storeAt(store).begin('one', 'a.1');
    await put(first, 'archive', 'content');
    await first.publish('{}');
    const second = await storeAt(store).begin('two', 'a.2');
    expect(await second.share({ backup: 'one', file: 'archive' }, 'shared')).toBe(true);
    await storeAt(store).remove('one');
    await second.publish('{}');
    expect(fs.readFileSync(join(store, 'two', 'shared'), 'utf8')).toBe('content');

    const third = await storeAt(store).begin('three', 'a.3');
    await expect(third.share({ backup: 'one', file: 'archive' }, 'gone')).rejects.toMatchObject({ code: 'FILE_MISSING' });
    fs.symlinkSync(join(place, 'elsewhere'), join(store, 'two', 'link'));
    await expect(third.share({ backup: 'two', file: 'link' }, 'link')).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    expect(await third.files.sizes()).toEqual(new Map());
  });

  test.skipIf(!canMount)('shares nothing with what lies on another file system (needs the superuser)', async () => {
    const { store } = makeSite();
    putBackup(store, 'one');
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', join(store, 'one')]);
    try {
      fs.writeFileSync(join(store, 'one', 'archive'), 'content');
      const writer = await storeAt(store).begin('two', 'a.1');
      expect(await writer.share({ backup: 'one', file: 'archive' }, 'archive')).toBe(false);
    } finally {
      execFileSync('umount', [join(store, 'one')]);
    }
  });
});
