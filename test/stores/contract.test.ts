/**
 * What the engine asks of every store, whatever it is.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openStore, type BackupFiles, type BackupWriter, type Store } from '../../src/engine/index.ts';
import { has, makePlace } from '../support/engine.ts';
import { until } from '../support/gateway.ts';
import { noObjectStore, startObjectStore, type ObjectStore } from '../support/object-store.ts';

/** One kind of store: a new one, empty, and what lies in it, whoever asks. */
interface Kind { make(): { store: Store; contents(): Promise<string[]>; lose(name: string, file: string): Promise<void> } }

const directories: Kind = {
  make() {
    const place = makePlace();
    return {
      store: openStore({ type: 'DIRECTORY', path: place, s3: null }),
      contents: async () => fs.readdirSync(place, { recursive: true }).map(String).sort(),
      lose: async (name, file) => fs.rmSync(join(place, name, file)),
    };
  },
};

let server: ObjectStore;
let count = 0;
const buckets: Kind = {
  make() {
    const prefix = `contract/${++count}`;
    return {
      store: openStore({ type: 'S3', path: '', s3: server.spec(prefix) }),
      contents: async () => (await server.contents(`${prefix}/`)).map((key) => key.slice(prefix.length + 1)),
      lose: async (name, file) => server.delete(`${prefix}/${name}/${file}`),
    };
  },
};

beforeAll(async () => {
  if (noObjectStore === '') server = await startObjectStore();
});
afterAll(() => server?.stop());

async function write(writer: BackupWriter, file: string, content: string | Buffer): Promise<void> {
  const stream = await writer.create(file);
  await pipeline([Buffer.from(content)], stream);
}

const contentOf = async (files: BackupFiles, file: string): Promise<string> => (await buffer((await files.read(file)).stream)).toString('utf8');

async function publish(store: Store, name: string, attempt = `attempt-of-${name}`): Promise<BackupWriter> {
  const writer = await store.begin(name, attempt);
  await write(writer, 'a.tar.zst', `content of ${name}`);
  await write(writer, 'manifest.sha256', 'digests');
  await writer.publish(`{"name":"${name}"}`);
  return writer;
}

