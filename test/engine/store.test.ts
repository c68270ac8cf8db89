import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { checkStore, listBackups, removeBackup, storeHas, sweepPartials } from '../../src/engine/index.ts';
import { makeSite } from '../support/engine.ts';
import { isRoot } from '../support/tree.ts';

function putBackup(store: string, name: string): void {
  fs.mkdirSync(join(store, name));
  fs.writeFileSync(join(store, name, 'manifest.json'), '{}');
}

describe('a store is', () => {
  test('READY where it can be written, with what is free', async () => {
    const { store } = makeSite();
    expect(await checkStore(store)).toEqual({ status: 'READY', freeBytes: expect.any(Number), detail: null });
    expect(fs.readdirSync(store)).toEqual([]);
  });

  test('UNREACHABLE where it is not there, and is not made', async () => {
    const { place } = makeSite();
    expect(await checkStore(join(place, 'absent'))).toEqual({ status: 'UNREACHABLE', freeBytes: null, detail: expect.stringContaining('absent') });
    expect(fs.existsSync(join(place, 'absent'))).toBe(false);
  });

  test('UNREACHABLE where it is no directory', async () => {
    const { place } = makeSite();
    fs.writeFileSync(join(place, 'file'), '');
    expect(await checkStore(join(place, 'file'))).toMatchObject({ status: 'UNREACHABLE' });
  });

  const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;
  test.skipIf(!canMount)('UNREACHABLE where it is read-only, FULL where nothing is left (needs the superuser)', async () => {
    const { store } = makeSite();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', store]);
    try {
      expect(await checkStore(store)).toMatchObject({ status: 'READY' });
      fs.writeFileSync(join(store, 'filler'), Buffer.alloc(5_000_000));
      expect(await checkStore(store)).toMatchObject({ status: 'FULL', detail: expect.stringContaining('bytes left') });
      execFileSync('mount', ['-o', 'remount,ro', store]);
      expect(await checkStore(store)).toMatchObject({ status: 'UNREACHABLE', detail: expect.stringMatching(/EROFS|read-only/) });
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
    expect([await storeHas(store, 'one'), await storeHas(store, 'none'), await storeHas(store, 'absent')]).toEqual([true, false, false]);
    await expect(storeHas(join(place, 'unmounted'), 'one')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await expect(storeHas(store, '../store/one')).rejects.toMatchObject({ code: 'IO' });
  });

  test('is listed; partial ones and other things are not', async () => {
    const { store, place } = makeSite();
    for (const name of ['b', 'a', '.partial-1', '.removing-c']) putBackup(store, name);
    fs.mkdirSync(join(store, 'lost+found'));
    fs.writeFileSync(join(store, 'readme'), '');
    expect(await listBackups(store)).toEqual(['a', 'b']);
    await expect(listBackups(join(place, 'unmounted'))).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
  });

  test('is removed, once and again', async () => {
    const { store, place } = makeSite();
    putBackup(store, 'one');
    putBackup(store, 'two');
    await removeBackup(store, 'one');
    await removeBackup(store, 'one');
    expect(fs.readdirSync(store)).toEqual(['two']);
    await expect(removeBackup(join(place, 'unmounted'), 'one')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    for (const name of ['..', '.', '', 'a/b']) await expect(removeBackup(store, name)).rejects.toMatchObject({ code: 'IO' });
    expect(fs.readdirSync(store)).toEqual(['two']);
  });

  test('whose removal was interrupted is none any more, and goes with the next removal or sweep', async () => {
    const { store } = makeSite();
    putBackup(store, '.removing-one');
    expect(await storeHas(store, 'one')).toBe(false);
    await removeBackup(store, 'one');
    expect(fs.readdirSync(store)).toEqual([]);
    putBackup(store, '.removing-two');
    expect(await sweepPartials(store, () => false)).toEqual(['.removing-two']);
    expect(fs.readdirSync(store)).toEqual([]);
  });
});

test('a sweep removes what the caller knows as left over and nothing else', async () => {
  const { store } = makeSite();
  for (const name of ['one', '.partial-1', '.partial-2']) putBackup(store, name);
  expect(await sweepPartials(store, (name) => name === '.partial-1')).toEqual(['.partial-1']);
  expect(fs.readdirSync(store).sort()).toEqual(['.partial-2', 'one']);
});
