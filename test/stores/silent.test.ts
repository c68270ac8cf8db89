/**
 * A directory store whose file system answers nothing any more, as a hard mount of a file server that is gone.
 */
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { openStore } from '../../src/engine/index.ts';
import { makePlace } from '../support/engine.ts';
import { until } from '../support/gateway.ts';
import { canSilence, silence } from '../support/silent-mount.ts';

/** What takes silent file systems away. */
const unsilence: (() => void)[] = [];
const endSilence = (): void => { for (const end of unsilence.splice(0)) end(); };
afterEach(endSilence);

describe.skipIf(!canSilence())('a store that answers nothing (needs the superuser)', () => {
  test('is UNREACHABLE, and however often it is asked, it keeps no more than one thread', async () => {
    const place = makePlace();
    const store = openStore({ type: 'DIRECTORY', path: place, s3: null });
    unsilence.push(silence(place));
    const states = await Promise.all(Array.from({ length: 40 }, () => store.check()));
    for (const state of states) expect(state).toMatchObject({ status: 'UNREACHABLE', isReadable: false, isSilent: true, detail: expect.stringContaining('did not answer within 5 s') });
    // The process has fewer threads for files than there were looks.
    expect(await Promise.race([readFile('/proc/self/comm', 'utf8'), new Promise((resolve) => setTimeout(resolve, 5_000, 'no thread is left'))])).not.toBe('no thread is left');
    const begin = performance.now();
    expect(await store.check()).toMatchObject({ isSilent: true });
    expect(performance.now() - begin).toBeLessThan(2_000);
  });

  test('is READY again once it answers, also while the kernel keeps the look at what was unmounted', async () => {
    const place = makePlace();
    const store = openStore({ type: 'DIRECTORY', path: place, s3: null });
    unsilence.push(silence(place));
    expect(await store.check()).toMatchObject({ isSilent: true });
    // What is mounted beneath another is what a lazy unmount uncovers; the look that hangs hangs on.
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', place]);
    try {
      expect(await store.check()).toMatchObject({ status: 'READY', isSilent: false });
    } finally {
      execFileSync('umount', [place]);
    }
    endSilence();
    await until('the store is READY', async () => (await store.check()).status === 'READY');
  });
});
