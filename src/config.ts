/**
 * The environment, read and validated once. Everything else takes its settings from the frozen `Config`.
 */
import { statSync } from 'node:fs';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { inspect } from 'node:util';
import { ADMIN_TOKEN_ALLOWED, isAdminToken, isSecretKey, Secret, SECRET_KEY_ALLOWED } from './config/secrets.ts';
import { ConfigError } from './domain/errors.ts';

export { readCommand, USAGE, type Command } from './config/command.ts';
export { ensureSecrets, Secret } from './config/secrets.ts';

/** The settings of this process. Frozen; printing or serialising it shows no secret. */
export interface Config {
  /** 0: any free port. */
  readonly port: number;
  readonly host: string;
  /** What links begin with, without a slash at its end; null: host and port. */
  readonly publicUrl: string | null;
  /** null: the embedded Postgres. May hold a password: never print it. */
  readonly databaseUrl: string | null;
  /** The same database past the pooler that `databaseUrl` leads through; null: there is none. Never print it either. */
  readonly databaseDirectUrl: string | null;
  /** The Redis that carries wake-ups; null: Postgres notifies. Never print it either. */
  readonly wakeBusUrl: string | null;
  /** Absolute path. */
  readonly dataDir: string;
  /** Absolute path; null: `resolveDeploymentFile` looks for one. */
  readonly deploymentFile: string | null;
  /** Whether a start puts what has been edited in the deployment file into force. */
  readonly deployOnStart: boolean;
  /** null: `ensureSecrets` reads or generates it. */
  readonly adminToken: Secret | null;
  /** null: `ensureSecrets` reads or generates it. */
  readonly secretKey: Secret | null;
  /** How long the feed keeps a change, in days; null: for ever. */
  readonly feedRetentionDays: number | null;
  readonly logLevel: string;
}

/** The levels of the log, from most to least. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

const BOOLEANS: ReadonlyMap<string, boolean> = new Map([['true', true], ['1', true], ['false', false], ['0', false]]);

/**
 * Reads the settings from environment variables; an empty one counts as absent, relative paths start at `cwd`.
 * @throws ConfigError listing every fault: the variable, its value unless it is a secret, and what is allowed.
 */
export function readConfig(env: NodeJS.ProcessEnv, cwd: string): Config {
  const faults: string[] = [];

  /** The variable as `parse` understands it; `parse` answers undefined for what is not allowed. */
  const read = <T, D>(name: string, fallback: D, allowed: string, parse: (value: string) => T | undefined, secret = false): T | D => {
    const value = env[name];
    if (value === undefined || value === '') return fallback;
    const parsed = parse(value);
    if (parsed !== undefined) return parsed;
    const found = secret ? 'is not usable (its value is not shown)' : `is ${shown(value)}`;
    faults.push(`${name} ${found}; allowed: ${allowed}`);
    return fallback;
  };

  const config: Config = {
    port: read('PORT', 4000, 'a whole number from 0 (any free port) to 65535', parsePort),
    host: read('HOST', '127.0.0.1', 'an IP address or host name, without brackets or port', parseHost),
    // A URL with a user and password in it is refused, so the value may hold a secret.
    publicUrl: read('PUBLIC_URL', null, PUBLIC_URL_ALLOWED, parsePublicUrl, env['PUBLIC_URL']?.includes('@')),
    databaseUrl: read('DATABASE_URL', null, DATABASE_URL_ALLOWED, parseDatabaseUrl, true),
    databaseDirectUrl: read('DATABASE_DIRECT_URL', null, DATABASE_URL_ALLOWED, parseDatabaseUrl, true),
    wakeBusUrl: read('WAKE_BUS_URL', null, WAKE_BUS_URL_ALLOWED, parseWakeBusUrl, true),
    dataDir: read('DATA_DIR', resolve(cwd, 'data'), 'the path of a directory, which is created if need be', (value) => {
      const path = resolve(cwd, value);
      return kindOf(path) === 'other' ? undefined : path;
    }),
    deploymentFile: read('DEPLOYMENT_FILE', null, `the path of a file that is there, from ${cwd} if relative`, (value) => {
      const path = resolve(cwd, value);
      return kindOf(path) === 'other' ? path : undefined;
    }),
    deployOnStart: read('DEPLOY_ON_START', false, 'true, false, 1, 0', (value) => BOOLEANS.get(value.toLowerCase())),
    adminToken: read('ADMIN_TOKEN', null, ADMIN_TOKEN_ALLOWED, (value) => (isAdminToken(value) ? new Secret(value) : undefined), true),
    secretKey: read('SECRET_KEY', null, SECRET_KEY_ALLOWED, (value) => (isSecretKey(value) ? new Secret(value) : undefined), true),
    feedRetentionDays: read('FEED_RETENTION_DAYS', 30, `a whole number of days from 1 to ${LONGEST_RETENTION}, or forever`, parseDays),
    logLevel: read('LOG_LEVEL', 'info', LOG_LEVELS.join(', '), (value) => LOG_LEVELS.find((level) => level === value.toLowerCase())),
  };
  if (env['DATABASE_DIRECT_URL'] && !env['DATABASE_URL']) {
    faults.push('DATABASE_DIRECT_URL is set without DATABASE_URL; allowed: both, where a pooler stands between, or DATABASE_URL alone');
  }
  if (faults.length > 0) {
    const count = faults.length === 1 ? '1 fault' : `${faults.length} faults`;
    throw new ConfigError(`The environment cannot be used: ${count}`, faults, 'Correct the variables and start again.');
  }
  return Object.freeze(withoutSecretsInPrint(config));
}

