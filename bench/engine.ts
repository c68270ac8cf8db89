/**
 * Backup and restore of a generated tree through the gateway, from the request to SUCCESS: so with the reading back
 * and verifying of each backup. Beside it GNU tar piped to zstd -3, which by itself verifies nothing and syncs nothing.
 */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGatewayProcess, type GatewayProcess } from '../test/support/gateway.ts';
import { nodeOptions } from './gateway.ts';
import { watchPeak, type Peak } from './memory.ts';
import { printTable, quantile } from './table.ts';
import { makeTree } from './tree.ts';

const PASSCODE = 'a passcode of the bench';

export async function measureEngine(size: { files: number; megabytes: number; runs: number }): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'backup-gateway-bench-'));
  try {
    const megabytes = await makeTree(join(directory, 'tree'), size) / 1e6;
    const rows = [...await throughGateway(directory, size.runs), ...throughTar(directory, size.runs)].map(({ what, seconds, peaks, stored }) => {
      const own = Math.max(...peaks.map((peak) => peak.ownMegabytes));
      const child = peaks.toSorted((a, b) => b.childMegabytes - a.childMegabytes)[0];
      return [
        what, ...(seconds.length === 0 ? ['', ''] : [quantile(seconds, 0.5), Math.min(...seconds)].map((time) => `${(megabytes / time).toFixed(0)} (${time.toFixed(1)} s)`)), stored === undefined ? '' : (stored / 1e6).toFixed(0),
        peaks.length === 0 ? '' : own.toFixed(0), child === undefined || child.child === '' ? '' : `${child.childMegabytes.toFixed(0)} (${child.child})`,
      ];
    });
    printTable(`${size.files} files, ${megabytes.toFixed(0)} MB, ${size.runs} runs`, ['', 'MB/s, median', 'MB/s, best', 'stored MB', 'gateway peak MB', 'largest child peak MB'], rows);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

interface Measured { what: string; seconds: number[]; peaks: Peak[]; stored?: number }

async function throughGateway(directory: string, runs: number): Promise<Measured[]> {
  const file = join(directory, 'deployment.yaml');
  // YAML reads JSON.
  await writeFile(file, JSON.stringify({
    deployment: { name: 'bench', product: 'bench', appliance: '1', version: '1' },
    stores: [{ name: 'default', type: 'DIRECTORY', path: './store', default: true }],
    hosts: [{ id: 1, hostname: 'console', address: '192.0.2.1', console: true, components: [], content: { DEPLOYMENT_CONFIG: [{ directory: './tree' }] } }],
  }));
  const gateway = await startGatewayProcess({ env: { ...nodeOptions(), DEPLOYMENT_FILE: file } });
  try {
    const idle: Measured = { what: 'the gateway, idle', seconds: [], peaks: [watchPeak(gateway.process.pid ?? 0)()] };
    const result: Measured[] = [idle];
    for (const passcode of [null, PASSCODE]) {
      const kind = passcode === null ? 'plain' : 'encrypted';
      const backup: Measured = { what: `backup, ${kind}`, seconds: [], peaks: [] };
      const restore: Measured = { what: `restore, ${kind}`, seconds: [], peaks: [] };
      for (let run = 0; run < runs; run += 1) {
        const id = await measured(gateway, backup, async () => {
          const { createBackup: { backup: { id } } } = await ask(gateway, `mutation ($input: CreateBackupInput!) { createBackup(input: $input) { ... on CreateBackupPayload { backup { id } } } }`,
            { input: { name: `${kind}-${run}`, type: 'CONFIG', configurationId: '1', passcode } });
          await ended(gateway, 'backup', id);
          return id as string;
        });
        ({ backup: { sizeOnDisk: backup.stored } } = await ask(gateway, 'query ($id: ID!) { backup(id: $id) { sizeOnDisk } }', { id }));
        await measured(gateway, restore, async () => {
          const { createRestore } = await ask(gateway, 'mutation ($id: ID!) { createRestore(input: { backupId: $id, groups: [DEPLOYMENT_CONFIG] }) { ... on CreateRestorePayload { restore { id } } } }', { id });
          await ask(gateway, 'mutation ($input: UpdateRestoreInput!) { updateRestore(input: $input) { __typename } }', { input: { id: createRestore.restore.id, status: 'REQUESTING', passcode } });
          await ended(gateway, 'restore', createRestore.restore.id);
        });
        // Not measured; keeps the disk free.
        await ask(gateway, 'mutation ($id: ID!) { deleteBackup(input: { id: $id }) { __typename } }', { id });
        await ended(gateway, 'backup', id, null);
      }
      result.push(backup, restore);
    }
    return result;
  } finally {
    await gateway.stop();
  }
}

async function measured<T>(gateway: GatewayProcess, into: Measured, action: () => Promise<T>): Promise<T> {
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

function throughTar(directory: string, runs: number): Measured[] {
  const shell = (command: string): number => {
    const began = performance.now();
    const { status, stderr } = spawnSync('bash', ['-o', 'pipefail', '-c', command], { cwd: directory, encoding: 'utf8' });
    if (status !== 0) throw new Error(stderr);
    return (performance.now() - began) / 1000;
  };
  if (spawnSync('zstd', ['--version']).status !== 0) return [];
  const pack: Measured = { what: 'tar \\| zstd -3', seconds: [], peaks: [] };
  const checked: Measured = { what: 'the same, synced and read back (zstd -t)', seconds: [], peaks: [] };
  const unpack: Measured = { what: 'zstd -d \\| tar -x', seconds: [], peaks: [] };
  for (let run = 0; run < runs; run += 1) {
    pack.seconds.push(shell('tar -C tree -cf - . | zstd -q -3 -f -o plain.tar.zst'));
    checked.seconds.push(shell('tar -C tree -cf - . | zstd -q -3 -f -o plain.tar.zst && sync plain.tar.zst . && zstd -q -t plain.tar.zst'));
    unpack.seconds.push(shell('mkdir unpacked && zstd -q -d -c plain.tar.zst | tar -C unpacked -xf -'));
    shell('rm -r unpacked');
  }
  pack.stored = Number(spawnSync('stat', ['-c', '%s', join(directory, 'plain.tar.zst')], { encoding: 'utf8' }).stdout);
  return [pack, checked, unpack];
}
