/**
 * What SIGKILL leaves, and what recovery makes of it. A work that is left waiting for ever at one of its steps is,
 * for everything on disk, a work that was killed there; so the steps are tried one by one without a process for
 * each, and real processes are killed at some of them and at moments in between.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { backup, recoverRestore, restore, verifyBackup } from '../../src/engine/index.ts';
import type { BackupPlan, RestorePlan } from '../../src/engine/index.ts';
import { DirectoryStore } from '../../src/engine/stores/directory.ts';
import { directory, FACTS, file, filesAt, leftovers, makeBackup, makeSite, storeAt } from '../support/engine.ts';
import type { Site } from '../support/engine.ts';
import type { ChildOrder } from '../support/engine-child.ts';
import { describeTree, isRoot, makeOddTree, removeTree, spoilOddTree } from '../support/tree.ts';

const canMount = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0;
/** How often a process is killed at moments spread over the whole length of its work; more of them find more. */
const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 6);
const CHILD = new URL('../support/engine-child.ts', import.meta.url).pathname;
const run = { signal: new AbortController().signal, onProgress: () => undefined, beforePublish: async () => undefined, beforeSwap: async () => undefined };

/** Starts the work and comes back when it stands still at a step (from 1), or has ended: then false. */
async function stopAt(step: number, work: (onStep: () => Promise<void>) => Promise<unknown>): Promise<boolean> {
  let count = 0;
  const stopped = Promise.withResolvers<boolean>();
  void work(async () => {
    if (++count < step) return;
    stopped.resolve(true);
    await new Promise(() => undefined);
  }).then(() => stopped.resolve(false), stopped.reject);
  return await stopped.promise;
}

function startChild(order: ChildOrder) {
  return spawn(process.execPath, [CHILD, JSON.stringify(order)], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Numbers that look random and are the same in each run. */
function* seeded(seed: number): Generator<number> {
  for (;;) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    yield seed / 2 ** 32;
  }
}

interface Scene {
  site: Site;
  plan: RestorePlan;
  /** Makes the targets as they were before the restore, whatever has become of them. */
  reset(): void;
  /** `old` or `new`, where every target is wholly that; otherwise what differs. */
  state(): string;
}

/** Few entries: each is a step, and each step is tried. */
function makeMountedTree(root: string): void {
  fs.mkdirSync(join(root, 'stays', 'empty'), { recursive: true });
  fs.writeFileSync(join(root, 'stays', 'file'), 'content');
  fs.writeFileSync(join(root, 'goes'), 'content');
  fs.writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xff, 0x0a])]), 'no UTF-8');
  fs.chmodSync(root, 0o1750);
  execFileSync('touch', ['-d', '@1234567890.987654321', root]);
}

function spoilMountedTree(root: string): void {
  fs.writeFileSync(join(root, 'stays', 'file'), 'altered');
  fs.rmSync(join(root, 'goes'));
  fs.mkdirSync(join(root, 'added'));
  fs.chmodSync(root, 0o700);
}

/** A directory, an absent one, a file, and where it can be a mount point: all in one restore. */
async function makeScene(mounted: string | null): Promise<Scene> {
  const site = makeSite();
  const odd = join(site.place, 'odd');
  const absent = join(site.place, 'absent');
  const single = join(site.place, 'single');
  const directories = mounted === null ? [odd] : [odd, mounted];
  makeOddTree(odd);
  if (mounted !== null) makeMountedTree(mounted);
  fs.mkdirSync(absent);
  fs.writeFileSync(join(absent, 'file'), 'content');
  fs.writeFileSync(single, 'content');
  const paths = [...directories, absent, single];
  const targets = paths.map((path) => ({ group: 'USERS_CONFIG' as const, source: path === single ? file(path) : directory(path) }));
  await makeBackup(site, targets);
  const backedUp = paths.map(describeTree);
  spoilOddTree(odd);
  if (mounted !== null) spoilMountedTree(mounted);
  fs.writeFileSync(single, 'altered');
  fs.rmSync(absent, { recursive: true });
  const keep = join(site.place, 'keep');
  fs.mkdirSync(keep);
  const others = [...directories, single];
  execFileSync('cp', ['-a', '--', ...others, keep]);
  const old = others.map(describeTree);
  const copies = others.map((path) => join(keep, path.split('/').at(-1) ?? ''));
  return {
    site,
    plan: { backup: storeAt(site.store).open('nightly'), groups: ['USERS_CONFIG'], targets, identity: null, journalDir: site.journals, restoreKey: 'r1' },
    reset: () => {
      for (const [index, path] of others.entries()) {
        if (path === mounted) {
          execFileSync('find', [path, '-mindepth', '1', '-delete']);
          execFileSync('cp', ['-a', '--', `${copies[index] ?? ''}/.`, path]);
        } else {
          removeTree(path);
          execFileSync('cp', ['-a', '--', copies[index] ?? '', path]);
        }
      }
      removeTree(absent);
    },
    state: () => {
      const now = paths.map((path) => (fs.existsSync(path) ? describeTree(path) : null));
      const isOld = JSON.stringify([...now.slice(0, directories.length), now.at(-1), now.at(-2)]) === JSON.stringify([...old, null]);
      if (isOld) return 'old';
      return JSON.stringify(now) === JSON.stringify(backedUp) ? 'new' : JSON.stringify(now, null, 1);
    },
  };
}

