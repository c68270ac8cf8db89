/**
 * What can still be learnt of a backup whose manifest is damaged: each property that is there and has its form, and
 * nothing that would have to be guessed.
 */
import { buffer } from 'node:stream/consumers';
import { EngineError } from '../domain/errors.ts';
import { BACKUP_TYPES, CONTENT_GROUPS, HA_ROLES } from '../domain/vocabulary.ts';
import type { ManifestFacts } from './contract.ts';
import { MANIFEST_FILE } from './manifest.ts';
import type { BackupFiles } from './stores/contract.ts';

/** The facts of a manifest, each as far as it could be read. */
export type SalvagedFacts = Partial<ManifestFacts> & { groups?: (typeof CONTENT_GROUPS)[number][]; timeCompleted?: string };

/** More than a manifest has. */
const SIZE_LIMIT = 16 * 1024 * 1024;

/**
 * Reads what it can of `manifest.json`; an empty answer where that is no JSON at all.
 *
 * @throws EngineError STORE_UNREACHABLE
 */
export async function salvageManifest(files: BackupFiles): Promise<SalvagedFacts> {
  const json = await readJson(files);
  if (typeof json !== 'object' || json === null) return {};
  const given = json as Record<string, unknown>;
  const facts: Record<string, unknown> = {};
  for (const [name, isRight] of Object.entries(FORMS)) if (isRight(given[name])) facts[name] = given[name];
  return facts as SalvagedFacts;
}

async function readJson(files: BackupFiles): Promise<unknown> {
  try {
    const { size, stream } = await files.read(MANIFEST_FILE);
    if (size <= SIZE_LIMIT) return JSON.parse((await buffer(stream)).toString('utf8'));
    stream.destroy();
    return null;
  } catch (error) {
    if (error instanceof EngineError && error.code === 'STORE_UNREACHABLE') throw error;
    return null;
  }
}

type Form = (value: unknown) => boolean;
const text: Form = (value) => typeof value === 'string';
const textOrNull: Form = (value) => value === null || text(value);
const time: Form = (value) => typeof value === 'string' && !Number.isNaN(Date.parse(value));
const oneOf = (values: readonly string[]): Form => (value) => values.some((known) => known === value);

/** The form of each property; those of archives and keys are of no use without all the others. */
const FORMS: Record<string, Form> = {
  name: (value) => text(value) && value !== '', description: textOrNull, type: oneOf(BACKUP_TYPES),
  product: text, appliance: text, version: text, buildVersion: textOrNull, deployment: text, consoleAddress: textOrNull,
  host: (value) => typeof value === 'object' && value !== null && 'id' in value && Number.isSafeInteger(value.id) && 'hostname' in value && text(value.hostname),
  haRole: oneOf(HA_ROLES), initiatedBy: text, timeInitiated: time, timeCompleted: time, retentionDate: (value) => value === null || time(value),
  managedHostAddresses: (value) => Array.isArray(value) && value.every(text),
  groups: (value) => Array.isArray(value) && value.every(oneOf(CONTENT_GROUPS)),
};
