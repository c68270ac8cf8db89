/**
 * Incremental backups of the engine, and how a person unpacks their layers with stock tools alone.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import type { BackupPlan, BackupResult } from '../../src/engine/index.ts';
import { directory, makeBackup, type RunOptions, type Site } from './engine.ts';

/** Makes a DATA backup of a directory, on top of an earlier one where `base` names it. */
export async function makeLayer(
  site: Site, source: string, name: string, base: string | null, options: RunOptions & Parameters<typeof makeBackup>[2] & { sharedKeys?: Uint8Array } = {},
): Promise<BackupResult> {
  const incremental: BackupPlan['incremental'] = { directory: join(site.place, 'indexes'), base, sharedKeys: options.sharedKeys ?? null, minimumBytes: 0 };
  return await makeBackup(site, [{ group: null, source: directory(source) }], { name, incremental, ...options });
}

/** What docs/BACKUP-FORMAT.md tells to do, of a backup in clear. */
export const UNPACK = `
set -euo pipefail
from=$1; to=$2
mkdir "$to"
unpack() { tar -xpf - -C "$to" --numeric-owner --xattrs --xattrs-include='*' --acls; }
zstd -dc "$from/DATA.tar.zst" | unpack
for update in "$from"/DATA.update.*.tar.zst; do
  test -e "$update" || break
  removed="\${update%.tar.zst}.removed.zst"
  if test -e "$removed"; then zstd -dc "$removed" | (cd "$to" && xargs -0 rm -rf --); fi
  zstd -dc "$update" | unpack
done
`;

export function unpackByHand(backup: string, to: string): void {
  fs.rmSync(to, { recursive: true, force: true });
  execFileSync('bash', ['-c', UNPACK, 'unpack', backup, to], { stdio: ['ignore', 'ignore', 'pipe'] });
}
