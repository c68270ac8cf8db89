/**
 * The admin token and the secret key: from the environment, or kept in DATA_DIR, generated on the first start.
 */
import { randomBytes } from 'node:crypto';
import { chmod, link, mkdir, open, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { ConfigError } from '../domain/errors.ts';

/** A value that no log, error or serialisation shows; only `reveal` gives it out. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself, to compare or to derive a key from; not to be logged. */
  reveal(): string {
    return this.#value;
  }

  toJSON(): string {
    return '[secret]';
  }

  toString(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}

export const ADMIN_TOKEN_ALLOWED = 'at least 16 visible ASCII characters, no blanks';
export const SECRET_KEY_ALLOWED = 'at least 32 characters';

/** ASCII alone, because the token travels in an HTTP header. */
export const isAdminToken = (value: string): boolean => /^[\x21-\x7e]{16,}$/.test(value);
export const isSecretKey = (value: string): boolean => [...value].length >= 32;

interface SecretFile {
  name: string;
  variable: string;
  allowed: string;
  isUsable: (value: string) => boolean;
  /** Random bytes of a generated one. */
  bytes: number;
}

const ADMIN_TOKEN: SecretFile = { name: 'admin-token', variable: 'ADMIN_TOKEN', allowed: ADMIN_TOKEN_ALLOWED, isUsable: isAdminToken, bytes: 24 };
const SECRET_KEY: SecretFile = { name: 'secret-key', variable: 'SECRET_KEY', allowed: SECRET_KEY_ALLOWED, isUsable: isSecretKey, bytes: 32 };

/**
 * Both secrets. One that is not configured is read from DATA_DIR or, on the first start, generated into it,
 * readable by its owner alone. Processes that start at once end up with the same ones.
 * @throws ConfigError where a kept secret is damaged or DATA_DIR cannot be used.
 */
export async function ensureSecrets(config: {
  readonly dataDir: string;
  readonly adminToken: Secret | null;
  readonly secretKey: Secret | null;
}): Promise<{ adminToken: Secret; secretKey: Secret; /** True only for the process that generated it now. */ adminTokenGenerated: boolean }> {
  const adminToken = config.adminToken === null ? await keep(config.dataDir, ADMIN_TOKEN) : null;
  const secretKey = config.secretKey ?? (await keep(config.dataDir, SECRET_KEY)).secret;
  return {
    adminToken: adminToken?.secret ?? (config.adminToken as Secret),
    secretKey,
    adminTokenGenerated: adminToken?.generated ?? false,
  };
}

async function keep(dataDir: string, file: SecretFile): Promise<{ secret: Secret; generated: boolean }> {
  const path = join(dataDir, file.name);
  try {
    const kept = await readKept(path, file);
    if (kept !== null) return { secret: kept, generated: false };
    await mkdir(dataDir, { recursive: true, mode: 0o700 });
    const generated = await generate(path, file.bytes);
    const secret = await readKept(path, file);
    if (secret === null) throw new Error('it vanished while it was read');
    return { secret, generated };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError('A secret cannot be kept.', [`${path}: ${error instanceof Error ? error.message : 'unknown failure'}`],
      `Make DATA_DIR writable, or set ${file.variable}.`);
  }
}

/** Reads a kept secret; null where there is none. */
async function readKept(path: string, file: SecretFile): Promise<Secret | null> {
  let content: string;
  try {
    content = (await readFile(path, 'utf8')).trim();
    if (((await stat(path)).mode & 0o077) !== 0) await chmod(path, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  if (!file.isUsable(content)) {
    // Never replaced by a new one: what the old secret key protects could not be opened any more.
    throw new ConfigError('A kept secret is damaged.', [`${path} does not hold ${file.allowed}`],
      `Put the former file back or set ${file.variable}; remove the file only if a new one will do.`);
  }
  return new Secret(content);
}

/** Writes a new secret under its final name unless one is there; answers whether this call was the one. */
async function generate(path: string, bytes: number): Promise<boolean> {
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await using handle = await open(temporary, 'wx', 0o600);
    await handle.writeFile(`${randomBytes(bytes).toString('base64url')}\n`);
    await handle.sync();
    // A link, unlike a rename, fails if another process was first; and the name never shows half a file.
    await link(temporary, path);
    await using directory = await open(join(path, '..'));
    await directory.sync();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}
