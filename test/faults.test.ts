/**
 * A short selection of what `npm run bench -- --only=faults` tries at hundreds of random moments: each fault once, on
 * an operation and at a moment that follow from a seed.
 */
import { afterAll, beforeAll, describe, test } from 'vitest';
import { faultsOf } from './faults/faults.ts';
import { measure, runOnce, type Durations } from './faults/run.ts';
import { canInflict, openScene, type Scene } from './faults/scene.ts';

let scene: Scene;
let durations: Durations;

describe.skipIf(!canInflict)('whatever goes wrong, it ends in a documented status, leaves nothing behind, and the next backup succeeds', () => {
  beforeAll(async () => {
    scene = await openScene(Number(process.env['FAULT_SEED'] ?? 7));
    durations = await measure(scene);
  }, 120_000);
  afterAll(() => scene?.close());

  test.each(faultsOf('DIRECTORY'))('when $name', async (fault) => {
    const operation = fault.meets[Math.floor(scene.random() * fault.meets.length)] ?? 'backup';
    await runOnce(scene, durations, operation, fault, scene.random());
  }, 120_000);
});