// The directory store's tests need no program, but the contract is one: where tar is missing, so is the engine.
describe.each([
  { kind: 'a directory', make: directories, without: has('tar') ? '' : 'no tar' },
  { kind: 'S3', make: buckets, without: noObjectStore },
])('a store that is $kind $without', ({ make: { make }, without }) => {
  const story = test.skipIf(without !== '');

  story('is READY, and looking leaves nothing in it', async () => {
    const { store, contents } = make();
    // A busy machine's server may take longer than a look does.
    const state = await until('it is READY', async () => [await store.check()].find(({ status }) => status === 'READY'));
    expect(state).toMatchObject({ status: 'READY', detail: null });
    expect(await contents()).toEqual([]);
    expect([await store.list(), await store.has('one'), await store.open('one').sizes()]).toEqual([[], false, null]);
  });

  story('shows nothing of a backup before it is published, and all of it afterwards', async () => {
    const { store } = make();
    const writer = await store.begin('one', 'job.1');
    await write(writer, 'a.tar.zst', 'archive');
    expect([await store.list(), await store.has('one'), await store.open('one').sizes()]).toEqual([[], false, null]);
    expect(await writer.files.sizes()).toEqual(new Map([['a.tar.zst', 7]]));
    expect(await contentOf(writer.files, 'a.tar.zst')).toBe('archive');
    await writer.publish('{}');
    expect([await store.list(), await store.has('one')]).toEqual([['one'], true]);
    expect(await store.open('one').sizes()).toEqual(new Map([['a.tar.zst', 7], ['manifest.json', 2]]));
    expect([await contentOf(store.open('one'), 'a.tar.zst'), await contentOf(store.open('one'), 'manifest.json')]).toEqual(['archive', '{}']);
    expect(store.locationOf('one')).toMatch(/^(\/|s3:\/\/).*\/one$/);
  });

  story('keeps files of every length: none, one byte, and more than one part', async () => {
    const { store, contents } = make();
    const writer = await store.begin('one', 'job.1');
    const large = Buffer.alloc(20 * 1024 * 1024 + 1, 'pattern of 11');
    for (const [file, content] of [['none', Buffer.alloc(0)], ['byte', Buffer.from('x')], ['large', large]] as const) await write(writer, file, content);
    await writer.publish('{}');
    const files = store.open('one');
    expect(await files.sizes()).toEqual(new Map([['byte', 1], ['large', large.length], ['manifest.json', 2], ['none', 0]]));
    const { size, stream } = await files.read('large');
    expect([size, (await buffer(stream)).equals(large)]).toEqual([large.length, true]);
    expect(await contentOf(files, 'none')).toBe('');
    expect((await contents()).filter((name) => /upload|part|\.partial/.test(name))).toEqual([]);
  });

  story('takes every name that a backup and an attempt may have', async () => {
    const { store } = make();
    for (const name of ['a', 'A_b-c.d', 'x'.repeat(100), '0..1', 'manifest.json', 'a-', '-']) await publish(store, name, 'inst_1.job-2.3');
    expect(await store.list()).toEqual(['a', 'A_b-c.d', 'x'.repeat(100), '0..1', 'manifest.json', 'a-', '-'].sort());
    for (const name of ['', '.', '..', '.hidden', 'a/b']) {
      await expect(store.has(name)).rejects.toMatchObject({ code: 'IO' });
      await expect(store.begin(name, 'job.1')).rejects.toMatchObject({ code: 'IO' });
      await expect(store.remove(name)).rejects.toMatchObject({ code: 'IO' });
    }
    await expect(store.begin('one', 'job/1')).rejects.toMatchObject({ code: 'IO' });
  });

  story('refuses a file that is there, and says of one that is not that it is missing', async () => {
    const { store } = make();
    const writer = await store.begin('one', 'job.1');
    await write(writer, 'a', 'first');
    await expect((async () => write(writer, 'a', 'second'))()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(await contentOf(writer.files, 'a')).toBe('first');
    await expect(writer.files.read('b')).rejects.toMatchObject({ code: 'FILE_MISSING', hint: expect.stringMatching(/./) });
    await expect(store.open('absent').read('b')).rejects.toMatchObject({ code: 'FILE_MISSING' });
    expect(await writer.discard()).toBeNull();
  });

  story('takes nothing of a file whose stream is destroyed', async () => {
    const { store, contents } = make();
    const writer = await store.begin('one', 'job.1');
    for (const [file, length] of [['short', 10], ['long', 20 * 1024 * 1024]] as const) {
      const stream = (await writer.create(file)).on('error', () => undefined);
      stream.write(Buffer.alloc(length));
      stream.destroy(new Error('given up'));
      await new Promise((resolve) => { stream.on('close', resolve); });
    }
    expect(await writer.files.sizes()).toEqual(new Map());
    expect(await writer.discard()).toBeNull();
    expect(await contents()).toEqual([]);
  });

  story('gives back all room of a backup that is discarded, also in the middle of a file', async () => {
    const { store, contents } = make();
    const writer = await store.begin('one', 'job.1');
    await write(writer, 'a', 'archive');
    const open = (await writer.create('b')).on('error', () => undefined);
    open.write(Buffer.alloc(9 * 1024 * 1024));
    expect(await writer.discard()).toBeNull();
    expect([await contents(), await store.sweep(() => true)]).toEqual([[], []]);
    open.destroy();
  });

  story('removes a backup, once and again, and no other', async () => {
    const { store } = make();
    await publish(store, 'one');
    await publish(store, 'one-more');
    await store.remove('one');
    await store.remove('one');
    await store.remove('absent');
    expect([await store.list(), await store.open('one').sizes()]).toEqual([['one-more'], null]);
    expect(await contentOf(store.open('one-more'), 'a.tar.zst')).toBe('content of one-more');
  });

  story('removes a backup of which files are missing', async () => {
    const { store, contents, lose } = make();
    await publish(store, 'one');
    await lose('one', 'manifest.json');
    expect([await store.has('one'), [...(await store.open('one').sizes())!.keys()].sort()]).toEqual([false, ['a.tar.zst', 'manifest.sha256']]);
    await store.remove('one');
    expect(await contents()).toEqual([]);
  });

  story('is swept of the attempts that are named, and of nothing else', async () => {
    const { store, contents } = make();
    await publish(store, 'done', 'inst.1.1');
    for (const [name, attempt] of [['dead', 'inst.2.1'], ['alive', 'inst.3.1']] as const) await write(await store.begin(name, attempt), 'a', name);
    const asked: string[] = [];
    expect(await store.sweep((attempt) => asked.push(attempt) === 0)).toEqual([]);
    expect(asked.sort()).toEqual(['inst.2.1', 'inst.3.1']);
    expect(await store.sweep((attempt) => attempt === 'inst.2.1')).toHaveLength(1);
    expect((await contents()).filter((name) => /dead|inst\.2/.test(name))).toEqual([]);
    expect((await contents()).filter((name) => /alive|inst\.3/.test(name)).length).toBeGreaterThan(0);
    expect(await store.list()).toEqual(['done']);
  });

  story('lets an attempt that was swept away publish nothing', async () => {
    const { store, contents } = make();
    const writer = await store.begin('one', 'job.1');
    await write(writer, 'a', 'archive');
    await store.sweep(() => true);
    await expect(writer.publish('{}')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await writer.discard();
    expect([await store.list(), await contents()]).toEqual([[], []]);
  });
});