async function withScene(withMount: boolean, work: (scene: Scene) => Promise<void>): Promise<void> {
  const mounted = withMount ? fs.mkdtempSync('/tmp/engine-test-mount-') : null;
  if (mounted !== null) execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=100m', 'tmpfs', mounted]);
  try {
    await work(await makeScene(mounted));
  } finally {
    if (mounted !== null) {
      execFileSync('umount', ['--lazy', mounted]);
      fs.rmdirSync(mounted);
    }
  }
}

const OUTCOME = { none: ['old', 'new'], 'rolled-back': ['old'], 'rolled-forward': ['new'] };

describe.each([['without a mount point', false], ['with a mount point', true]])('a restore %s', (_, withMount) => {
  test.skipIf(withMount && !canMount)('killed at any step is wholly old or wholly new after its recovery', async () => {
    await withScene(withMount, async ({ plan, reset, state, site }) => {
      const outcomes: string[] = [];
      for (let step = 1; ; step += 1) {
        if (!(await stopAt(step, (onStep) => restore({ ...plan, onStep }, run)))) break;
        const recovered = await recoverRestore(plan.journalDir, plan.restoreKey);
        const found = state();
        expect(OUTCOME[recovered], `at step ${step}`).toContain(found);
        outcomes.push(recovered);
        expect(leftovers(site.place)).toEqual([]);
        expect(await recoverRestore(plan.journalDir, plan.restoreKey)).toBe('none');
        if (found === 'new') reset();
      }
      expect(state()).toBe('new');
      expect(new Set(outcomes)).toEqual(new Set(['rolled-back', 'rolled-forward', 'none']));
      // Once it goes forward it does so from every later step.
      expect(outcomes.lastIndexOf('rolled-back')).toBeLessThan(outcomes.indexOf('rolled-forward'));
    });
  });

  test.skipIf(withMount && !canMount)('whose recovery is killed again and again comes to its end', async () => {
    await withScene(withMount, async ({ plan, state, site }) => {
      const isSwapping = stopAt(withMount ? 9 : 5, (onStep) => restore({ ...plan, onStep }, run));
      expect(await isSwapping).toBe(true);
      let kills = 0;
      // An attempt that comes one to three steps far comes at least one further than the one before.
      while (await stopAt(1 + (kills % 3), (onStep) => recoverRestore(plan.journalDir, plan.restoreKey, { onStep }))) kills += 1;
      expect(kills).toBeGreaterThan(2);
      expect(state()).toBe('new');
      expect(leftovers(site.place)).toEqual([]);
    });
  });

  test.skipIf(withMount && !canMount)('killed while it goes back is wholly old after its recovery', async () => {
    await withScene(withMount, async ({ plan, state, site }) => {
      for (let step = 1; ; step += 1) {
        let steps = 0;
        let stepsBack = 0;
        const stopped = Promise.withResolvers<boolean>();
        // Fails late in the swap, then stands still some steps after that.
        const onStep = async (name: string): Promise<void> => {
          if (stepsBack === 0 && (name !== 'new content in place' || ++steps < plan.targets.length)) return;
          stepsBack += 1;
          if (stepsBack === 1) throw new Error('no further');
          if (stepsBack - 1 < step) return;
          stopped.resolve(true);
          await new Promise(() => undefined);
        };
        restore({ ...plan, onStep }, run).then(stopped.reject, () => stopped.resolve(false));
        const isStopped = await stopped.promise;
        const hasJournal = fs.existsSync(join(site.journals, 'r1.restore.json'));
        expect(await recoverRestore(plan.journalDir, plan.restoreKey)).toBe(hasJournal ? 'rolled-back' : 'none');
        expect(state(), `at step ${step}`).toBe('old');
        expect(leftovers(site.place)).toEqual([]);
        if (!isStopped) break;
      }
    });
  });
});

