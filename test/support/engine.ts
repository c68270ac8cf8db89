/**
 * What tests of the engine share: places, plans and programs.
 */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach } from 'vitest';
import type { FilesSource } from '../../src/domain/deployment.ts';
import type { ArchiveSpec, BackupFiles, BackupKey, BackupPlan, BackupResult, BackupRun, ManifestFacts, Progress, RestorePlan, RestoreRun, Store } from '../../src/engine/index.ts';
import { backup, openStore, restore } from '../../src/engine/index.ts';
import { removeTree } from './tree.ts';

const places: string[] = [];

afterEach(() => {
  for (const place of places.splice(0)) removeTree(place);
});

/** A directory of the test's own, removed after it. */
export function makePlace(): string {
  const place = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), 'engine-test-')));
  places.push(place);
  return place;
}

/** Whether a program is installed; where it is not, a CI run fails instead of leaving tests out. */
export function has(program: string): boolean {
  const found = spawnSync(program, ['--version']).error === undefined;
  if (!found && process.env['CI'] !== undefined) throw new Error(`Install ${program}: the tests need it.`);
  return found;
}

export const directory = (path: string, staging: string | null = null): FilesSource => ({ type: 'DIRECTORY', path, staging });
export const file = (path: string, staging: string | null = null): FilesSource => ({ type: 'FILE', path, staging });

/** A directory as a store. */
export const storeAt = (path: string): Store => openStore({ type: 'DIRECTORY', path, s3: null });
/** A backup's directory as the files of a backup. */
export const filesAt = (path: string): BackupFiles => storeAt(dirname(path)).open(basename(path));

export const FACTS: ManifestFacts = {
  name: 'nightly', description: null, type: 'CONFIG', product: 'acme-siem', appliance: '3199', version: '7.5.0', buildVersion: null,
  deployment: 'local', host: { id: 1, hostname: 'console' }, consoleAddress: '192.0.2.1', haRole: 'NONE', configurationId: 1,
  initiatedBy: 'admin', timeInitiated: '2026-01-02T03:04:05.678Z', retentionDate: null, managedHostAddresses: ['192.0.2.2'],
};

export interface Site {
  /** The test's own directory. */
  place: string;
  store: string;
  journals: string;
}

export function makeSite(): Site {
  const place = makePlace();
  const site = { place, store: join(place, 'store'), journals: join(place, 'journals') };
  fs.mkdirSync(site.store);
  return site;
}

export type RunOptions = Partial<BackupRun & RestoreRun>;

function makeRun(options: RunOptions): BackupRun & RestoreRun {
  return {
    signal: new AbortController().signal, onProgress: () => undefined,
    beforePublish: async () => undefined, beforeSwap: async () => undefined, ...options,
  };
}

export async function makeBackup(
  site: Site, archives: ArchiveSpec[], options: RunOptions & Partial<BackupPlan> & { key?: BackupKey } = {},
): Promise<BackupResult> {
  return await backup({
    store: options.store ?? storeAt(site.store), name: options.name ?? 'nightly', attempt: options.attempt ?? 'test.1',
    archives, encryption: options.key ?? null, facts: FACTS, onStep: options.onStep, incremental: options.incremental, earlier: options.earlier,
  }, makeRun(options));
}

export async function makeRestore(
  site: Site, plan: Partial<RestorePlan> & Pick<RestorePlan, 'groups' | 'targets'>, options: RunOptions = {},
): Promise<void> {
  await restore({ backup: storeAt(site.store).open('nightly'), protectedPaths: [site.store], identity: null, journalDir: site.journals, restoreKey: 'r1', ...plan }, makeRun(options));
}

/** Every name below a directory that an engine left behind; empty is what tests want. */
export function leftovers(place: string): string[] {
  return fs.readdirSync(place, { recursive: true }).map(String).filter((name) => /\.backup-gateway-|\.restore\.json|\.partial|\.removing|\.probe/.test(name));
}

/** Collects progress reports. */
export function progressLog(): { reports: Progress[]; onProgress(progress: Progress): void } {
  const reports: Progress[] = [];
  return { reports, onProgress: (progress) => reports.push(progress) };
}