/**
 * Looks whether a part that runs apart from the others has what they must share.
 * @throws ConfigError listing what is missing
 */
export function requireShared(config: Config, part: 'gateway' | 'worker'): void {
  const faults: string[] = [];
  if (config.databaseUrl === null) faults.push('DATABASE_URL is not set; the parts meet in one Postgres, and the embedded one takes no connections from elsewhere');
  if (config.secretKey === null) faults.push('SECRET_KEY is not set; it seals keys on their way from the gateway to the worker, so that a generated one would not be the same');
  if (faults.length === 0) return;
  throw new ConfigError(`A ${part} that runs apart cannot start:`, faults,
    'Give every gateway and every worker of the installation the same DATABASE_URL and SECRET_KEY (openssl rand -base64 32 makes one), or start all in one process with npm start.');
}

function parsePort(value: string): number | undefined {
  return /^\d{1,5}$/.test(value) && Number(value) <= 65535 ? Number(value) : undefined;
}

function parseHost(value: string): string | undefined {
  return isIP(value) !== 0 || /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(value) ? value : undefined;
}

const DATABASE_URL_ALLOWED = 'a URL that begins with postgres:// or postgresql://';

function parseDatabaseUrl(value: string): string | undefined {
  return /^postgres(ql)?:\/\/\S+$/.test(value) ? value : undefined;
}

const WAKE_BUS_URL_ALLOWED = 'a URL such as redis://user:password@host:6379/0, or rediss:// for TLS; whatever is no letter or digit in user and password is percent-encoded';

function parseWakeBusUrl(value: string): string | undefined {
  if (!/^rediss?:\/\/[^\s?#]+$/.test(value) || !URL.canParse(value)) return undefined;
  const { hostname, username, password, pathname } = new URL(value);
  return hostname !== '' && isEncoded(username) && isEncoded(password) && /^(\/\d*)?$/.test(pathname) ? value : undefined;
}

function isEncoded(part: string): boolean {
  try {
    decodeURIComponent(part);
    return true;
  } catch {
    return false;
  }
}

/** A century, in days. Who wants more means for ever. */
const LONGEST_RETENTION = 36_500;

/** 0 is refused, which some would take for "nothing" and others for "everything". */
function parseDays(value: string): number | null | undefined {
  if (value.toLowerCase() === 'forever') return null;
  return /^[1-9]\d{0,4}$/.test(value) && Number(value) <= LONGEST_RETENTION ? Number(value) : undefined;
}

const PUBLIC_URL_ALLOWED = 'an absolute http:// or https:// URL without user, query or fragment';

function parsePublicUrl(value: string): string | undefined {
  // `URL` would repair "http:example.com" and blanks silently; a link made of that is not what was meant.
  if (!/^https?:\/\/[^\s?#]+$/i.test(value) || !URL.canParse(value)) return undefined;
  const url = new URL(value);
  return url.username === '' && url.password === '' ? url.href.replace(/\/+$/, '') : undefined;
}

/** What is at a path: a directory, something else, or nothing that this process can see. */
function kindOf(path: string): 'directory' | 'other' | 'absent' {
  try {
    return statSync(path).isDirectory() ? 'directory' : 'other';
  } catch {
    return 'absent';
  }
}

function shown(value: string): string {
  return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}…` : value);
}

/** Not enumerable, so that a spread copy is a plain config; secrets of their own class stay hidden even there. */
function withoutSecretsInPrint(config: Config): Config {
  const hidden = (url: string | null) => (url === null ? null : '[secret]');
  const printed = (): object => ({
    ...config, databaseUrl: hidden(config.databaseUrl), databaseDirectUrl: hidden(config.databaseDirectUrl), wakeBusUrl: hidden(config.wakeBusUrl),
  });
  return Object.defineProperties(config, { toJSON: { value: printed }, [inspect.custom]: { value: printed } });
}
