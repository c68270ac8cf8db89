/**
 * What SIGKILL at each step of an incremental backup leaves: a base that is untouched, and an index that is true.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { verifyBackup } from '../../src/engine/index.ts';
import { directory, FACTS, filesAt, makeSite, storeAt } from '../support/engine.ts';
import type { ChildOrder } from '../support/engine-child.ts';
import { makeLayer, unpackByHand } from '../support/layers.ts';
import { describeTree } from '../support/tree.ts';

const CHILD = new URL('../support/engine-child.ts', import.meta.url).pathname;

test('killed at any step, it leaves its base whole, and the next one is right', async () => {
  const site = makeSite();
  const source = join(site.place, 'source');
  fs.mkdirSync(source);
  fs.writeFileSync(join(source, 'weight'), randomBytes(300_000));
  const incremental = (base: string) => ({ directory: join(site.place, 'indexes'), base, sharedKeys: null, minimumBytes: 0 });
  await makeLayer(site, source, 'base-0', null);
  let base = 'base-0';
  let isDone = false;
  let sharing = 0;
  for (let step = 1; !isDone; step += 1) {
    fs.writeFileSync(join(source, 'changed'), `before step ${step}`);
    fs.writeFileSync(join(source, `added-${step}`), '');
    const order: ChildOrder = {
      work: 'backup', store: site.store, killAt: step,
      plan: { name: `killed-${step}`, attempt: `killed.${step}`, archives: [{ group: null, source: directory(source) }], encryption: null, facts: FACTS, incremental: incremental(base) },
    };
    const [code] = await once(spawn(process.execPath, [CHILD, JSON.stringify(order)], { stdio: ['ignore', 'ignore', 'inherit'] }), 'exit');
    isDone = code === 0;
    await storeAt(site.store).sweep(() => true);
    // Published and killed before it could say so: the worker removes such a one, and its index is nobody's.
    await storeAt(site.store).remove(`killed-${step}`);
    fs.rmSync(join(source, `added-${step}`));
    const next = await makeLayer(site, source, `base-${step}`, base);
    sharing += next.manifest.archives.length > 1 ? 1 : 0;
    base = `base-${step}`;
    for (const name of (await storeAt(site.store).list()).slice(-2)) {
      expect((await verifyBackup(filesAt(join(site.store, name)), { signal: new AbortController().signal })).details).toEqual([]);
    }
    unpackByHand(join(site.store, base), join(site.place, 'unpacked'));
    expect(describeTree(join(site.place, 'unpacked'))).toEqual(describeTree(source));
  }
  expect(sharing).toBeGreaterThan(5);
  expect(fs.readdirSync(join(site.place, 'indexes')).filter((name) => name.startsWith('.'))).toEqual([]);
}, 60_000);
