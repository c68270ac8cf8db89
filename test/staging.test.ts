import { describe, expect, test } from 'vitest';
import type { DeploymentSpec, HostSpec } from '../src/domain/deployment.ts';
import { differences, mergeFile, stageBackupConfiguration, stageHostStatus } from '../src/domain/staging.ts';

function host(id: number, hostname: string, more: Partial<HostSpec> = {}): HostSpec {
  return {
    id, hostname, address: null, console: false, status: 'ACTIVE', components: [], version: '7.5.0', haRole: 'NONE', content: {}, data: [], ...more,
  };
}
const directory = (path: string) => ({ type: 'DIRECTORY' as const, path, staging: null });

const SITE: DeploymentSpec = {
  name: 'local', kind: 'NATIVE', product: 'acme-siem', appliance: '3199', version: '7.5.0', buildVersion: null,
  stores: [
    { name: 'default', type: 'DIRECTORY', path: '/b', default: true, requiresPasscode: false },
    { name: 'vault', type: 'DIRECTORY', path: '/v', default: false, requiresPasscode: true },
  ],
  hosts: [
    host(1, 'console', { console: true, components: ['QFLOW', 'EVENT_COLLECTOR'], content: { DEPLOYMENT_CONFIG: [directory('/etc/a'), directory('/etc/b')] } }),
    host(2, 'ep1', { components: ['EVENT_PROCESSOR'], data: [directory('/ariel')] }),
    host(3, 'spare', { status: 'NEW', components: ['DATA_NODE'] }),
  ],
  backupConfiguration: { retentionDays: 7, dataBackupHosts: [2, 3] },
};

function edited(edit: (spec: DeploymentSpec) => void): DeploymentSpec {
  const copy = structuredClone(SITE);
  edit(copy);
  return copy;
}
const hostOf = (spec: DeploymentSpec, id: number): HostSpec => spec.hosts.find((entry) => entry.id === id) as HostSpec;

describe('differences', () => {
  test('are none between equal specs, in whatever order stores, hosts, components and data hosts stand', () => {
    const shuffled = edited((spec) => {
      spec.stores.reverse();
      spec.hosts.reverse();
      hostOf(spec, 1).components.reverse();
      spec.backupConfiguration.dataBackupHosts.reverse();
    });
    expect(differences(SITE, SITE)).toEqual([]);
    expect(differences(SITE, shuffled)).toEqual([]);
  });

  test('are told a line each', () => {
    const to = edited((spec) => {
      spec.version = '7.5.1';
      spec.buildVersion = '2026.1';
      Object.assign(spec.stores[1] as object, { path: '/vault2', requiresPasscode: false });
      spec.hosts = [...spec.hosts.filter((entry) => entry.id !== 2), host(4, 'ep2')];
      hostOf(spec, 3).status = 'ACTIVE';
      Object.assign(hostOf(spec, 1), { components: [], address: '10.0.0.1', content: { USERS_CONFIG: [{ type: 'FILE', path: '/u', staging: '/tmp' }] } });
      spec.backupConfiguration = { retentionDays: 14, dataBackupHosts: [] };
    });
    expect(differences(SITE, to)).toEqual([
      'deployment: version 7.5.0 → 7.5.1',
      'deployment: buildVersion none → 2026.1',
      'store vault: path /v → /vault2',
      'store vault: requiresPasscode yes → no',
      'host 1 (console): address none → 10.0.0.1',
      'host 1 (console): components EVENT_COLLECTOR, QFLOW → none',
      'host 1 (console): content DEPLOYMENT_CONFIG directory /etc/a, directory /etc/b → none',
      'host 1 (console): content USERS_CONFIG none → file /u (staging /tmp)',
      'host 3 (spare): status NEW → ACTIVE',
      'host 4 (ep2): added',
      'host 2 (ep1): removed',
      'backup configuration: retention 7 → 14 days',
      'backup configuration: data hosts 2, 3 → none',
    ]);
  });

  test('tell of patterns, hooks, limits and buckets, and of nothing that may be a secret', () => {
    const to = edited((spec) => {
      spec.stores[1] = { name: 'vault', type: 'S3', path: 's3://b/v', default: false, requiresPasscode: true, s3: { bucket: 'b', prefix: 'v', region: 'r', endpoint: 'https://h' } };
      Object.assign(hostOf(spec, 2), {
        data: [{ ...directory('/ariel'), include: ['a', 'b'], exclude: ['c'], onUnreadable: 'WARN' }, { type: 'POSTGRES', url: 'postgres://u:hush@h', database: 'd', path: 'h:5432/d' }],
        hooks: { beforeBackup: [{ run: ['systemctl', 'stop', 'siem'], timeoutSeconds: 300 }] },
      });
      Object.assign(spec.backupConfiguration, { config: { priority: 'LOW' }, data: { timeLimitMinutes: 90 } });
    });
    expect(differences(SITE, to)).toEqual([
      'store vault: type DIRECTORY → S3',
      'store vault: path /v → s3://b/v',
      'store vault: region none → r',
      'store vault: endpoint none → https://h',
      'host 2 (ep1): data directory /ariel → directory /ariel (include a b, exclude c, on unreadable WARN), postgres h:5432/d',
      'host 2 (ep1): beforeBackup hooks none → systemctl (2 arguments, 300 s)',
      'backup configuration: config backups priority none → LOW',
      'backup configuration: data backups time limit none → 90 minutes',
    ]);
    const hidden = structuredClone(to);
    Object.assign(hostOf(hidden, 2).data[1] as object, { url: 'postgres://u:other@h' });
    Object.assign(hostOf(hidden, 2).hooks?.beforeBackup?.[0] as object, { run: ['systemctl', 'stop', 'hush'] });
    expect(differences(to, hidden)).toEqual([
      'host 2 (ep1): data directory /ariel (include a b, exclude c, on unreadable WARN), postgres h:5432/d (another user, password or parameter)',
      'host 2 (ep1): beforeBackup hooks systemctl (2 arguments, 300 s) (other arguments)',
    ]);
  });

  test('tell that the sources of a group stand in another order', () => {
    expect(differences(SITE, edited((spec) => hostOf(spec, 1).content.DEPLOYMENT_CONFIG?.reverse()))).toHaveLength(1);
  });

  test('tell a store that came and one that went', () => {
    const to = edited((spec) => { (spec.stores[1] as { name: string }).name = 'nas'; });
    expect(differences(SITE, to)).toEqual(['store nas: added', 'store vault: removed']);
  });
});

