/**
 * A deployment of a test's own, whose file it can edit, and a gate in front of tar that holds backups and restores
 * in the middle for as long as a test wants.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FileContent } from '../../src/deployment-file/spec.ts';
import { copyDatabaseTo, newEmptyDataDir } from './database-template.ts';

/** Data hosts 2 and 5 to 8 may be backed up at once; 3 is NEW, 4 stores no data, 9 is not among the data hosts. */
const SITE: FileContent = {
  deployment: { name: 'test', product: 'acme-siem', appliance: '3199', version: '7.5.0' },
  stores: [
    { name: 'default', type: 'DIRECTORY', path: './backups', default: true },
    { name: 'vault', type: 'DIRECTORY', path: './vault', requiresPasscode: true },
  ],
  hosts: [
    {
      id: 1, hostname: 'console', address: '192.0.2.1', console: true, components: ['QFLOW', 'EVENT_COLLECTOR'],
      content: { DEPLOYMENT_CONFIG: [{ directory: './site/deployment' }], USERS_CONFIG: [{ directory: './site/users' }] },
    },
    { id: 2, hostname: 'ep1', components: ['EVENT_PROCESSOR'], data: [{ directory: './site/2' }] },
    { id: 3, hostname: 'spare', status: 'NEW' },
    { id: 4, hostname: 'ec1', components: ['EVENT_COLLECTOR'] },
    ...[5, 6, 7, 8, 9].map((id) => ({
      id, hostname: `dn${id}`, components: ['DATA_NODE' as const], data: [{ directory: `./site/${id}` }],
    })),
  ],
  backupConfiguration: { retentionDays: 7, dataBackupHosts: [2, 5, 6, 7, 8] },
};

/** Which calls of tar wait: those that write archives, unpack them, list them, or compare with them. */
export type Held = '--create' | '--extract' | '--list' | '--compare';

export interface GatedSite {
  readonly directory: string;
  /** What a gateway needs in order to use the site: DATA_DIR, DEPLOYMENT_FILE, and the gate on its PATH. */
  readonly options: { dataDir: string; env: Record<string, string> };
  /** Changes the deployment file; a gateway reads it on its next start. */
  edit(change: (file: Required<FileContent>) => void): Promise<void>;
  /** From now on these calls of tar wait. */
  hold(calls: Held): Promise<void>;
  /** Lets all that waits go on. */
  release(): Promise<void>;
  remove(): Promise<void>;
}

/** Waits while there is a file `hold<first argument>` beside it, then becomes the real tar. */
const GATE = `#!/bin/sh
while [ -e "\${0%/*}/hold$1" ]; do sleep 0.02; done
PATH="\${PATH#*:}" exec tar "$@"
`;

export async function makeGatedSite(): Promise<GatedSite> {
  const directory = await newEmptyDataDir();
  const [deploymentFile, gate] = [join(directory, 'deployment.yaml'), join(directory, 'gate')];
  const content = structuredClone(SITE) as Required<FileContent>;
  await copyDatabaseTo(join(directory, 'data'));
  // JSON is YAML.
  const write = () => writeFile(deploymentFile, JSON.stringify(content, null, 2));
  await write();
  for (const source of ['deployment', 'users', ...SITE.hosts.filter((host) => host.data !== undefined).map((host) => String(host.id))]) {
    await mkdir(join(directory, 'site', source), { recursive: true });
    await writeFile(join(directory, 'site', source, 'file'), `of ${source}`);
  }
  // More than a pipe holds, so that unpacking it is held in the middle.
  await writeFile(join(directory, 'site/users/large'), randomBytes(1024 * 1024));
  await mkdir(gate);
  await writeFile(join(gate, 'tar'), GATE);
  await chmod(join(gate, 'tar'), 0o755);
  const originalPath = process.env['PATH'] ?? '';
  const gatedPath = `${gate}:${originalPath}`;
  // A gateway in this process calls what is on this process's PATH.
  process.env['PATH'] = gatedPath;
  return {
    directory,
    options: { dataDir: join(directory, 'data'), env: { DEPLOYMENT_FILE: deploymentFile, PATH: gatedPath } },
    async edit(change) {
      change(content);
      await write();
    },
    hold: (calls) => writeFile(join(gate, `hold${calls}`), ''),
    async release() {
      for (const calls of ['--create', '--extract', '--list', '--compare'] satisfies Held[]) await rm(join(gate, `hold${calls}`), { force: true });
    },
    async remove() {
      process.env['PATH'] = originalPath;
      await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    },
  };
}
