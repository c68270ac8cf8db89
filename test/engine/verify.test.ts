import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CancelledError } from '../../src/domain/errors.ts';
import { createIdentity, readManifest, verifyBackup } from '../../src/engine/index.ts';
import { directory, filesAt, makeBackup, makeSite, progressLog } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import { makeOddTree } from '../support/tree.ts';

const signal = new AbortController().signal;
const key = await createIdentity('correct horse battery');

async function someBackup(site: Site, encrypted: boolean): Promise<string> {
  const etc = join(site.place, 'etc');
  fs.mkdirSync(etc);
  fs.writeFileSync(join(etc, 'file'), 'content');
  const backup = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(etc) }], encrypted ? { key: { recipient: key.recipient, wrappedIdentity: key.wrapped } } : {});
  return backup.location;
}

function flipBit(path: string, at: number, bit: number): void {
  const content = fs.readFileSync(path);
  content[at] = (content[at] ?? 0) ^ (1 << bit);
  fs.writeFileSync(path, content);
}

test('a whole backup has no problems', async () => {
  const site = makeSite();
  const odd = join(site.place, 'odd');
  makeOddTree(odd);
  const { location: path, manifest, sizeOnDisk } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(odd) }]);
  const { reports, onProgress } = progressLog();
  expect(await verifyBackup(filesAt(path), { signal, onProgress })).toEqual({ manifest, problems: [], details: [], sizeOnDisk });
  const [archive] = manifest.archives;
  expect(reports.at(-1)).toEqual({ bytesDone: archive?.bytes, bytesTotal: archive?.bytes, filesDone: archive?.files, filesTotal: archive?.files });
});

describe.each([['in clear', false], ['encrypted', true]])('one flipped bit in a backup %s is found', (_, encrypted) => {
  test('wherever it is', async () => {
    const site = makeSite();
    const path = await someBackup(site, encrypted);
    for (const name of fs.readdirSync(path)) {
      const file = join(path, name);
      const { size } = fs.statSync(file);
      const positions = size < 1200 ? Array.from({ length: Math.ceil(size / 7) }, (_unused, index) => index * 7) : Array.from({ length: 120 }, (_unused, index) => Math.floor((index * size) / 120));
      for (const at of positions) {
        flipBit(file, at, at % 8);
        const { problems, details } = await verifyBackup(filesAt(path), { signal });
        expect(['DIGEST_MISMATCH', 'MANIFEST_UNREADABLE', 'MANIFEST_PROPERTIES_MISSING'], `${name} at ${at}`).toContain(problems[0]);
        expect(details[0]).toContain(name === 'manifest.sha256' ? 'manifest.sha256' : name);
        flipBit(file, at, at % 8);
      }
    }
    expect((await verifyBackup(filesAt(path), { signal })).problems).toEqual([]);
  });
});

describe('a problem is named', () => {
  test.each(['USERS_CONFIG.tar.zst.age', 'identity.age', 'manifest.json', 'manifest.sha256'])('FILE_MISSING without %s', async (name) => {
    const site = makeSite();
    const path = await someBackup(site, true);
    fs.rmSync(join(path, name));
    const { problems, details } = await verifyBackup(filesAt(path), { signal });
    expect(problems).toEqual(['FILE_MISSING']);
    expect(details).toEqual([expect.stringContaining(name)]);
  });

  test('FILE_MISSING for a backup that is not there', async () => {
    const site = makeSite();
    expect(await verifyBackup(filesAt(join(site.store, 'absent')), { signal })).toMatchObject({ manifest: null, problems: ['FILE_MISSING'], sizeOnDisk: 0 });
    await expect(readManifest(filesAt(join(site.store, 'absent')))).rejects.toMatchObject({ code: 'FILE_MISSING' });
  });

  test.each(['', '{', 'null and void', '\xff'])('MANIFEST_UNREADABLE for the manifest %j', async (text) => {
    const site = makeSite();
    const path = await someBackup(site, false);
    fs.writeFileSync(join(path, 'manifest.json'), text, 'latin1');
    expect(await verifyBackup(filesAt(path), { signal })).toMatchObject({ manifest: null, problems: ['MANIFEST_UNREADABLE'] });
    await expect(readManifest(filesAt(path))).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
  });

  test('MANIFEST_PROPERTIES_MISSING for each property that is taken away', async () => {
    const site = makeSite();
    const path = await someBackup(site, false);
    const whole = JSON.parse(fs.readFileSync(join(path, 'manifest.json'), 'utf8')) as Record<string, unknown>;
    for (const property of Object.keys(whole)) {
      fs.writeFileSync(join(path, 'manifest.json'), JSON.stringify({ ...whole, [property]: undefined }));
      const { problems, details } = await verifyBackup(filesAt(path), { signal });
      expect(problems, property).toEqual(['MANIFEST_PROPERTIES_MISSING']);
      expect(details[0]).toContain(property);
      await expect(readManifest(filesAt(path))).rejects.toMatchObject({ code: 'MANIFEST_INVALID' });
    }
  });

  test('DIGEST_MISMATCH for a manifest that was edited', async () => {
    const site = makeSite();
    const path = await someBackup(site, false);
    fs.writeFileSync(join(path, 'manifest.json'), fs.readFileSync(join(path, 'manifest.json'), 'utf8').replace('"7.5.0"', '"7.6.0"'));
    expect((await verifyBackup(filesAt(path), { signal })).problems).toEqual(['DIGEST_MISMATCH']);
    await expect(readManifest(filesAt(path))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });
});

test('a store that is not there says nothing about its backups', async () => {
  const site = makeSite();
  await expect(verifyBackup(filesAt(join(site.place, 'unmounted', 'nightly')), { signal })).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
});

test('a cancelled verification ends as cancelled', async () => {
  const site = makeSite();
  const path = await someBackup(site, false);
  const abort = new AbortController();
  await expect(verifyBackup(filesAt(path), { signal: abort.signal, onProgress: () => abort.abort() })).rejects.toBeInstanceOf(CancelledError);
});
