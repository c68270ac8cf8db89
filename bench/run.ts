/**
 * Measures a gateway in a process of its own: `npm run bench -- [--only=requests,latency,engine,faults] [--seconds=6]
 * [--connections=64] [--subscribers=1000] [--files=70000] [--megabytes=2000] [--copies=1] [--runs=5] [--seed=1]`. Prints
 * Markdown. `--only=engine --copies=10 --runs=1` is 20 GB.
 */
import { parseArgs } from 'node:util';
import { measureEngine } from './engine.ts';
import { measureFaults } from './faults.ts';
import { measureLatency } from './latency.ts';
import { measureRequests } from './requests.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'requests,latency,engine' },
    seconds: { type: 'string', default: '6' }, connections: { type: 'string', default: '64' },
    subscribers: { type: 'string', default: '1000' },
    files: { type: 'string', default: '70000' }, megabytes: { type: 'string', default: '2000' }, copies: { type: 'string', default: '1' }, runs: { type: 'string' }, seed: { type: 'string', default: '1' },
  },
});

const parts: Record<string, () => Promise<void>> = {
  requests: () => measureRequests({ seconds: Number(values.seconds), connections: Number(values.connections) }),
  latency: () => measureLatency([1, Number(values.subscribers)]),
  faults: () => measureFaults({ runs: Number(values.runs ?? 3), seed: Number(values.seed) }),
  engine: () => measureEngine({
    files: Number(values.files), megabytes: Number(values.megabytes), copies: Number(values.copies), runs: Number(values.runs ?? 5),
  }),
};

for (const name of values.only.split(',')) {
  const part = parts[name];
  if (part === undefined) throw new TypeError(`There is no part ${name}; there are ${Object.keys(parts).join(', ')}.`);
  await part();
}
