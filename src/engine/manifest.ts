/**
 * `manifest.json`, which says what a backup is, and `manifest.sha256`, which lists the digest of every file in the
 * form that `sha256sum -c` checks.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { EngineError } from '../domain/errors.ts';
import { BACKUP_TYPES, CONTENT_GROUPS, HA_ROLES } from '../domain/vocabulary.ts';
import type { ValidityProblem } from '../domain/vocabulary.ts';
import type { Manifest } from './contract.ts';
import { openPlainFile } from './disk.ts';
import { isMissing } from './faults.ts';

export const MANIFEST_FILE = 'manifest.json';
export const DIGESTS_FILE = 'manifest.sha256';
export const IDENTITY_FILE = 'identity.age';

/** Far more than thousands of sources take; a larger file is not ours. */
const SIZE_LIMIT = 16 * 1024 * 1024;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();
const time = z.string().refine((text) => !Number.isNaN(Date.parse(text)), 'not a time');

const MANIFEST: z.ZodType<Manifest> = z.object({
  formatVersion: z.literal(1),
  name: z.string(),
  description: z.string().nullable(),
  type: z.enum(BACKUP_TYPES),
  product: z.string(),
  appliance: z.string(),
  version: z.string(),
  buildVersion: z.string().nullable(),
  deployment: z.string(),
  host: z.object({ id: z.number().int(), hostname: z.string() }),
  consoleAddress: z.string().nullable(),
  haRole: z.enum(HA_ROLES),
  configurationId: z.number().int(),
  initiatedBy: z.string(),
  timeInitiated: time,
  retentionDate: time.nullable(),
  managedHostAddresses: z.array(z.string()),
  groups: z.array(z.enum(CONTENT_GROUPS)),
  timeCompleted: time,
  encryption: z.object({
    format: z.literal('age'), recipient: z.string().startsWith('age1'), identityFile: z.literal(IDENTITY_FILE), identitySha256: sha256,
  }).nullable(),
  archives: z.array(z.object({
    // A name that stays in the backup's directory, whoever wrote the manifest.
    file: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/).max(255),
    group: z.enum(CONTENT_GROUPS).nullable(),
    source: z.object({ type: z.enum(['DIRECTORY', 'FILE']), path: z.string() }),
    files: count,
    directories: count,
    bytes: count,
    size: count,
    sha256,
    compression: z.literal('zstd'),
    encrypted: z.boolean(),
  })),
});

/** `manifest.json` as it is written. */
export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** `manifest.sha256` for a manifest and the bytes it is kept in. */
export function digestList(manifest: Manifest, bytes: string | Uint8Array): string {
  const lines = manifest.archives.map((archive) => `${archive.sha256}  ${archive.file}\n`);
  if (manifest.encryption !== null) lines.push(`${manifest.encryption.identitySha256}  ${IDENTITY_FILE}\n`);
  lines.push(`${createHash('sha256').update(bytes).digest('hex')}  ${MANIFEST_FILE}\n`);
  return lines.join('');
}

export interface Finding {
  problem: ValidityProblem;
  detail: string;
}

/**
 * Reads both files and compares them.
 *
 * @returns the manifest, null where it cannot be read or lacks properties; and every problem of the two files
 * @throws the file system's error where the files are there and cannot be read
 */
export async function inspectManifest(path: string): Promise<{ manifest: Manifest | null; findings: Finding[] }> {
  const findings: Finding[] = [];
  const [text, digests] = [await readSmall(join(path, MANIFEST_FILE)), await readSmall(join(path, DIGESTS_FILE))];
  if (text === null) findings.push({ problem: 'FILE_MISSING', detail: `${MANIFEST_FILE} is missing` });
  if (digests === null) findings.push({ problem: 'FILE_MISSING', detail: `${DIGESTS_FILE} is missing` });
  if (text === null) return { manifest: null, findings };

  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text));
  } catch {
    findings.push({ problem: 'MANIFEST_UNREADABLE', detail: `${MANIFEST_FILE} is no JSON` });
    return { manifest: null, findings };
  }
  const parsed = MANIFEST.safeParse(json);
  if (!parsed.success) {
    const missing = parsed.error.issues.map((issue) => `${issue.path.join('.') || 'the document'}: ${issue.message}`);
    findings.push({ problem: 'MANIFEST_PROPERTIES_MISSING', detail: `${MANIFEST_FILE}: ${missing.join('; ')}` });
  } else if (digests !== null && digests.toString('latin1') !== digestList(parsed.data, text)) {
    findings.push({ problem: 'DIGEST_MISMATCH', detail: `${MANIFEST_FILE} and ${DIGESTS_FILE} do not belong together` });
  }
  return { manifest: parsed.success ? parsed.data : null, findings };
}

/**
 * Reads the manifest of a backup and compares it with the list of digests; reads no archive.
 *
 * @param path the backup's directory
 * @throws EngineError FILE_MISSING, MANIFEST_INVALID, DIGEST_MISMATCH, or IO where it cannot be read
 */
export async function readManifest(path: string): Promise<Manifest> {
  const { manifest, findings } = await inspectManifest(path).catch((cause: unknown) => {
    throw new EngineError('IO', `The manifest of ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}.`,
      'See that the store is reachable and readable for the user that runs the worker.', { cause });
  });
  const [first] = findings;
  if (manifest !== null && first === undefined) return manifest;
  const fault = first?.problem === 'FILE_MISSING' || first?.problem === 'DIGEST_MISMATCH' ? first.problem : 'MANIFEST_INVALID';
  throw new EngineError(fault,
    `The backup in ${path} is not whole: ${findings.map(({ detail }) => detail).join('; ')}.`,
    'Put the files back from a copy of the backup, or use another backup.');
}

/** Null where the file is not there; nothing where it is none of ours. */
async function readSmall(path: string): Promise<Buffer | null> {
  try {
    const handle = await openPlainFile(path);
    try {
      if ((await handle.stat()).size > SIZE_LIMIT) return Buffer.alloc(0);
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (isMissing(error)) return null;
    if (error instanceof EngineError) return Buffer.alloc(0);
    throw error;
  }
}
