/**
 * What happens between an S3 store and its server, and what is left of it.
 */
import { once } from 'node:events';
import { buffer } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import type { Store } from '../../src/engine/index.ts';
import { TIMES } from '../../src/engine/stores/s3-bucket.ts';
import { startProxy, type Mischief } from '../support/object-store-proxy.ts';
import { HASTE, LARGE, openScene, publish, write } from '../support/object-store-scene.ts';
import { noObjectStore } from '../support/object-store.ts';

const scene = openScene();

/** Does something to the first request of each kind that matches, and notes it. */
function strikeOnce(lines: RegExp, mischief: Mischief): string[] {
  const met: string[] = [];
  scene.proxy.decide = ({ line }) => {
    const kind = line.replace(/uploadId=[^&]*/, '').replace(/x-id=\w+/, '');
    if (!lines.test(line) || met.includes(kind)) return undefined;
    met.push(kind);
    return mischief;
  };
  return met;
}

const story = test.skipIf(noObjectStore !== '');

describe(`an S3 store gets over ${noObjectStore}`, () => {
  const KINDS = /^(PUT|POST|DELETE|GET|HEAD) /;

  story.for<[string, Mischief, RegExp]>([
    ['connections that end', 'cut', KINDS],
    ['answers that are lost', 'lose the answer', KINDS],
    ['a server that is busy', { answer: 503, code: 'SlowDown' }, KINDS],
    ['bytes that change on their way', 'flip a byte', /^PUT .*(zst|json)/],
  ])('%s', async ([, mischief, lines]) => {
    const store = scene.newStore();
    const met = strikeOnce(lines, mischief);
    await publish(store, 'one', 'job.1', LARGE);
    expect(met.length).toBeGreaterThan(3);
    met.length = 0;
    expect([await store.list(), await store.has('one')]).toEqual([['one'], true]);
    expect((await buffer((await store.open('one').read('a.tar.zst')).stream)).equals(LARGE)).toBe(true);
    expect(await scene.contents()).toEqual(['one/a.tar.zst', 'one/b.tar.zst', 'one/manifest.json']);
    await store.remove('one');
    expect(await scene.contents()).toEqual([]);
  });

  story('a server without conditional writes, and overwrites nothing there either', async () => {
    const store = scene.newStore();
    scene.proxy.decide = ({ headers }) => (headers['if-none-match'] === undefined ? undefined : { answer: 501, code: 'NotImplemented' });
    await publish(store, 'one', 'job.1', LARGE);
    expect(await scene.contents()).toEqual(['one/a.tar.zst', 'one/b.tar.zst', 'one/manifest.json']);
    const writer = await store.begin('two', 'job.1');
    await scene.server.put(`${scene.prefix()}/two/a`, 'not mine');
    await expect(write(writer, 'a', 'mine')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', message: expect.stringContaining('already holds') });
    expect(String(await scene.server.get(`${scene.prefix()}/two/a`))).toBe('not mine');
  });

  story('a connection that ends in the middle of a read, again and again', async () => {
    const store = scene.newStore();
    await publish(store, 'one', 'job.1', LARGE);
    scene.proxy.decide = ({ line }) => (/^GET .*a\.tar/.test(line) ? { cutAfter: 3_000_000 } : undefined);
    const { size, stream } = await store.open('one').read('a.tar.zst');
    expect([size, (await buffer(stream)).equals(LARGE)]).toEqual([LARGE.length, true]);
    expect(scene.proxy.seen.filter((line) => /^GET .*a\.tar/.test(line)).length).toBeGreaterThan(3);
  });

  story('a reader that is slower than the server waits', async () => {
    const store = scene.newStore({}, HASTE);
    await publish(scene.sameStore(), 'one', 'job.1', LARGE);
    const { stream } = await store.open('one').read('a.tar.zst');
    const pieces: Buffer[] = [];
    for await (const piece of stream) {
      pieces.push(piece as Buffer);
      if (pieces.length === 3) await once(stream, 'never', { signal: AbortSignal.timeout(3 * HASTE.silence) }).catch(() => undefined);
    }
    expect(Buffer.concat(pieces).equals(LARGE)).toBe(true);
  });
});

/** Some hundred requests, which take minutes on a machine that is busy with other things. */
const PATIENCE = 240_000;

describe(`whatever request a process dies at ${noObjectStore}`, () => {
  /** A store of which `allowed` requests pass, as if its process had been killed at the next; whether it was. */
  async function mortalStore(allowed: number, act: (store: Store) => Promise<void>): Promise<boolean> {
    const way = await startProxy(scene.server.url);
    way.decide = () => (way.seen.length > allowed ? 'cut' : undefined);
    await act(scene.newStore({ endpoint: way.url }, { ...TIMES, patience: 0, tries: 1 })).catch(() => undefined);
    await way.stop();
    return way.seen.length > allowed;
  }

  story('a backup is whole or swept away without a trace', async () => {
    let published = 0;
    for (let allowed = 0, isOver = false; !isOver; allowed += 1) {
      isOver = !await mortalStore(allowed, async (store) => {
        const writer = await store.begin('one', 'job.1');
        await write(writer, 'a.tar.zst', LARGE);
        await writer.publish('{}');
      });
      const other = scene.sameStore();
      const isThere = await other.has('one');
      expect(await other.sweep(() => false)).toEqual([]);
      await other.sweep((attempt) => attempt === 'job.1');
      expect([allowed, await scene.contents(), await other.list()]).toEqual([allowed, ...(isThere ? [['one/a.tar.zst', 'one/manifest.json'], ['one']] : [[], []])]);
      if (isThere) published += 1;
    }
    expect(published).toBeGreaterThan(1);
  }, PATIENCE);

  story('a removal is finished by the next one, or by a sweep, and no half of a backup is taken for one', async () => {
    let halves = 0;
    for (let allowed = 0, isOver = false; !isOver; allowed += 1) {
      isOver = !await mortalStore(allowed, async (store) => {
        for (const file of ['a.tar.zst', 'manifest.json']) await scene.server.put(`${scene.prefix()}/one/${file}`, file);
        await store.remove('one');
      });
      const other = scene.sameStore();
      const left = await scene.contents();
      const isWhole = left.includes('one/a.tar.zst') && left.includes('one/manifest.json');
      expect([allowed, await other.has('one'), await other.list()]).toEqual([allowed, isWhole, isWhole ? ['one'] : []]);
      if (!isWhole && left.length > 0) halves += 1;
      const isBegun = left.includes('one/.removing');
      const finish = allowed % 2 === 0 ? 'remove' : 'sweep';
      await (finish === 'remove' ? other.remove('one') : other.sweep(() => false));
      expect([allowed, await scene.contents()]).toEqual([allowed, finish === 'remove' || isBegun ? [] : left]);
    }
    expect(halves).toBeGreaterThan(1);
  }, PATIENCE);
});

story(`a backup that is published while a sweep is about to remove it stays, whole ${noObjectStore}`, async () => {
  const store = scene.newStore();
  const writer = await scene.sameStore().begin('one', 'job.1');
  await write(writer, 'a.tar.zst', 'archive');
  scene.proxy.decide = async ({ line }) => {
    if (/^PUT .*\.removing/.test(line)) await writer.publish('{}');
    return undefined;
  };
  expect(await store.sweep(() => true)).toEqual([]);
  expect([await store.list(), await scene.contents()]).toEqual([['one'], ['one/a.tar.zst', 'one/manifest.json']]);
});