describe('an edited file over staged changes', () => {
  const staged = stageBackupConfiguration(stageHostStatus(SITE, 3, 'ACTIVE'), { retentionDays: 30, dataBackupHosts: [3] });

  test('leaves what mutations staged while the file is the same', () => {
    expect(mergeFile(SITE, SITE, staged)).toEqual(staged);
  });

  test('leaves it where the file changes other values, of the same host too', () => {
    const merged = mergeFile(SITE, edited((spec) => { hostOf(spec, 3).hostname = 'ep2'; spec.product = 'other'; }), staged);
    expect(hostOf(merged, 3)).toMatchObject({ hostname: 'ep2', status: 'ACTIVE' });
    expect(merged.backupConfiguration).toEqual({ retentionDays: 30, dataBackupHosts: [3] });
    expect(merged.product).toBe('other');
  });

  test("takes the file's value once that changes", () => {
    const merged = mergeFile(SITE, edited((spec) => { hostOf(spec, 3).status = 'DELETED'; spec.backupConfiguration.retentionDays = 14; }), staged);
    expect(hostOf(merged, 3).status).toBe('DELETED');
    expect(merged.backupConfiguration).toEqual({ retentionDays: 14, dataBackupHosts: [3] });
  });

  test('takes what the file has begun to say, and lets go what it no longer says', () => {
    const more = edited((spec) => {
      hostOf(spec, 2).hooks = { afterBackup: [{ run: ['a'], timeoutSeconds: 1 }] };
      spec.backupConfiguration.data = { priority: 'LOW' };
    });
    const merged = mergeFile(SITE, more, staged);
    expect([hostOf(merged, 2).hooks, merged.backupConfiguration.data]).toEqual([hostOf(more, 2).hooks, { priority: 'LOW' }]);
    expect(mergeFile(more, SITE, merged)).toStrictEqual(staged);
  });

  test('does not take another order of data hosts for a change', () => {
    const merged = mergeFile(SITE, edited((spec) => spec.backupConfiguration.dataBackupHosts.reverse()), staged);
    expect(merged.backupConfiguration.dataBackupHosts).toEqual([3]);
  });

  test('adds and removes hosts and stores with the file, in its order, and data hosts go with their host', () => {
    const merged = mergeFile(SITE, edited((spec) => {
      spec.hosts = [host(4, 'ep2', { components: ['DATA_NODE'] }), ...spec.hosts.filter((entry) => entry.id !== 3)];
      spec.stores = [spec.stores[0] as never, { name: 'nas', type: 'DIRECTORY', path: '/n', default: false, requiresPasscode: false }];
    }), staged);
    expect(merged.hosts.map((entry) => entry.id)).toEqual([4, 1, 2]);
    expect(merged.stores.map((entry) => entry.name)).toEqual(['default', 'nas']);
    expect(merged.backupConfiguration.dataBackupHosts).toEqual([]);
  });

  test('drops a data host that stores no ariel data any more', () => {
    expect(mergeFile(SITE, edited((spec) => { hostOf(spec, 3).components = []; }), staged).backupConfiguration.dataBackupHosts).toEqual([]);
  });
});

describe('staging', () => {
  test('answers a new spec and leaves the given one as it is', () => {
    const before = structuredClone(SITE);
    expect(differences(SITE, stageHostStatus(SITE, 3, 'ACTIVE'))).toEqual(['host 3 (spare): status NEW → ACTIVE']);
    expect(differences(SITE, stageBackupConfiguration(SITE, { dataBackupHosts: [2, 2] }))).toEqual(['backup configuration: data hosts 2, 3 → 2']);
    expect(differences(SITE, stageBackupConfiguration(SITE, {}))).toEqual([]);
    expect(SITE).toEqual(before);
  });

  test('keeps the limits of the backups', () => {
    const limited = edited((spec) => { spec.backupConfiguration.config = { timeLimitMinutes: 5 }; });
    expect(stageBackupConfiguration(limited, { retentionDays: 1 }).backupConfiguration.config).toEqual({ timeLimitMinutes: 5 });
  });

  test('of an unknown host changes nothing', () => {
    expect(stageHostStatus(SITE, 99, 'ACTIVE')).toEqual(SITE);
  });
});
