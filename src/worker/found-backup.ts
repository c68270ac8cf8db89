/**
 * A backup that was found in a store, as the catalogue is to have it: what its manifest says, and nothing that would have
 * to be guessed.
 */
import { buffer } from 'node:stream/consumers';
import type { DeploymentSpec } from '../domain/deployment.ts';
import { EngineError } from '../domain/errors.ts';
import * as engine from '../engine/index.ts';
import type { BackupOrigin } from '../records/checks.ts';
import { DEPLOYED_CONFIGURATION, findConfiguration, findHost } from '../records/deployments.ts';
import type { BackupRow, Db, DeploymentRow } from '../records/rows.ts';

/** What reading its files has shown. */
type Reading = Pick<engine.VerifyResult, 'manifest' | 'problems' | 'details' | 'sizeOnDisk'>;

/** What its files tell of it. */
export type LearntFacts = Pick<BackupRow,
  'configurationId' | 'hostId' | 'description' | 'type' | 'version' | 'buildVersion' | 'product' | 'appliance' | 'haRole' | 'managedHostAddresses'
  | 'timeInitiated' | 'timeCompleted' | 'initiatedBy' | 'sizeOnDisk' | 'groups' | 'recipient' | 'wrappedIdentity' | 'sharedKeys' | 'unreadableFiles'
  | 'fileProblems' | 'problemDetails' | 'retentionDate' | 'timeVerified' | 'origin'> & {
    /** As its manifest has it; its directory's name where that cannot be read. */
    name: string;
  };

/** Whether another console made it: then that one decides how long it is kept, and it is pinned here. */
export const isAnothers = ({ origin }: Pick<LearntFacts, 'origin'>): boolean => origin !== null;

/** Whoever wrote the manifest may have written what Postgres cannot keep: NUL, and halves of characters. */
const kept = (text: string): string => text.replaceAll('\0', '\u{FFFD}').toWellFormed();
const keptOrNull = (text: string | null | undefined): string | null => (text == null ? null : kept(text));

/** The same for an instant: years of four digits. */
function keptInstant(text: string | null | undefined): Date | undefined {
  const date = text == null ? new Date(Number.NaN) : new Date(text);
  return date.getUTCFullYear() >= 1 && date.getUTCFullYear() <= 9999 ? date : undefined;
}

/** Longer than any that createBackup takes, and short enough for an index. */
const LONGEST_NAME = 255;

/** Type and time, which a directory's name tells that `createBackup` has made; null for any other. */
function readDirectoryName(directory: string): Pick<BackupRow, 'type' | 'timeInitiated'> | null {
  const [, type, time] = /^backup\..+\.\d\d_\d\d_\d{4}\.(config|data)\.(\d{13})(\.\d+)?$/.exec(directory) ?? [];
  return type === undefined ? null : { type: type === 'config' ? 'CONFIG' : 'DATA', timeInitiated: new Date(Number(time)) };
}

/** Whether the backup is of this console: by the deployment's name, and by the console's address where both are known. */
function isOwn(facts: engine.SalvagedFacts, deployed: DeploymentSpec): boolean {
  if (facts.deployment === undefined) return true;
  const address = deployed.hosts.find(({ console }) => console)?.address ?? null;
  return facts.deployment === deployed.name && (facts.consoleAddress == null || address === null || facts.consoleAddress === address);
}

/**
 * Learns what there is to know of a backup, with what reading its files has shown.
 *
 * Of one whose manifest cannot be read, type and time come from the directory's name; what nobody knows stays empty.
 *
 * @returns null where not even the type can be learnt
 * @throws EngineError STORE_UNREACHABLE
 */
