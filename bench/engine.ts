/**
 * Backup and restore of a generated tree through the gateway, from the request to SUCCESS: so with the reading back
 * of each backup, and with the removal of what a restore replaces. Beside each, in the same run and one after the other,
 * what a person would type: GNU tar, zstd -3 and age, and the sync without which nothing of it is sure to last.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGatewayProcess, type GatewayProcess } from '../test/support/gateway.ts';
import { nodeOptions } from './gateway.ts';
import { watchPeak, type Peak } from './memory.ts';
import { printTable, quantile } from './table.ts';
import { makeTree } from './tree.ts';

const PASSCODE = 'a passcode of the bench';
/** A group that is restored alone, and what lies beside it. */
const GROUP = { name: 'USERS_CONFIG', directory: 'group', megabytes: 79, share: 79 / 2000 };
/**
 * After so long a removal is over. On ext4 that passes what is freed on to its disk, the same `tar -x` takes three times as
 * long right after the removal of a large tree: nothing is measured right after one, but for the gateway's own.
 */
const SETTLING_MS = 10_000;
const REST = { name: 'DEPLOYMENT_CONFIG', directory: 'rest' };

export interface EngineSize {
  files: number;
  megabytes: number;
  runs: number;
  /** How often the tree is there: the same files again, so that a large tree needs no long time to make. */
  copies: number;
  /** Without the commands by hand, for a tree that the disk does not hold once more. */
  isAlone: boolean;
}

interface Measured {
  what: string;
  target: string;
  seconds: number[];
  /** Of the command beside it. */
  command: number[];
  bytes: number;
  peaks: Peak[];
}

