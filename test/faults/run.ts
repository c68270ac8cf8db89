/**
 * One run: an operation, a fault at a moment of it, and all that must hold afterwards.
 */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { until } from '../support/gateway.ts';
import { deleteBackup, makeBackup, pause } from '../support/site.ts';
import { faultsOf, type Fault } from './faults.ts';
import { OPERATION_NAMES, OPERATIONS, type OperationName } from './operations.ts';
import type { StoreKind } from './place.ts';
import type { Scene } from './scene.ts';

/** Each operation with each fault that can meet it in a store of this kind. */
export const tableOf = (kind: StoreKind): { operation: OperationName; fault: Fault }[] =>
  faultsOf(kind).flatMap((fault) => fault.meets.map((operation) => ({ operation, fault })));

/** How long each operation takes undisturbed, in milliseconds. */
export type Durations = Map<OperationName, number>;

/** Does each operation once without a fault: it must succeed, and its time shows where moments lie. */
export async function measure(scene: Scene): Promise<Durations> {
  const durations: Durations = new Map();
  for (const operation of OPERATION_NAMES) {
    const begun = await OPERATIONS[operation](scene);
    const begin = performance.now();
    const ending = await begun.end(await scene.gateway());
    durations.set(operation, performance.now() - begin);
    assert.deepEqual({ operation, job: ending.job, error: ending.error }, { operation, job: 'COMPLETED', error: null });
    await ending.check();
    await tidy(scene);
  }
  return durations;
}

/** What a run came to, for the bench's table. */
export interface RunResult { operation: OperationName; fault: string; ending: string; reason: string | null; seconds: number }

/**
 * Does an operation and lets the fault come at a part of the time that it takes.
 *
 * @throws where anything is not as documented: the assertion's message tells which
 */
export async function runOnce(scene: Scene, durations: Durations, operation: OperationName, fault: Fault, part: number): Promise<RunResult> {
  const started = performance.now();
  scene.refresh();
  await scene.gateway();
  // On a busy machine an object store may have been too slow for the last look.
  await storeIsReady(scene);
  const begun = await OPERATIONS[operation](scene);
  await pause(part * (durations.get(operation) ?? 0));
  await fault.inflict(scene);
  // The work meets the fault for a while before anybody comes to help.
  if (fault.isLasting === true) await begun.end(await scene.gateway());
  else await pause(scene.random() * 1_000);
  await fault.lift?.(scene);
  const gateway = await scene.gateway();
  await scene.site.expireLeases();
  const ending = await begun.end(gateway);
  if (ending.job === 'FAILED') assert.match(ending.error ?? '', /\S+ .*\S+\./s, 'a reason and what to do about it');
  await ending.check();
  await storeIsReady(scene);
  await expectNoLeftovers(scene);
  // Whatever it was, the next backup succeeds.
  if (!fs.existsSync(join(scene.live, 'users'))) scene.refresh();
  await makeBackup(gateway, { name: `after-${Date.now()}` });
  await tidy(scene);
  return { operation, fault: fault.name, ending: ending.job, reason: ending.error, seconds: (performance.now() - started) / 1000 };
}

/** In the store lies what the catalogue knows and nothing else; beside the targets and in DATA_DIR nothing at all. */
async function expectNoLeftovers(scene: Scene): Promise<void> {
  const { site } = scene;
  await until('nothing is left over', async () => (await leftovers(scene)).length === 0, scene.place.settling).catch(() => undefined);
  assert.deepEqual(await leftovers(scene), []);
  assert.deepEqual([...await site.sql`select job_id from jobs where sealed_identity is not null`], []);
}

async function leftovers(scene: Scene): Promise<string[]> {
  const drills = scene.site.at('drills');
  return [
    ...await scene.place.oddities(scene.site), ...scene.site.restoreLeftovers('live'),
    ...fs.existsSync(drills) ? fs.readdirSync(drills) : [],
  ];
}

const storeIsReady = (scene: Scene): Promise<unknown> => until('the store is ready', async () => {
  const [row] = await scene.site.sql`select status from stores`;
  return row?.['status'] === 'READY';
}, 20_000);

/** Removes the backups, so that the small disk suffices for any number of runs. */
async function tidy(scene: Scene): Promise<void> {
  const gateway = await scene.gateway();
  const { data } = await gateway.query('{ backups(first: 100, filter: { status: [SUCCESS, FAILED, MISSING] }) { nodes { id } } }');
  for (const { id } of data.backups.nodes) await deleteBackup(gateway, id);
  await until('the backups are gone', async () => (await scene.site.sql`select id from backups`).length === 0);
}