describe('a process killed by SIGKILL', () => {
  test('at a step of a restore or of its recovery leaves what the recovery mends', async () => {
    await withScene(false, async ({ plan, reset, state, site }) => {
      for (const killAt of [1, 2, 3, 4, 6, 9, 10]) {
        const child = startChild({ work: 'restore', store: site.store, name: 'nightly', plan, killAt });
        child.stdout.resume();
        expect((await once(child, 'exit'))[1]).toBe('SIGKILL');
        const second = startChild({ work: 'recover', plan, killAt: 1 });
        second.stdout.resume();
        await once(second, 'exit');
        const recovered = await recoverRestore(plan.journalDir, plan.restoreKey);
        const found = state();
        expect(OUTCOME[recovered]).toContain(found);
        expect(leftovers(site.place)).toEqual([]);
        if (found === 'new') reset();
      }
    });
  });

  test('at any moment of a restore leaves what the recovery mends', async () => {
    await withScene(false, async ({ plan, reset, state, site }) => {
      const whole = await timed(startChild({ work: 'restore', store: site.store, name: 'nightly', plan, killAt: 0 }), null);
      expect(state()).toBe('new');
      reset();
      const random = seeded(7);
      for (let round = 0; round < ROUNDS; round += 1) {
        await timed(startChild({ work: 'restore', store: site.store, name: 'nightly', plan, killAt: 0 }), ((round + (random.next().value as number)) / ROUNDS) * whole);
        const recovered = await recoverRestore(plan.journalDir, plan.restoreKey);
        const found = state();
        expect(OUTCOME[recovered]).toContain(found);
        expect(leftovers(site.place)).toEqual([]);
        if (found === 'new') reset();
      }
    });
  });

  test('at any moment of a backup leaves no backup that is none', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    const store = storeAt(site.store);
    const plan: Omit<BackupPlan, 'store'> = {
      name: 'nightly', attempt: 'test.1',
      archives: [{ group: 'USERS_CONFIG', source: directory(source) }], encryption: null, facts: FACTS,
    };
    const check = async (): Promise<void> => {
      const isThere = await store.has('nightly');
      expect(await store.list()).toEqual(isThere ? ['nightly'] : []);
      if (isThere) expect((await verifyBackup(filesAt(join(site.store, 'nightly')), run)).problems).toEqual([]);
      await store.sweep((attempt) => attempt === 'test.1');
      expect(fs.readdirSync(site.store)).toEqual(isThere ? ['nightly'] : []);
      fs.rmSync(join(site.store, 'nightly'), { recursive: true, force: true });
    };
    for (let step = 1; await stopAt(step, (onStep) => backup({ ...plan, store: new DirectoryStore(site.store, onStep), onStep }, run)); step += 1) await check();
    await check();
    const whole = await timed(startChild({ work: 'backup', store: site.store, plan, killAt: 0 }), null);
    await check();
    const random = seeded(11);
    for (let round = 0; round < ROUNDS; round += 1) {
      await timed(startChild({ work: 'backup', store: site.store, plan, killAt: 0 }), ((round + (random.next().value as number)) / ROUNDS) * whole);
      await check();
    }
  });

  /** Lets a child work for some milliseconds from its start on, or to its end. @returns how long that was */
  async function timed(child: ReturnType<typeof startChild>, ms: number | null): Promise<number> {
    const exit = once(child, 'exit');
    await once(child.stdout, 'data');
    const begin = performance.now();
    child.stdout.resume();
    const timer = ms === null ? undefined : setTimeout(() => child.kill('SIGKILL'), ms);
    await exit;
    clearTimeout(timer);
    return performance.now() - begin;
  }
});
