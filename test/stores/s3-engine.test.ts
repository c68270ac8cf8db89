/**
 * The engine on an S3 store: backups that are made, verified and restored, and that others can read.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { backup, createIdentity, openIdentity, readManifest, verifyBackup } from '../../src/engine/index.ts';
import { directory, FACTS, leftovers, makeBackup, makeRestore, makeSite } from '../support/engine.ts';
import { openScene } from '../support/object-store-scene.ts';
import { noObjectStore } from '../support/object-store.ts';
import { describeTree, makeOddTree, spoilOddTree } from '../support/tree.ts';

const PASSCODE = 'correct horse battery staple';
const CHILD = fileURLToPath(new URL('../support/object-store-child.ts', import.meta.url));
const scene = openScene();
const story = test.skipIf(noObjectStore !== '');
const never = (): AbortSignal => new AbortController().signal;

story.for(['plain', 'encrypted'])(`a backup in S3 is verified and restored: %s ${noObjectStore}`, async (kind) => {
  const site = makeSite();
  const store = scene.newStore();
  const target = join(site.place, 'users');
  makeOddTree(target);
  const before = describeTree(target);
  const made = kind === 'plain' ? undefined : await createIdentity(PASSCODE);
  const key = made === undefined ? undefined : { recipient: made.recipient, wrappedIdentity: made.wrapped };
  const result = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(target) }], { store, key });
  const files = ['USERS_CONFIG.tar.zst', 'manifest.json', 'manifest.sha256'];
  expect(await scene.contents()).toEqual((key === undefined ? files : ['USERS_CONFIG.tar.zst.age', 'identity.age', ...files.slice(1)]).map((file) => `nightly/${file}`));
  expect(result).toMatchObject({ location: `s3://backups/${scene.prefix()}/nightly` });
  expect(await readManifest(store.open('nightly'))).toEqual(result.manifest);
  expect(await verifyBackup(store.open('nightly'), { signal: never() })).toMatchObject({ problems: [], details: [], sizeOnDisk: result.sizeOnDisk });
  const identity = key === undefined ? null : await openIdentity(key.wrappedIdentity, PASSCODE);
  spoilOddTree(target);
  await makeRestore(site, { backup: store.open('nightly'), identity, groups: ['USERS_CONFIG'], targets: [{ group: 'USERS_CONFIG', source: directory(target) }] });
  expect(describeTree(target)).toEqual(before);
  expect(leftovers(site.place)).toEqual([]);
});

story('a verification finds a flipped byte and a missing object', async () => {
  const site = makeSite();
  const store = scene.newStore();
  const source = join(site.place, 'users');
  makeOddTree(source);
  await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }], { store });
  const key = `${scene.prefix()}/nightly/USERS_CONFIG.tar.zst`;
  const archive = await scene.server.get(key);
  archive[archive.length >> 1]! ^= 1;
  await scene.server.put(key, archive);
  expect(await verifyBackup(store.open('nightly'), { signal: never() })).toMatchObject({ problems: ['DIGEST_MISMATCH'] });
  await scene.server.delete(key);
  expect(await verifyBackup(store.open('nightly'), { signal: never() })).toMatchObject({ problems: ['FILE_MISSING'] });
  await scene.server.delete(`${scene.prefix()}/nightly/manifest.json`);
  expect(await store.list()).toEqual([]);
});

story('a byte that the server keeps wrongly makes the backup fail, and leaves nothing', async () => {
  const site = makeSite();
  const store = scene.newStore();
  const source = join(site.place, 'users');
  fs.mkdirSync(source);
  fs.writeFileSync(join(source, 'file'), 'content');
  const plan = { store, name: 'nightly', attempt: 'test.1', archives: [{ group: 'USERS_CONFIG' as const, source: directory(source) }], encryption: null, facts: FACTS };
  const spoil = async (step: string): Promise<void> => {
    if (step !== 'wrote digests') return;
    const key = `${scene.prefix()}/nightly/USERS_CONFIG.tar.zst`;
    const archive = await scene.server.get(key);
    archive[archive.length - 1]! ^= 1;
    await scene.server.put(key, archive);
  };
  const run = { signal: never(), onProgress: () => undefined, beforePublish: async () => undefined };
  await expect(backup({ ...plan, onStep: spoil }, run)).rejects.toMatchObject({ code: 'VERIFY_FAILED' });
  expect(await scene.contents()).toEqual([]);
});

story('a large object passes through little memory', () => {
  scene.newStore();
  const length = 200 * 1024 * 1024 + 12_345;
  const spec = JSON.stringify(scene.server.spec(scene.prefix()));
  const answer = execFileSync(process.execPath, [CHILD, spec, String(length)], { encoding: 'utf8', env: { ...process.env, ...scene.server.env }, timeout: 100_000 });
  const { isSame, grownBy } = JSON.parse(answer);
  expect(isSame).toBe(true);
  // Three parts of eight mebibytes, and what the runtime has not collected yet.
  expect(grownBy).toBeLessThan(120 * 1024 * 1024);
}, 120_000);
