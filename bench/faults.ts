/**
 * Faults at random moments: `npm run bench -- --only=faults --runs=300 [--seed=1] [--store=S3]`. The runs go
 * through the table, each time in another order; a run that does not end as documented is told with its seed, and the bench fails.
 */
import type { StoreKind } from '../test/faults/place.ts';
import { measure, runOnce, tableOf, type RunResult } from '../test/faults/run.ts';
import { openScene, type Scene } from '../test/faults/scene.ts';
import { printTable } from './table.ts';

/** The object store for tests ends after half an hour, whoever has forgotten it. */
const LONGEST_SCENE_MS = 20 * 60_000;

export async function measureFaults({ runs, seed, store }: { runs: number; seed: number; store: StoreKind }): Promise<void> {
  const table = tableOf(store);
  const results: RunResult[] = [];
  const failures: string[] = [];
  let scene: Scene = await openScene(seed, store);
  let openedAt = performance.now();
  let durations = await measure(scene);
  const reopen = async (run: number): Promise<void> => {
    await scene.close().catch(() => undefined);
    scene = await openScene(seed + run + 1, store);
    openedAt = performance.now();
    durations = await measure(scene);
  };
  // In an order of its own each time: what one run leaves behind must meet every other.
  let left: typeof table = [];
  for (let run = 0; run < runs; run += 1) {
    if (left.length === 0) left = [...table];
    const [row] = left.splice(Math.floor(scene.random() * left.length), 1);
    const { operation, fault } = row!;
    const part = scene.random();
    try {
      results.push(await runOnce(scene, durations, operation, fault, part));
    } catch (error) {
      failures.push(`run ${run}: ${operation}, ${fault.name}, at ${part.toFixed(3)}: ${error instanceof Error ? error.message : String(error)}`);
      console.error(failures.at(-1));
      // What one run left must not count against the next.
      await reopen(run);
    }
    if (performance.now() - openedAt > LONGEST_SCENE_MS) await reopen(run);
  }
  await scene.close();
  const operations = [...new Set(table.map((row) => row.operation))];
  printTable(`${store}: ${results.length + failures.length} runs, seed ${seed}: ${failures.length} not as documented`, ['', ...operations],
    [...new Set(table.map((row) => row.fault.name))].map((fault) => [fault, ...operations.map((operation) => {
      const endings = results.filter((result) => result.fault === fault && result.operation === operation);
      const completed = endings.filter(({ ending }) => ending === 'COMPLETED').length;
      return endings.length === 0 ? '' : `${completed} completed, ${endings.length - completed} failed`;
    })]));
  printTable('Reasons that failed jobs gave', ['Fault', 'Reason', 'Jobs'], reasonsOf(results));
  if (failures.length > 0) process.exitCode = 1;
}

/** Each reason once for each fault, names and numbers apart. */
function reasonsOf(results: readonly RunResult[]): string[][] {
  const counts = new Map<string, number>();
  for (const { fault, reason } of results) {
    if (reason === null) continue;
    const key = JSON.stringify([fault, reason.replaceAll(/fault-\d+-\d+/g, 'NAME').replaceAll(/\d{2,}/g, '…')]);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, count]) => [...JSON.parse(key) as string[], String(count)]).sort();
}
