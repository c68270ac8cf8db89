import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { verifyBackup } from '../../src/engine/index.ts';
import { forgeBackup, ROOT, tarOf } from '../support/archives.ts';
import type { Member } from '../support/archives.ts';
import { directory, file, filesAt, leftovers, makeRestore, makeSite } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import { describeTree } from '../support/tree.ts';

function prepare(): Site & { target: string; outside: string } {
  const site = makeSite();
  const [target, outside] = [join(site.place, 'target'), join(site.place, 'outside')];
  fs.mkdirSync(target);
  fs.writeFileSync(join(target, 'old'), 'old content');
  fs.mkdirSync(outside);
  fs.writeFileSync(join(outside, 'secret'), 'secret');
  return { ...site, target, outside };
}

/** Restores the archive and expects that it is refused, that nothing has changed anywhere, and nothing is left. */
async function expectRefusal(tar: Buffer, type: 'DIRECTORY' | 'FILE' = 'DIRECTORY'): Promise<void> {
  const site = prepare();
  forgeBackup(join(site.store, 'nightly'), tar, { type });
  const before = describeTree(site.place);
  const target = type === 'FILE' ? file(join(site.target, 'old')) : directory(site.target);
  await expect(makeRestore(site, { groups: ['USERS_CONFIG'], targets: [{ group: 'USERS_CONFIG', source: target }] }))
    .rejects.toMatchObject({ name: 'EngineError', code: 'ARCHIVE_UNSAFE' });
  const after = describeTree(site.place);
  expect(leftovers(site.place)).toEqual([]);
  for (const tree of [before, after]) {
    // Unpacking beside the target changes the times of the directory that both lie in, and of nothing else.
    delete tree['.'];
    if (type === 'FILE') delete tree['./target'];
    delete tree['./journals'];
  }
  expect(after).toEqual(before);
}

const dir = (name: string): Member => ({ name, type: '5', mode: 0o755 });
const link = (name: string, to: string): Member => ({ name, type: '2', link: to });
const hard = (name: string, to: string): Member => ({ name, type: '1', link: to });
const plain = (name: string, more: Partial<Member> = {}): Member => ({ name, content: 'evil', ...more });

