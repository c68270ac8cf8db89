/**
 * A process that is not the superuser and plans a restore of the backup `nightly` into one target. Prints what it came to,
 * as JSON.
 */
import { EngineError } from '../../src/domain/errors.ts';
import type { FilesSource } from '../../src/domain/deployment.ts';
import { openStore, planRestore } from '../../src/engine/index.ts';

const order = JSON.parse(process.argv[2] ?? '') as { store: string; source: FilesSource };
if (process.geteuid?.() === 0) {
  process.setgroups?.([]);
  process.setgid?.(65534);
  process.setuid?.(65534);
}
try {
  const [group] = await planRestore({
    backup: openStore({ type: 'DIRECTORY', path: order.store, s3: null }).open('nightly'), groups: ['DEPLOYMENT_CONFIG'],
    targets: [{ group: 'DEPLOYMENT_CONFIG', source: order.source }], identity: null, storePath: order.store,
  }, { signal: new AbortController().signal, onProgress: () => undefined });
  process.stdout.write(JSON.stringify(group));
} catch (error) {
  if (!(error instanceof EngineError)) throw error;
  process.stdout.write(JSON.stringify({ code: error.code, message: error.message }));
}
