/**
 * DATA backups through the gateway, from the request to SUCCESS: the first of a generated tree, and the second after one
 * file in a hundred has changed, at random places. Each run begins without an earlier backup.
 */
import { appendFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGatewayProcess, type GatewayProcess } from '../test/support/gateway.ts';
import { nodeOptions } from './gateway.ts';
import { watchPeak } from './memory.ts';
import { printTable, quantile } from './table.ts';
import { makeTree } from './tree.ts';

const PASSCODE = 'a passcode of the bench';
const CHANGED_SHARE = 0.01;

interface Measured { what: string; seconds: number[]; stored: number[]; added: number[]; peak: number }

export async function measureIncremental(size: { files: number; megabytes: number; runs: number }): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'backup-gateway-bench-'));
  try {
    const tree = join(directory, 'tree');
    const megabytes = await makeTree(tree, size) / 1e6;
    const file = join(directory, 'deployment.yaml');
    // YAML reads JSON.
    await writeFile(file, JSON.stringify({
      deployment: { name: 'bench', product: 'bench', appliance: '1', version: '1' },
      stores: [{ name: 'default', type: 'DIRECTORY', path: './store', default: true }],
      hosts: [{ id: 1, hostname: 'console', address: '192.0.2.1', console: true, components: ['EVENT_PROCESSOR'], data: [{ directory: './tree' }] }],
      backupConfiguration: { retentionDays: 7, dataBackupHosts: [1] },
    }));
    const gateway = await startGatewayProcess({ env: { ...nodeOptions(), DEPLOYMENT_FILE: file } });
    const rows: (string | number)[][] = [];
    try {
      for (const passcode of [null, PASSCODE]) {
        const kind = passcode === null ? 'plain' : 'encrypted';
        const [first, second] = [`first, ${kind}`, `second, ${kind}`].map((what): Measured => ({ what, seconds: [], stored: [], added: [], peak: 0 }));
        for (let run = 0; run < size.runs; run += 1) {
          const ids = [await backUp(gateway, first!, `${kind}-${run}-first`, passcode)];
          await change(tree, run);
          ids.push(await backUp(gateway, second!, `${kind}-${run}-second`, passcode));
          for (const id of ids) {
            await ask(gateway, 'mutation ($input: DeleteBackupInput!) { deleteBackup(input: $input) { __typename } }', { input: { id } });
            await ended(gateway, id, null);
          }
        }
        const [whole, update] = [quantile(first!.seconds, 0.5), quantile(second!.seconds, 0.5)];
        for (const { what, seconds, stored, added, peak } of [first!, second!]) {
          rows.push([what, quantile(seconds, 0.5).toFixed(2), Math.min(...seconds).toFixed(2), (quantile(stored, 0.5) / 1e6).toFixed(1), (quantile(added, 0.5) / 1e6).toFixed(1), peak.toFixed(0)]);
        }
        rows.push([`the second is faster, ${kind}`, `${(whole / update).toFixed(1)} times`, '', '', '', '']);
      }
    } finally {
      await gateway.stop();
    }
    printTable(`${size.files} files, ${megabytes.toFixed(0)} MB, ${CHANGED_SHARE * 100}% of the files changed, ${size.runs} runs`,
      ['', 'seconds, median', 'seconds, best', 'size on disk, MB', 'of that added, MB', 'gateway peak MB'], rows);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Changes files all over the tree, other ones in each run. */
async function change(tree: string, run: number): Promise<void> {
  const files = (await readdir(tree, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const every = Math.round(1 / CHANGED_SHARE);
  for (let n = (run * 37) % every; n < files.length; n += every) {
    const entry = files[n];
    if (entry !== undefined) await appendFile(join(entry.parentPath, entry.name), `changed in run ${run}\n`);
  }
}

async function backUp(gateway: GatewayProcess, into: Measured, name: string, passcode: string | null): Promise<string> {
  const peak = watchPeak(gateway.process.pid ?? 0);
  const began = performance.now();
  const { createBackup } = await ask(gateway, `mutation ($input: CreateBackupInput!) {
    createBackup(input: $input) { ... on CreateBackupPayload { backup { id } } ... on RuleViolations { violations { message } } } }`,
  { input: { name, type: 'DATA', configurationId: '1', passcode } });
  if (createBackup.backup === undefined) throw new Error(JSON.stringify(createBackup));
  const { id } = createBackup.backup;
  await ended(gateway, id, 'SUCCESS');
  into.seconds.push((performance.now() - began) / 1000);
  into.peak = Math.max(into.peak, peak().ownMegabytes);
  const { backup } = await ask(gateway, 'query ($id: ID!) { backup(id: $id) { sizeOnDisk sizeAdded } }', { id });
  into.stored.push(Number(backup.sizeOnDisk));
  into.added.push(Number(backup.sizeAdded));
  return id as string;
}

async function ask(gateway: GatewayProcess, query: string, variables: Record<string, unknown>): Promise<any> {
  const { data, errors } = await gateway.query(query, variables);
  if (errors !== undefined) throw new Error(errors.map(({ message }) => message).join('\n'));
  return data;
}

async function ended(gateway: GatewayProcess, id: string, wanted: string | null): Promise<void> {
  const query = 'subscription ($id: ID!) { backupStatusChanged(id: $id) { to backup { job { error } } } }';
  for await (const { data } of gateway.socket().iterate<any>({ query, variables: { id } })) {
    const { to, backup } = data.backupStatusChanged;
    if (to === wanted) return;
    if (to === 'FAILED') throw new Error(`The backup failed: ${backup?.job?.error}`);
  }
}
