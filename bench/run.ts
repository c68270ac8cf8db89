/**
 * Measures a gateway in a process of its own: `npm run bench -- [--only=requests,latency,feed,feed-rate,feed-table,engine,incremental,faults] [--seconds=6]
 * [--connections=64] [--subscribers=1000] [--all=5000] [--own=10000] [--parts=all,own,storm] [--rows=10000000] [--files=70000] [--megabytes=2000] [--copies=1] [--alone] [--runs=5] [--seed=1]
 * [--store=DIRECTORY|S3]`. Prints Markdown. `--only=engine --copies=10 --runs=1 --alone` is 20 GB, of which
 * the disk must hold two and a half times as much.
 */
import { parseArgs } from 'node:util';
import { measureEngine } from './engine.ts';
import { measureFaults } from './faults.ts';
import { measureFeedRate } from './feed-rate.ts';
import { measureFeed } from './feed.ts';
import { measureFeedTable } from './feed-table.ts';
import { measureIncremental } from './incremental.ts';
import { measureLatency } from './latency.ts';
import { measureRequests } from './requests.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'requests,latency,engine' },
    seconds: { type: 'string', default: '6' }, connections: { type: 'string', default: '64' },
    subscribers: { type: 'string', default: '1000' },
    all: { type: 'string', default: '5000' }, own: { type: 'string', default: '10000' }, parts: { type: 'string', default: '' },
    rows: { type: 'string', default: '10000000' },
    files: { type: 'string', default: '70000' }, megabytes: { type: 'string', default: '2000' }, copies: { type: 'string', default: '1' }, alone: { type: 'boolean', default: false }, runs: { type: 'string' }, seed: { type: 'string', default: '1' },
    store: { type: 'string', default: 'DIRECTORY' },
  },
});

const parts: Record<string, () => Promise<void>> = {
  requests: () => measureRequests({ seconds: Number(values.seconds), connections: Number(values.connections) }),
  latency: () => measureLatency([1, Number(values.subscribers)]),
  feed: () => measureFeed({ all: Number(values.all), own: Number(values.own), seconds: Number(values.seconds), only: values.parts === '' ? [] : values.parts.split(',') }),
  'feed-table': () => measureFeedTable({ rows: Number(values.rows), seconds: Number(values.seconds) }),
  'feed-rate': () => measureFeedRate({ seconds: Number(values.seconds), sessions: [1, 8, 32] }),
  faults: () => measureFaults({ runs: Number(values.runs ?? 3), seed: Number(values.seed), store: storeKind(values.store) }),
  engine: () => measureEngine({
    files: Number(values.files), megabytes: Number(values.megabytes), copies: Number(values.copies), isAlone: values.alone, runs: Number(values.runs ?? 5),
  }),
  incremental: () => measureIncremental({ files: Number(values.files), megabytes: Number(values.megabytes), runs: Number(values.runs ?? 5) }),
};

function storeKind(name: string): 'DIRECTORY' | 'S3' {
  if (name !== 'DIRECTORY' && name !== 'S3') throw new TypeError(`There is no type of store ${name}; there are DIRECTORY and S3.`);
  return name;
}

for (const name of values.only.split(',')) {
  const part = parts[name];
  if (part === undefined) throw new TypeError(`There is no part ${name}; there are ${Object.keys(parts).join(', ')}.`);
  await part();
}