export async function learn(
  db: Db, deployment: DeploymentRow, directory: string, files: engine.BackupFiles, reading: Reading,
): Promise<LearntFacts | null> {
  const facts: engine.SalvagedFacts = reading.manifest ?? await engine.salvageManifest(files);
  const named = readDirectoryName(directory);
  const [type, timeInitiated] = [facts.type ?? named?.type, keptInstant(facts.timeInitiated) ?? named?.timeInitiated];
  if (type === undefined || timeInitiated === undefined) return null;

  const retentionDate = keptInstant(facts.retentionDate);
  const own = isOwn(facts, deployment.deployed);
  const name = kept(facts.name ?? directory).slice(0, LONGEST_NAME).toWellFormed();
  const origin: BackupOrigin | null = own ? null : {
    deployment: kept(facts.deployment ?? ''), hostId: facts.host?.id ?? 0, hostname: kept(facts.host?.hostname ?? ''),
    consoleAddress: keptOrNull(facts.consoleAddress), name,
  };
  const host = own && facts.host !== undefined ? await findHost(db, deployment.id, { by: 'number', number: facts.host.id }) : undefined;
  const configuration = own && reading.manifest !== null
    ? await findConfiguration(db, deployment.id, { by: 'number', number: DEPLOYED_CONFIGURATION }) : undefined;
  return {
    configurationId: configuration?.id ?? null, hostId: host?.id ?? null, name, description: keptOrNull(facts.description), type,
    version: kept(facts.version ?? ''), buildVersion: keptOrNull(facts.buildVersion), product: keptOrNull(facts.product),
    appliance: keptOrNull(facts.appliance), haRole: facts.haRole ?? null, managedHostAddresses: (facts.managedHostAddresses ?? []).map(kept),
    timeInitiated, timeCompleted: keptInstant(facts.timeCompleted) ?? null, initiatedBy: kept(facts.initiatedBy ?? ''),
    unreadableFiles: (reading.manifest?.archives ?? []).flatMap(({ unreadable }) => (unreadable ?? []).map(kept)),
    sizeOnDisk: reading.sizeOnDisk, groups: facts.groups ?? [], ...await keysOf(files, reading),
    fileProblems: reading.problems, problemDetails: reading.details, timeVerified: new Date(),
    // One that has passed does not count: retention would take away what the scan has just given back.
    retentionDate: retentionDate === undefined || retentionDate.getTime() <= Date.now() ? null : retentionDate, origin,
  };
}

/** The backup's recipient, its wrapped identity, and the keys of the layers that it shares. */
async function keysOf(files: engine.BackupFiles, { manifest }: Pick<Reading, 'manifest'>): Promise<Pick<BackupRow, 'recipient' | 'wrappedIdentity' | 'sharedKeys'>> {
  const encryption = manifest?.encryption ?? null;
  return {
    recipient: encryption?.recipient ?? null,
    wrappedIdentity: encryption === null ? null : await readKeys(files, encryption.identityFile),
    sharedKeys: encryption?.keysFile === undefined ? null : await readKeys(files, encryption.keysFile),
  };
}

/** Many times what age writes for one passcode, or for as many identities as a backup has layers. */
const LARGEST_KEYS = 64 * 1024;

/** A file of keys, base64; null where it is not there or none. @throws EngineError STORE_UNREACHABLE */
async function readKeys(files: engine.BackupFiles, file: string): Promise<string | null> {
  const opened = await files.read(file).catch((error: unknown) => {
    if (error instanceof EngineError && error.code !== 'STORE_UNREACHABLE') return null;
    throw error;
  });
  if (opened === null) return null;
  if (opened.size <= LARGEST_KEYS) return (await buffer(opened.stream)).toString('base64');
  opened.stream.destroy();
  return null;
}

/** What was not to be learnt of a damaged backup when it was found. One that was made here has all of these. */
const isIncomplete = ({ version, product, appliance, haRole }: BackupRow): boolean => version === '' || product === null || appliance === null || haRole === null;

/**
 * What the catalogue could not learn of a backup when it was found damaged, and can now that it is whole.
 *
 * @throws EngineError STORE_UNREACHABLE
 */
export async function missingFacts(
  db: Db, deployment: DeploymentRow, backup: BackupRow, files: engine.BackupFiles, reading: Reading,
): Promise<Partial<LearntFacts & Pick<BackupRow, 'isKept'>>> {
  if (isIncomplete(backup)) {
    const facts = await learn(db, deployment, backup.directory, files, reading);
    if (facts === null) return {};
    // The name is known to people by now; and what a person has added since stays.
    return {
      ...facts, name: backup.name, description: backup.description ?? facts.description, retentionDate: backup.retentionDate ?? facts.retentionDate,
      isKept: backup.isKept || isAnothers(facts),
    };
  }
  return reading.manifest?.encryption != null && backup.wrappedIdentity === null ? keysOf(files, reading) : {};
}
