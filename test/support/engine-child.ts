/**
 * A process that makes a backup or a restore and kills itself, as SIGKILL does, at a given step. Run with a JSON
 * document: what to do, the plan, and the step's number (from 1; 0: never). Prints how many steps there were.
 */
import { backup, recoverRestore, restore } from '../../src/engine/index.ts';
import type { BackupPlan, RestorePlan } from '../../src/engine/index.ts';
import { DirectoryStore } from '../../src/engine/stores/directory.ts';

export type ChildOrder =
  | { work: 'backup'; store: string; plan: Omit<BackupPlan, 'store'>; killAt: number }
  | { work: 'restore'; store: string; name: string; plan: Omit<RestorePlan, 'backup'>; killAt: number }
  | { work: 'recover'; plan: Pick<RestorePlan, 'journalDir' | 'restoreKey'>; killAt: number };

const order = JSON.parse(process.argv[2] ?? '') as ChildOrder;
let steps = 0;
const onStep = async (): Promise<void> => {
  steps += 1;
  if (steps !== order.killAt) return;
  process.kill(process.pid, 'SIGKILL');
  await new Promise(() => undefined);
};
const run = { signal: new AbortController().signal, onProgress: () => undefined, beforePublish: async () => undefined, beforeSwap: async () => undefined };

process.stdout.write('started\n');
if (order.work === 'backup') await backup({ ...order.plan, store: new DirectoryStore(order.store, onStep), onStep }, run);
if (order.work === 'restore') await restore({ ...order.plan, backup: new DirectoryStore(order.store).open(order.name), onStep }, run);
if (order.work === 'recover') await recoverRestore(order.plan.journalDir, order.plan.restoreKey, { onStep });
process.stdout.write(`${steps}\n`);
