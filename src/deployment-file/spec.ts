/**
 * A deployment file that is known to be right, made into the form in which the program keeps it: every path
 * absolute, every default filled in.
 */
import { resolve } from 'node:path';
import type { DeploymentSpec, HostSpec, SourceSpec, StoreSpec } from '../domain/deployment.ts';
import type { ContentGroup, DeploymentKind, HaRole, HostComponent, HostStatus, StoreType } from '../domain/vocabulary.ts';

/** What the schema lets through: one thing to back up. */
export type FileSource = { directory: string; file?: undefined; staging?: string } | { directory?: undefined; file: string; staging?: string };

export interface FileStore {
  name: string;
  type: StoreType;
  path: string;
  default?: boolean;
  requiresPasscode?: boolean;
}

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
}

/** What the schema lets through: a whole file. */
export interface FileContent {
  deployment: { name: string; product: string; appliance: string; version: string; buildVersion?: string; kind?: DeploymentKind };
  stores: FileStore[];
  hosts: FileHost[];
  backupConfiguration?: { retentionDays?: number; dataBackupHosts?: number[] };
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
      path: resolve(folder, store.path),
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
    })),
    backupConfiguration: {
      retentionDays: backupConfiguration?.retentionDays ?? 7,
      dataBackupHosts: [...(backupConfiguration?.dataBackupHosts ?? [])],
    },
  };
}

function toSource(source: FileSource, folder: string): SourceSpec {
  const staging = source.staging === undefined ? null : resolve(folder, source.staging);
  return source.directory === undefined
    ? { type: 'FILE', path: resolve(folder, source.file), staging }
    : { type: 'DIRECTORY', path: resolve(folder, source.directory), staging };
}