export async function measureEngine(size: EngineSize): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'backup-gateway-bench-'));
  try {
    const bytes = await makeTrees(directory, size);
    const rows = await measure(directory, size, bytes);
    printTable(
      `${size.files * size.copies} files, ${(bytes.all / 1e6).toFixed(0)} MB, of which ${(bytes.group / 1e6).toFixed(0)} MB in a group of their own; ${size.runs} runs`,
      ['', 'seconds, median', 'MB/s', 'by hand, seconds', 'speed of the gateway by hand = 1', 'target', 'gateway peak MB', 'largest child peak MB'],
      rows.map(({ what, target, seconds, command, bytes: moved, peaks }) => {
        const [own, byHand] = [quantile(seconds, 0.5), quantile(command, 0.5)];
        const child = peaks.toSorted((a, b) => b.childMegabytes - a.childMegabytes)[0];
        return [
          what, ...(seconds.length === 0 ? ['', ''] : [own.toFixed(2), (moved / 1e6 / own).toFixed(0)]),
          ...(command.length === 0 || Number.isNaN(byHand) ? ['', ''] : [byHand.toFixed(2), `${(byHand / own).toFixed(2)}; in pairs ${quantile(seconds.map((time, run) => (command[run] ?? Number.NaN) / time), 0.5).toFixed(2)}`]),
          target, peaks.length === 0 ? '' : Math.max(...peaks.map((peak) => peak.ownMegabytes)).toFixed(0),
          child === undefined || child.child === '' ? '' : `${child.childMegabytes.toFixed(0)} (${child.child})`,
        ];
      }),
    );
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function makeTrees(directory: string, { files, megabytes, copies }: EngineSize): Promise<{ all: number; group: number }> {
  const inGroup = Math.round(files * GROUP.share);
  const group = await makeTree(join(directory, GROUP.directory), { files: inGroup, megabytes: GROUP.megabytes });
  const first = join(directory, REST.directory, 'copy-0');
  const rest = await makeTree(first, { files: files - inGroup, megabytes: megabytes - GROUP.megabytes });
  for (let copy = 1; copy < copies; copy += 1) await cp(first, join(directory, REST.directory, `copy-${copy}`), { recursive: true });
  return { all: group + rest * copies, group };
}

async function measure(directory: string, { runs, isAlone }: EngineSize, bytes: { all: number; group: number }): Promise<Measured[]> {
  const file = join(directory, 'deployment.yaml');
  // YAML reads JSON.
  await writeFile(file, JSON.stringify({
    deployment: { name: 'bench', product: 'bench', appliance: '1', version: '1' },
    stores: [{ name: 'default', type: 'DIRECTORY', path: './store', default: true }],
    hosts: [{
      id: 1, hostname: 'console', address: '192.0.2.1', console: true, components: [],
      content: Object.fromEntries([REST, GROUP].map((group) => [group.name, [{ directory: `./${group.directory}` }]])),
    }],
  }));
  const gateway = await startGatewayProcess({ env: { ...nodeOptions(), DEPLOYMENT_FILE: file } });
  const shell = shellIn(directory);
  const byHand = (command: string): Promise<number> => (isAlone ? Promise.resolve(Number.NaN) : shell.run(command));
  try {
    const measured = (what: string, target: string, moved = bytes.all): Measured => ({ what, target, seconds: [], command: [], bytes: moved, peaks: [] });
    const idle = measured('the gateway, idle', '');
    idle.peaks.push(watchPeak(gateway.process.pid ?? 0)());
    const rows = [idle];
    let before: string | null = null;
    for (const passcode of [null, PASSCODE]) {
      const kind = passcode === null ? 'plain' : 'encrypted';
      const [seal, open] = passcode === null ? ['', ''] : ['| age -r "$(age-keygen -y key.txt)"', 'age -d -i key.txt | '];
      if (passcode !== null && !isAlone && !shell.can('age')) continue;
      if (passcode !== null) await byHand('age-keygen -o key.txt 2> /dev/null');
      const pack = measured(`backup, ${kind}`, passcode === null ? '0.8' : '0.7');
      const proven = measured(`backup, ${kind}, beside one by hand that is read again`, '');
      const unpack = measured(`restore, ${kind}`, '0.8');
      const one = measured(`restore of one group, ${kind}`, 'under 1 s more', bytes.group);
      for (let run = 0; run < runs; run += 1) {
        // Before and after, each into a new file; the faster one counts, whoever profits from coming second.
        const packByHand = () => byHand(`rm -f by-hand; tar -cf - ${REST.directory} ${GROUP.directory} | zstd -q -3 ${seal} > by-hand && sync by-hand .`);
        const first = await packByHand();
        const id = await measuredIn(gateway, pack, () => backUp(gateway, `${kind}-${run}`, passcode));
        pack.command.push(Math.min(first, await packByHand()));
        // The gateway's is read back before it counts as one: what that takes by hand.
        const again = await byHand(`${passcode === null ? 'zstd -q -t by-hand && ' : ''}sha256sum by-hand > /dev/null`);
        proven.seconds.push(pack.seconds.at(-1)!);
        proven.command.push(pack.command.at(-1)! + again);
        unpack.command.push(await byHand(`mkdir unpacked && ${open === '' ? '' : `< by-hand ${open}`}zstd -q -d ${open === '' ? '-c by-hand ' : ''}| tar -C unpacked -xf - && sync -f unpacked`));
        await measuredIn(gateway, unpack, () => restore(gateway, id, [REST.name, GROUP.name], passcode));
        await shell.settle('rm -rf unpacked');
        await byHand(`tar -cf - ${GROUP.directory} | zstd -q -3 ${seal} > by-hand`);
        one.command.push(await byHand(`mkdir unpacked && ${open === '' ? '' : `< by-hand ${open}`}zstd -q -d ${open === '' ? '-c by-hand ' : ''}| tar -C unpacked -xf - && sync -f unpacked`));
        await measuredIn(gateway, one, () => restore(gateway, id, [GROUP.name], passcode));
        await shell.run('rm -rf unpacked');
        // Not measured; keeps the disk free. Each finds the one before, as those of a schedule do.
        if (before !== null) {
          await ask(gateway, 'mutation ($id: ID!) { deleteBackup(input: { id: $id }) { __typename } }', { id: before });
          await ended(gateway, 'backup', before, null);
        }
        before = id;
        await shell.settle('rm -f by-hand');
      }
      rows.push(pack, ...(isAlone ? [] : [proven]), unpack, one);
    }
    return rows;
  } finally {
    await gateway.stop();
  }
}

async function backUp(gateway: GatewayProcess, name: string, passcode: string | null): Promise<string> {
  const { createBackup: { backup: { id } } } = await ask(gateway, `mutation ($input: CreateBackupInput!) { createBackup(input: $input) { ... on CreateBackupPayload { backup { id } } } }`,
    { input: { name, type: 'CONFIG', configurationId: '1', passcode } });
  await ended(gateway, 'backup', id);
  return id as string;
}

async function restore(gateway: GatewayProcess, id: string, groups: string[], passcode: string | null): Promise<void> {
  const { createRestore } = await ask(gateway, 'mutation ($id: ID!, $groups: [ContentGroup!]!) { createRestore(input: { backupId: $id, groups: $groups }) { ... on CreateRestorePayload { restore { id } } } }', { id, groups });
  await ask(gateway, 'mutation ($input: UpdateRestoreInput!) { updateRestore(input: $input) { __typename } }', { input: { id: createRestore.restore.id, status: 'REQUESTING', passcode } });
  await ended(gateway, 'restore', createRestore.restore.id);
}

async function measuredIn<T>(gateway: GatewayProcess, into: Measured, action: () => Promise<T>): Promise<T> {
  const peak = watchPeak(gateway.process.pid ?? 0);
  const began = performance.now();
  const result = await action();
  into.seconds.push((performance.now() - began) / 1000);
  into.peaks.push(peak());
  return result;
}

async function ask(gateway: GatewayProcess, query: string, variables: Record<string, unknown>): Promise<any> {
  const { data, errors } = await gateway.query(query, variables);
  if (errors !== undefined) throw new Error(errors.map(({ message }) => message).join('\n'));
  return data;
}

async function ended(gateway: GatewayProcess, noun: 'backup' | 'restore', id: string, wanted: string | null = 'SUCCESS'): Promise<void> {
  const field = `${noun}StatusChanged`;
  for await (const { data } of gateway.socket().iterate<any>({ query: `subscription ($id: ID!) { ${field}(id: $id) { to ${noun} { job { error } } } }`, variables: { id } })) {
    const { to, [noun]: record } = data[field];
    if (to === wanted) return;
    if (to === 'FAILED') throw new Error(`The ${noun} failed: ${record?.job?.error}`);
  }
}

/** Runs commands by hand, as it were, in a directory, and tells how many seconds each took. */
function shellIn(directory: string): { can(program: string): boolean; run(command: string): Promise<number>; settle(removal: string): Promise<void> } {
  const shell = {
    can: (program: string) => spawnSync(program, ['--version']).error === undefined,
    async run(command: string): Promise<number> {
      const began = performance.now();
      const child = spawn('bash', ['-o', 'pipefail', '-c', command], { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
      const [code] = await once(child, 'close');
      if (code !== 0) throw new Error(`This failed: ${command}`);
      return (performance.now() - began) / 1000;
    },
    async settle(removal: string): Promise<void> {
      await shell.run(`${removal}; sync`);
      await new Promise((resolve) => { setTimeout(resolve, SETTLING_MS); });
    },
  };
  return shell;
}
