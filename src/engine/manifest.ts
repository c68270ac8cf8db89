/**
 * `manifest.json`, which says what a backup is, and `manifest.sha256`, which lists the digest of every file in the
 * form that `sha256sum -c` checks.
 */
import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { z } from 'zod';
import { EngineError } from '../domain/errors.ts';
import { BACKUP_TYPES, CONTENT_GROUPS, HA_ROLES } from '../domain/vocabulary.ts';
import type { ValidityProblem } from '../domain/vocabulary.ts';
import type { Manifest } from './contract.ts';
import type { BackupFiles } from './stores/contract.ts';

export const MANIFEST_FILE = 'manifest.json';
export const DIGESTS_FILE = 'manifest.sha256';
export const IDENTITY_FILE = 'identity.age';
/** Identities of the layers that a backup shares, encrypted to its own recipient. */
export const KEYS_FILE = 'keys.age';

/** Far more than thousands of sources take; a larger file is not ours. */
const SIZE_LIMIT = 16 * 1024 * 1024;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();
const time = z.string().refine((text) => !Number.isNaN(Date.parse(text)), 'not a time');

/** A name that stays in the backup's directory, whoever wrote the manifest. */
const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/).max(255);

const MANIFEST: z.ZodType<Manifest> = z.object({
  formatVersion: z.union([z.literal(1), z.literal(2)]),
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
  job: z.object({ id: z.string(), attempt: z.number().int().positive() }).optional(),
  groups: z.array(z.enum(CONTENT_GROUPS)),
  timeCompleted: time,
  encryption: z.object({
    format: z.literal('age'), recipient: z.string().startsWith('age1'), identityFile: z.literal(IDENTITY_FILE), identitySha256: sha256,
    keysFile: z.literal(KEYS_FILE).optional(), keysSha256: sha256.optional(),
  }).nullable(),
  archives: z.array(z.object({
    file: fileName,
    group: z.enum(CONTENT_GROUPS).nullable(),
    source: z.object({
      type: z.enum(['DIRECTORY', 'FILE', 'POSTGRES']), path: z.string(), include: z.array(z.string()).optional(), exclude: z.array(z.string()).optional(),
    }),
    files: count,
    directories: count,
    bytes: count,
    size: count,
    sha256,
    compression: z.literal('zstd'),
    encrypted: z.boolean(),
    unreadable: z.array(z.string()).optional(),
    layer: z.number().int().positive().optional(),
    removed: z.object({ file: fileName, names: count, size: count, sha256 }).optional(),
    recipient: z.string().startsWith('age1').optional(),
  })),
});

/** `manifest.json` as it is written. */
export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

/** `manifest.sha256` for a manifest and the bytes it is kept in. */
export function digestList(manifest: Manifest, bytes: string | Uint8Array): string {
  const line = ({ sha256, file }: { sha256: string; file: string }): string => `${sha256}  ${file}\n`;
  const lines = manifest.archives.flatMap((archive) => (archive.removed === undefined ? [line(archive)] : [line(archive.removed), line(archive)]));
  lines.push(...keyFiles(manifest).map(line));
  lines.push(`${createHash('sha256').update(bytes).digest('hex')}  ${MANIFEST_FILE}\n`);
  return lines.join('');
}

/** The files that hold keys. */
export function keyFiles({ encryption }: Manifest): { file: string; sha256: string }[] {
  if (encryption === null) return [];
  const { identitySha256, keysSha256 } = encryption;
  return [{ file: IDENTITY_FILE, sha256: identitySha256 }, ...keysSha256 === undefined ? [] : [{ file: KEYS_FILE, sha256: keysSha256 }]];
}

export interface Finding {
  problem: ValidityProblem;
  detail: string;
}

/**
 * Reads both files and compares them.
 *
 * @returns the manifest, null where it cannot be read or lacks properties; and every problem of the two files
 * @throws EngineError STORE_UNREACHABLE
 */
export async function inspectManifest(files: BackupFiles): Promise<{ manifest: Manifest | null; findings: Finding[] }> {
  const findings: Finding[] = [];
  const [text, digests] = [await readSmall(files, MANIFEST_FILE), await readSmall(files, DIGESTS_FILE)];
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
 * @throws EngineError FILE_MISSING, MANIFEST_INVALID, DIGEST_MISMATCH, STORE_UNREACHABLE
 */
export async function readManifest(files: BackupFiles): Promise<Manifest> {
  const { manifest, findings } = await inspectManifest(files);
  const [first] = findings;
  if (manifest !== null && first === undefined) return manifest;
  const fault = first?.problem === 'FILE_MISSING' || first?.problem === 'DIGEST_MISMATCH' ? first.problem : 'MANIFEST_INVALID';
  throw new EngineError(fault,
    `The backup in ${files.label} is not whole: ${findings.map(({ detail }) => detail).join('; ')}.`,
    'Put the files back from a copy of the backup, or use another backup.');
}

/** Reads a small file. Null where it is not there; nothing where it is none of ours. */
export async function readSmall(files: BackupFiles, file: string): Promise<Buffer | null> {
  try {
    const { size, stream } = await files.read(file);
    if (size <= SIZE_LIMIT) return await buffer(stream);
    stream.destroy();
    return Buffer.alloc(0);
  } catch (error) {
    if (error instanceof EngineError && error.code === 'FILE_MISSING') return null;
    if (error instanceof EngineError && error.code === 'DIGEST_MISMATCH') return Buffer.alloc(0);
    throw error;
  }
}
