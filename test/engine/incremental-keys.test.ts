/**
 * Encrypted backups in layers: the passcode of the last one opens all of it, with stock programs, and with nothing else.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createIdentity, drill, openIdentity, passOnKeys, verifyBackup } from '../../src/engine/index.ts';
import { withPasscode } from '../support/age.ts';
import { filesAt, has, makePlace, makeSite, storeAt } from '../support/engine.ts';
import { makeLayer } from '../support/layers.ts';
import { describeTree } from '../support/tree.ts';

const PASSCODE = 'correct horse é battery';
const [one, two, three] = await Promise.all([createIdentity(PASSCODE), createIdentity(PASSCODE), createIdentity(PASSCODE)]);
const key = ({ recipient, wrapped }: typeof one) => ({ recipient, wrappedIdentity: wrapped });

/** As docs/BACKUP-FORMAT.md tells. */
const UNPACK = `
set -euo pipefail
cd "$1"
age -d -i "$2" keys.age > "$3"
mkdir "$4"
unpack() { age -d -i "$2" -i "$3" "$1" | zstd -d | tar -xpf - -C "$4" --numeric-owner; }
unpack DATA.tar.zst.age "$2" "$3" "$4"
for update in DATA.update.*.tar.zst.age; do
  removed="\${update%.tar.zst.age}.removed.zst.age"
  if test -e "$removed"; then age -d -i "$2" -i "$3" "$removed" | zstd -d | (cd "$4" && xargs -0 rm -rf --); fi
  unpack "$update" "$2" "$3" "$4"
done
`;

async function makeChain() {
  const site = makeSite();
  const source = join(site.place, 'source');
  fs.mkdirSync(source);
  fs.writeFileSync(join(source, 'weight'), randomBytes(300_000));
  fs.writeFileSync(join(source, 'a-telling-name'), 'b');
  await makeLayer(site, source, 'one', null, { key: key(one) });
  fs.rmSync(join(source, 'a-telling-name'));
  fs.writeFileSync(join(source, 'c'), 'c');
  const keysOfTwo = await passOnKeys(one.wrapped, null, PASSCODE, two.recipient);
  await makeLayer(site, source, 'two', 'one', { key: key(two), sharedKeys: keysOfTwo! });
  fs.appendFileSync(join(source, 'c'), 'c');
  const keysOfThree = await passOnKeys(two.wrapped, keysOfTwo, PASSCODE, three.recipient);
  const third = await makeLayer(site, source, 'three', 'two', { key: key(three), sharedKeys: keysOfThree! });
  return { site, source, third };
}

test('each layer keeps its key, and the passcode of the last backup opens them all', async () => {
  const { site, third } = await makeChain();
  expect(third.manifest.archives.map(({ recipient }) => recipient)).toEqual([one.recipient, two.recipient, undefined]);
  expect(third.manifest).toMatchObject({ formatVersion: 2, encryption: { recipient: three.recipient, keysFile: 'keys.age' } });
  expect(third.sizeOnDisk).toBe(fs.readdirSync(third.location).reduce((sum, name) => sum + fs.statSync(join(third.location, name)).size, 0));
  await storeAt(site.store).remove('one');
  await storeAt(site.store).remove('two');
  const files = filesAt(join(site.store, 'three'));
  expect((await verifyBackup(files, { signal: new AbortController().signal })).details).toEqual([]);
  const identity = await openIdentity(three.wrapped, PASSCODE);
  const scratch = join(makePlace(), 'scratch');
  const result = await drill({ backup: files, groups: null, identity, scratch }, { signal: new AbortController().signal, onProgress: () => undefined });
  expect(result.files).toBeGreaterThan(2);
});

test('the identity of an earlier backup alone does not open a later one', async () => {
  const { site } = await makeChain();
  const identity = await openIdentity(one.wrapped, PASSCODE);
  const plan = { backup: filesAt(join(site.store, 'three')), groups: null, identity, scratch: join(makePlace(), 'scratch') };
  await expect(drill(plan, { signal: new AbortController().signal, onProgress: () => undefined })).rejects.toMatchObject({ code: 'KEY_REQUIRED' });
});

test('no name of a file is in the store in clear', async () => {
  const { site } = await makeChain();
  for (const name of fs.readdirSync(site.store, { recursive: true }).map((found) => join(site.store, String(found)))) {
    if (fs.statSync(name).isFile()) expect(fs.readFileSync(name).includes('a-telling-name')).toBe(false);
  }
});

test.skipIf(!has('age'))('stock age, tar and zstd open it by the passcode alone', async () => {
  const { site, source } = await makeChain();
  const place = makePlace();
  const path = join(site.store, 'three');
  withPasscode(PASSCODE, ['age', '-d', '-o', join(place, 'key.txt'), join(path, 'identity.age')]);
  execFileSync('bash', ['-c', UNPACK, 'unpack', path, join(place, 'key.txt'), join(place, 'more.txt'), join(place, 'unpacked')], { stdio: ['ignore', 'ignore', 'pipe'] });
  expect(describeTree(join(place, 'unpacked'))).toEqual(describeTree(source));
});

test('another passcode passes nothing on, and without keys nothing is shared', async () => {
  expect(await passOnKeys(one.wrapped, null, 'incorrect horse', two.recipient)).toBeNull();
  const { site, source } = await makeChain();
  const warnings: string[] = [];
  const other = await createIdentity('another passcode');
  const fourth = await makeLayer(site, source, 'four', 'three', { key: key(other), onWarning: (text) => warnings.push(text) });
  expect(fourth.manifest.archives).toHaveLength(1);
  expect(warnings).toEqual([expect.stringContaining('its passcode is another')]);
  const plain = await makeLayer(site, source, 'five', 'three', { onWarning: (text) => warnings.push(text) });
  expect(plain.manifest.archives).toHaveLength(1);
});

test('backups with one key, as a schedule makes them, need no keys besides', async () => {
  const { site, source } = await makeChain();
  fs.appendFileSync(join(source, 'c'), 'c');
  await makeLayer(site, source, 'first of schedule', null, { key: key(one) });
  fs.appendFileSync(join(source, 'c'), 'c');
  const second = await makeLayer(site, source, 'second of schedule', 'first of schedule', { key: key(one) });
  expect(second.manifest.archives.map(({ layer, recipient }) => [layer, recipient])).toEqual([[undefined, undefined], [1, undefined]]);
  expect(fs.existsSync(join(second.location, 'keys.age'))).toBe(false);
});
