/**
 * A deployment file that is known to be right, made into the form in which the program keeps it: every path
 * absolute, every default filled in.
 */
import { resolve } from 'node:path';
import type { DeploymentSpec, HooksSpec, HostSpec, RunLimits, S3Spec, SourceSpec, StoreSpec } from '../domain/deployment.ts';
import type { BackupPriority, ContentGroup, DeploymentKind, HaRole, HostComponent, HostStatus } from '../domain/vocabulary.ts';
import { postgresPath, readPostgresUrl } from './postgres-url.ts';

/** What the schema lets through: one thing to back up, a directory, a file or a database. */
export interface FileSource {
  directory?: string;
  file?: string;
  staging?: string;
  include?: string[];
  exclude?: string[];
  onUnreadable?: 'FAIL' | 'WARN';
  postgres?: string;
  database?: string;
}

interface AnyFileStore { name: string; default?: boolean; requiresPasscode?: boolean }
export interface FileDirectoryStore extends AnyFileStore { type: 'DIRECTORY'; path: string }
export interface FileS3Store extends AnyFileStore {
  type: 'S3';
  bucket: string;
  prefix?: string;
  region?: string;
  endpoint?: string;
  forcePathStyle?: boolean;
}
export type FileStore = FileDirectoryStore | FileS3Store;

export interface FileHook { run: string[]; timeoutSeconds?: number }
export type FileHooks = { [when in keyof HooksSpec]?: FileHook[] };

export interface FileLimits { priority?: BackupPriority; timeLimitMinutes?: number }

export interface FileHost {
  id: number;
  hostname: string;
  address?: string;
  console?: boolean;
  status?: HostStatus;
  components?: HostComponent[];
  version?: string;
  haRole?: HaRole;
  content?: Partial<Record<ContentGroup, FileSource[]>>;
  data?: FileSource[];
  hooks?: FileHooks;
}

/** What the schema lets through: a whole file. */
export interface FileContent {
  deployment: { name: string; product: string; appliance: string; version: string; buildVersion?: string; kind?: DeploymentKind };
  stores: FileStore[];
  hosts: FileHost[];
  backupConfiguration?: { retentionDays?: number; dataBackupHosts?: number[]; config?: FileLimits; data?: FileLimits };
}

/** Fills in defaults and makes paths absolute, relative ones from `folder`. */
export function toSpec({ deployment, stores, hosts, backupConfiguration }: FileContent, folder: string): DeploymentSpec {
  return {
    name: deployment.name,
    kind: deployment.kind ?? 'NATIVE',
    product: deployment.product,
    appliance: deployment.appliance,
    version: deployment.version,
    buildVersion: deployment.buildVersion ?? null,
    stores: stores.map((store): StoreSpec => ({
      name: store.name,
      type: store.type,
      ...(store.type === 'S3' ? { path: s3Path(store), s3: toS3(store) } : { path: resolve(folder, store.path) }),
      default: stores.length === 1 || store.default === true,
      requiresPasscode: store.requiresPasscode ?? false,
    })),
    hosts: hosts.map((host): HostSpec => ({
      id: host.id,
      hostname: host.hostname,
      address: host.address ?? null,
      console: host.console ?? false,
      status: host.status ?? 'ACTIVE',
      components: [...(host.components ?? [])],
      version: host.version ?? deployment.version,
      haRole: host.haRole ?? 'NONE',
      content: Object.fromEntries(Object.entries(host.content ?? {}).map(([group, sources]) => [group, sources.map((source) => toSource(source, folder))])),
      data: (host.data ?? []).map((source) => toSource(source, folder)),
      ...toHooks(host.hooks),
    })),
    backupConfiguration: {
      retentionDays: backupConfiguration?.retentionDays ?? 7,
      dataBackupHosts: [...(backupConfiguration?.dataBackupHosts ?? [])],
      ...toLimits('config', backupConfiguration?.config),
      ...toLimits('data', backupConfiguration?.data),
    },
  };
}

/** An entry for a value that is given; none for one that is left out: see `SourceSpec`. */
const given = <K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } =>
  (value === undefined ? {} : { [key]: value }) as { [P in K]?: V };

function toSource(source: FileSource, folder: string): SourceSpec {
  const { directory, file, postgres, database = '', include, exclude, onUnreadable } = source;
  if (postgres !== undefined) {
    const place = readPostgresUrl(postgres);
    if ('fault' in place) throw new TypeError('The address of a database was not checked.');
    return { type: 'POSTGRES', url: postgres, database, path: postgresPath(place, database) };
  }
  const rest = {
    staging: source.staging === undefined ? null : resolve(folder, source.staging),
    ...given('onUnreadable', onUnreadable === 'WARN' ? onUnreadable : undefined),
  };
  return directory === undefined
    ? { type: 'FILE', path: resolve(folder, file ?? ''), ...rest }
    : { type: 'DIRECTORY', path: resolve(folder, directory), ...rest, ...given('include', include), ...given('exclude', exclude) };
}

/** Without the slashes at its ends. */
const s3Prefix = (store: FileS3Store): string => (store.prefix ?? '').replaceAll(/^\/+|\/+$/g, '');

/** How an S3 store is named wherever it is shown: `s3://bucket/prefix`. */
export const s3Path = (store: FileS3Store): string => ['s3:/', store.bucket, s3Prefix(store)].filter((part) => part !== '').join('/');

/** Servers other than AWS mostly go by this region, or do not care. */
const REGION_OF_ENDPOINTS = 'us-east-1';

function toS3(store: FileS3Store): S3Spec {
  return {
    bucket: store.bucket, prefix: s3Prefix(store), region: store.region ?? REGION_OF_ENDPOINTS,
    ...given('endpoint', store.endpoint?.replace(/\/+$/, '')), ...given('forcePathStyle', store.forcePathStyle),
  };
}

const HOOK_TIMEOUT_SECONDS = 300;

function toHooks(hooks: FileHooks | undefined): { hooks?: HooksSpec } {
  const entries = Object.entries(hooks ?? {}).map(([when, list]) =>
    [when, list.map(({ run, timeoutSeconds }) => ({ run: [...run], timeoutSeconds: timeoutSeconds ?? HOOK_TIMEOUT_SECONDS }))] as const);
  return given('hooks', entries.length === 0 ? undefined : Object.fromEntries(entries) as HooksSpec);
}

function toLimits<K extends 'config' | 'data'>(key: K, limits: FileLimits = {}): { [P in K]?: RunLimits } {
  const { priority, timeLimitMinutes } = limits;
  const spec: RunLimits = { ...given('priority', priority), ...given('timeLimitMinutes', timeLimitMinutes) };
  return given(key, Object.keys(spec).length === 0 ? undefined : spec);
}
