/**
 * A process that is not the superuser and makes a backup of one source, `nightly` unless it is told another name. Prints what
 * it came to, as JSON.
 */
import { EngineError } from '../../src/domain/errors.ts';
import type { FilesSource } from '../../src/domain/deployment.ts';
import { backup, openStore } from '../../src/engine/index.ts';
import type { IncrementalPlan } from '../../src/engine/index.ts';

const order = JSON.parse(process.argv[2] ?? '') as { store: string; source: FilesSource; name?: string; incremental?: IncrementalPlan };
if (process.geteuid?.() === 0) {
  process.setgroups?.([]);
  process.setgid?.(65534);
  process.setuid?.(65534);
}
const facts = {
  name: 'nightly', description: null, type: 'CONFIG' as const, product: 'acme-siem', appliance: '3199', version: '7.5.0', buildVersion: null,
  deployment: 'local', host: { id: 1, hostname: 'console' }, consoleAddress: null, haRole: 'NONE' as const, configurationId: 1,
  initiatedBy: 'admin', timeInitiated: '2026-01-02T03:04:05.678Z', retentionDate: null, managedHostAddresses: [],
};
try {
  const { manifest } = await backup({
    store: openStore({ type: 'DIRECTORY', path: order.store, s3: null }), name: order.name ?? 'nightly', incremental: order.incremental, attempt: 'test.1', facts, encryption: null,
    archives: [{ group: 'DEPLOYMENT_CONFIG', source: order.source }],
  }, { signal: new AbortController().signal, onProgress: () => undefined, beforePublish: async () => undefined });
  const [archive] = manifest.archives;
  process.stdout.write(JSON.stringify({ unreadable: archive?.unreadable, counted: [archive?.files, archive?.directories], archives: manifest.archives.map(({ file }) => file) }));
} catch (error) {
  if (!(error instanceof EngineError)) throw error;
  process.stdout.write(JSON.stringify({ code: error.code, message: error.message }));
}