describe('an archive is refused whose member', () => {
  test.each<[string, Member[]]>([
    ['has an absolute name', [ROOT, plain('/tmp/evil')]],
    ['climbs out by ..', [ROOT, plain('./../outside/secret')]],
    ['climbs out by .. in the middle', [ROOT, dir('./a/'), plain('./a/../../outside/secret')]],
    ['is called ..', [ROOT, dir('../')]],
    ['climbs out by an extended name', [ROOT, plain('./harmless', { pax: { path: '../outside/secret' } })]],
    ['climbs out by the name of a file with holes', [ROOT, plain('./harmless', { pax: { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': '../outside/secret', 'GNU.sparse.realsize': '4' } })]],
    ['has a zero byte in its name', [ROOT, plain('./harmless', { pax: { path: './a\0/../../outside/secret' } })]],
    ['goes through a link to a directory', [ROOT, link('./a', '../outside'), plain('./a/secret')]],
    ['goes through an absolute link', [ROOT, link('./a', '/tmp'), plain('./a/evil')]],
    ['turns a link into a directory', [ROOT, link('./a', '../outside'), dir('./a/'), plain('./a/secret')]],
    ['turns a directory into a link', [ROOT, dir('./a/'), link('./a', '../outside'), plain('./a/secret')]],
    ['writes to a link', [ROOT, link('./a', '../outside/secret'), plain('./a')]],
    ['goes through a hard link to a link', [ROOT, link('./a', '../outside'), hard('./b', './a'), plain('./b/secret')]],
    ['writes to a hard link to a link', [ROOT, link('./a', '../outside/secret'), hard('./b', './a'), plain('./b')]],
    ['is a hard link to an absolute name', [ROOT, hard('./a', '/etc/passwd')]],
    ['is a hard link to the outside', [ROOT, hard('./a', '../outside/secret')]],
    ['is a hard link to the outside by an extended name', [ROOT, { ...hard('./a', './harmless'), pax: { linkpath: '../outside/secret' } }]],
    ['is a hard link through a link', [ROOT, link('./a', '../outside'), hard('./b', './a/secret')]],
    ['is a hard link to a directory', [ROOT, dir('./a/'), hard('./b', './a')]],
    ['lies in no directory of the archive', [ROOT, plain('./absent/evil')]],
    ['comes before the root', [plain('./evil'), ROOT]],
    ['is a link for a root', [link('.', '../outside')]],
    ['is of a kind of GNU tar alone', [ROOT, { name: './a', type: 'L', content: '../outside/secret\0' }, plain('./b')]],
    ['is a volume that goes on', [ROOT, { name: './a', type: 'M', content: 'x' }]],
    ['is a directory list of an incremental dump', [ROOT, { name: './a/', type: 'D', content: 'Ra\0Tb\0\0' }]],
    ['is a setting for all that follow', [ROOT, { name: 'g', type: 'g', content: '30 path=../outside/secret1234\n' }, plain('./b')]],
    ['is a directory with content', [ROOT, { name: './a/', type: '5', content: 'x' }]],
    ['is a file that is named like a directory', [ROOT, plain('./a/', { content: '' })]],
    ['is not of the POSIX format', [ROOT, plain('./a', { magic: 'ustar  \0' })]],
    ['has an unknown extended property', [ROOT, plain('./a', { pax: { 'GNU.volume.filename': '../outside/secret' } })]],
    ['has holes in an unknown format', [ROOT, plain('./a', { pax: { 'GNU.sparse.map': '0,4', 'GNU.sparse.name': 'x' } })]],
    ['has an impossible length', [ROOT, plain('./a', { pax: { size: '-1' } })]],
    ['hides behind a shorter length', [ROOT, plain('./a', { size: 0, content: '../outside/secret' })]],
  ])('%s', async (_, members) => {
    await expectRefusal(tarOf(members));
  });

  test('goes on after the end mark', async () => {
    await expectRefusal(Buffer.concat([tarOf([ROOT]), tarOf([plain('../outside/secret')])]));
  });

  test('is missing, the end with it', async () => {
    await expectRefusal(tarOf([ROOT, plain('./a')], false));
  });

  test('is not the one file that it should be', async () => {
    await expectRefusal(tarOf([link('a', '/etc/passwd')]), 'FILE');
    await expectRefusal(tarOf([plain('a'), plain('b')]), 'FILE');
    await expectRefusal(tarOf([plain('../a')]), 'FILE');
    await expectRefusal(tarOf([dir('a/')]), 'FILE');
    await expectRefusal(tarOf([]), 'FILE');
  });

  test('has a header with a wrong check sum', async () => {
    const tar = tarOf([ROOT, plain('./a')]);
    tar[512] = 0x62;
    await expectRefusal(tar);
  });
});

test('links that lead anywhere are restored as links, and nothing is written through them', async () => {
  const site = prepare();
  const tar = tarOf([ROOT, link('./a', '../outside/secret'), link('./b', '/etc'), hard('./c', './a'), dir('./d/'), plain('./d/file')]);
  forgeBackup(join(site.store, 'nightly'), tar, { files: 4, directories: 2 });
  await makeRestore(site, { groups: ['USERS_CONFIG'], targets: [{ group: 'USERS_CONFIG', source: directory(site.target) }] });
  expect(fs.readdirSync(site.target).sort()).toEqual(['a', 'b', 'c', 'd']);
  expect([fs.readlinkSync(join(site.target, 'a')), fs.readlinkSync(join(site.target, 'b')), fs.readlinkSync(join(site.target, 'c'))]).toEqual(['../outside/secret', '/etc', '../outside/secret']);
  expect(fs.readFileSync(join(site.outside, 'secret'), 'utf8')).toBe('secret');
});

test.each(['../evil.tar.zst', '/etc/passwd', '.hidden', 'a/b', ''])('a manifest that calls its archive %j lacks properties', async (name) => {
  const site = prepare();
  const path = join(site.store, 'nightly');
  forgeBackup(path, tarOf([ROOT]));
  fs.writeFileSync(join(path, 'manifest.json'), fs.readFileSync(join(path, 'manifest.json'), 'utf8').replace('"USERS_CONFIG.tar.zst"', JSON.stringify(name)));
  const found = await verifyBackup(filesAt(path), { signal: new AbortController().signal });
  expect(found).toMatchObject({ manifest: null, problems: ['MANIFEST_PROPERTIES_MISSING'] });
});

test('an archive that is a link or a FIFO in the store is refused, not followed', async () => {
  for (const kind of ['link', 'fifo']) {
    const site = prepare();
    const path = join(site.store, 'nightly');
    forgeBackup(path, tarOf([ROOT]));
    const archive = join(path, 'USERS_CONFIG.tar.zst');
    fs.renameSync(archive, join(site.place, 'elsewhere'));
    if (kind === 'link') fs.symlinkSync(join(site.place, 'elsewhere'), archive);
    else execFileSync('mkfifo', [archive]);
    const found = await verifyBackup(filesAt(path), { signal: new AbortController().signal });
    expect(found.problems).toEqual(['DIGEST_MISMATCH']);
  }
});
