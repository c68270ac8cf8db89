/**
 * A process that restores USERS_CONFIG from the backup `nightly` and kills itself, as SIGKILL does, at a given step (from
 * 1). Prints the name of each step that it comes to.
 */
import { writeSync } from 'node:fs';
import { openStore, restore } from '../../src/engine/index.ts';
import type { RestorePlan } from '../../src/engine/index.ts';

const order = JSON.parse(process.argv[2] ?? '') as Pick<RestorePlan, 'journalDir' | 'restoreKey' | 'targets'> & { store: string; killAt: number };
let steps = 0;
await restore({
  backup: openStore({ type: 'DIRECTORY', path: order.store, s3: null }).open('nightly'), groups: ['USERS_CONFIG'], identity: null, ...order,
  async onStep(step) {
    writeSync(1, `${step}\n`);
    steps += 1;
    if (steps !== order.killAt) return;
    process.kill(process.pid, 'SIGKILL');
    await new Promise(() => undefined);
  },
}, { signal: new AbortController().signal, onProgress: () => undefined, beforeSwap: async () => undefined });
