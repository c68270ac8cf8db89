/**
 * What an S3 store makes of refusals that pass: by a clock that is not the server's, of a right or a bucket that is away for a moment.
 */
import { afterEach, expect, test, vi } from 'vitest';
import { openScene, publish } from '../support/object-store-scene.ts';
import { noObjectStore } from '../support/object-store.ts';

const scene = openScene();
const story = test.skipIf(noObjectStore !== '');

afterEach(() => void vi.useRealTimers());

const moveClock = (hours: number): void => {
  vi.useFakeTimers({ toFake: ['Date'] });
  vi.setSystemTime(Date.now() + hours * 3_600_000);
};

story.for([-1, 1])(`a clock that is %i hours off is no missing right, neither for what is read nor for what is written ${noObjectStore}`, async (hours) => {
  const store = scene.newStore();
  await publish(store, 'before');
  moveClock(hours);
  // A HEAD, whose answer says nothing but 403.
  expect(await store.has('before')).toBe(true);
  await publish(store, 'after');
  vi.useRealTimers();
  // And the clock is put right again.
  expect(await store.has('after')).toBe(true);
  expect(await store.check()).toMatchObject({ status: 'READY' });
});

story(`credentials without a right are told as such, however wrong the clock ${noObjectStore}`, async () => {
  const store = scene.newStore();
  moveClock(-1);
  scene.proxy.decide = () => ({ answer: 403, code: 'AccessDenied' });
  await expect(store.has('one')).rejects.toThrow(/forbids it \(AccessDenied\)/);
});

story(`a backup that could not lose its mark when it was published loses it when the store can be written again ${noObjectStore}`, async () => {
  const store = scene.newStore();
  scene.proxy.decide = ({ line }) => (line.startsWith('DELETE') ? { answer: 403, code: 'AccessDenied' } : undefined);
  await publish(store, 'one');
  expect(await scene.contents()).toContain('one/.partial');
  scene.proxy.decide = () => undefined;
  expect(await store.check()).toMatchObject({ status: 'READY' });
  await vi.waitFor(async () => expect(await scene.contents()).toEqual(['one/a.tar.zst', 'one/b.tar.zst', 'one/manifest.json']), { timeout: 10_000 });
});

story(`a bucket that is away for a moment has not lost its backups, and a publication that failed in it leaves nothing ${noObjectStore}`, async () => {
  const store = scene.newStore();
  await publish(store, 'one');
  let heads = 0;
  scene.proxy.decide = ({ method }) => (method === 'HEAD' && ++heads === 1 ? { answer: 404, code: 'NoSuchBucket' } : undefined);
  expect(await store.has('one')).toBe(true);
  let isAway = false;
  scene.proxy.decide = ({ line }) => {
    if (isAway) return { answer: 404, code: 'NoSuchBucket' };
    isAway = line.startsWith('PUT') && line.includes('manifest.json');
    return undefined;
  };
  await expect(publish(store, 'two')).rejects.toThrow(/no bucket/);
  scene.proxy.decide = () => undefined;
  await store.check();
  await vi.waitFor(async () => expect((await scene.contents()).filter((key) => key.startsWith('two'))).toEqual([]), { timeout: 10_000 });
});
