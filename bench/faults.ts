/**
 * Faults at random moments: `npm run bench -- --only=faults --runs=300 [--seed=1]`. The runs go through the table, each time in
 * another order; a run that does not end as documented is told with its seed, and the bench fails.
 */
import { measure, runOnce, TABLE, type RunResult } from '../test/faults/run.ts';
import { openScene, type Scene } from '../test/faults/scene.ts';
import { printTable } from './table.ts';

export async function measureFaults({ runs, seed }: { runs: number; seed: number }): Promise<void> {
  const results: RunResult[] = [];
  const failures: string[] = [];
  let scene: Scene = await openScene(seed);
  let durations = await measure(scene);
  // In an order of its own each time: what one run leaves behind must meet every other.
  let left: (typeof TABLE)[number][] = [];
  for (let run = 0; run < runs; run += 1) {
    if (left.length === 0) left = [...TABLE];
    const [row] = left.splice(Math.floor(scene.random() * left.length), 1);
    const { operation, fault } = row!;
    const part = scene.random();
    try {
      results.push(await runOnce(scene, durations, operation, fault, part));
    } catch (error) {
      failures.push(`run ${run}: ${operation}, ${fault.name}, at ${part.toFixed(3)}: ${error instanceof Error ? error.message : String(error)}`);
      console.error(failures.at(-1));
      // What one run left must not count against the next.
      await scene.close().catch(() => undefined);
      scene = await openScene(seed + run + 1);
      durations = await measure(scene);
    }
  }
  await scene.close();
  const operations = [...new Set(TABLE.map((row) => row.operation))];
  printTable(`${results.length + failures.length} runs, seed ${seed}: ${failures.length} not as documented`, ['', ...operations],
    [...new Set(TABLE.map((row) => row.fault.name))].map((fault) => [fault, ...operations.map((operation) => {
      const endings = results.filter((result) => result.fault === fault && result.operation === operation);
      const completed = endings.filter(({ ending }) => ending === 'COMPLETED').length;
      return endings.length === 0 ? '' : `${completed} completed, ${endings.length - completed} failed`;
    })]));
  if (failures.length > 0) process.exitCode = 1;
}
