/**
 * What `faults.test.ts` tries with a directory, for a store in S3, and shorter: what goes wrong with an object store and on
 * the way to it. The whole table is `npm run bench -- --only=faults --store=S3`.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { faultsOf } from './faults/faults.ts';
import { runOnce, type Durations } from './faults/run.ts';
import { canInflict, openScene, type Scene } from './faults/scene.ts';
import { noObjectStore } from './support/object-store.ts';
import { makeBackup } from './support/site.ts';

/** What writes, what reads, and what removes; each takes about so many milliseconds. */
const DURATIONS: Durations = new Map([['backup', 1_500], ['restore', 1_000], ['delete', 300]]);
const OPERATIONS = [...DURATIONS.keys()];
const NAMES = ['the store is full', 'the store turns read-only', 'the object store is killed', 'connections are cut'];
const faults = faultsOf('S3').filter(({ name }) => NAMES.includes(name));

let scene: Scene;

describe.skipIf(!canInflict || noObjectStore !== '')('whatever goes wrong with an object store, it ends as it does with a directory', () => {
  beforeAll(async () => {
    scene = await openScene(Number(process.env['FAULT_SEED'] ?? 7), 'S3');
    // Moments are counted from what it takes once all is running.
    await makeBackup(await scene.gateway(), { name: 'first' });
  }, 120_000);
  afterAll(() => scene?.close());

  test.each(faults)('when $name', async (fault) => {
    const operation = OPERATIONS[Math.floor(scene.random() * OPERATIONS.length)] ?? 'backup';
    await runOnce(scene, DURATIONS, operation, fault, scene.random());
  }, 120_000);
});
