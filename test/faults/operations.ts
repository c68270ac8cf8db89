/**
 * What faults meet: each operation begun as a client begins it, and what must be true of it once it has ended.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { createBackup, createRestore, deleteBackup, makeBackup, requestRestore, restoreIs, showBackup } from '../support/site.ts';
import { PASSCODE, type Scene } from './scene.ts';

export type OperationName = 'backup' | 'encrypted backup' | 'data backup' | 'verify' | 'restore' | 'encrypted restore' | 'delete' | 'scan' | 'drill';

/** One operation that has been begun. */
export interface Begun {
  /** Waits until it has ended, and answers how: a documented status. */
  end(gateway: GatewayProcess): Promise<Ending>;
}

export interface Ending {
  /** The job's last status. */
  job: string;
  error: string | null;
  /** What must hold after that ending, beside what must hold after any. */
  check(): Promise<void> | void;
}

let serial = 0;
const newName = (): string => `fault-${++serial}-${Date.now()}`;

async function ask(gateway: GatewayProcess, source: string, variables: Record<string, unknown> = {}): Promise<any> {
  const { data, errors } = await gateway.query(source, variables);
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data;
}

/** Waits for a job's end. A gateway that is cut off for a moment is asked again. */
async function jobEnds(scene: Scene, gateway: GatewayProcess, id: string): Promise<{ status: string; error: string | null }> {
  return await until(`job ${id} has ended`, async () => {
    const data = await ask(gateway, 'query ($id: ID!) { job(id: $id) { status error } }', { id }).catch(() => null);
    return ['COMPLETED', 'FAILED', 'CANCELLED'].includes(data?.job?.status) && data.job;
  }, scene.place.patience);
}

/** A backup that is whole: in its store, verified from its digests by a program that is not ours. */
async function backupIsWhole(scene: Scene, gateway: GatewayProcess, id: string): Promise<void> {
  const backup = await showBackup(gateway, id);
  assert.partialDeepStrictEqual(backup, { status: 'SUCCESS', isValid: true, validityProblems: [] });
  const parent = fs.mkdtempSync(join(tmpdir(), 'backup-gateway-copy-'));
  try {
    const path = join(parent, 'copy');
    await scene.place.copyOut(String(backup.contentFilePath), path);
    execFileSync('sha256sum', ['--check', '--strict', '--quiet', 'manifest.sha256'], { cwd: path, stdio: 'pipe' });
    const bytes = fs.readdirSync(path).reduce((sum, name) => sum + fs.statSync(join(path, name)).size, 0);
    assert.equal(backup.sizeOnDisk, bytes);
  } finally {
    fs.rmSync(parent, { recursive: true, force: true });
  }
}

async function beginBackup(scene: Scene, input: Record<string, unknown>): Promise<Begun> {
  const { id, jobId } = await createBackup(await scene.gateway(), { name: newName(), ...input });
  return {
    async end(gateway) {
      const { status: job, error } = await jobEnds(scene, gateway, jobId);
      return {
        job, error,
        async check() {
          if (job === 'COMPLETED') return await backupIsWhole(scene, gateway, id);
          assert.equal((await showBackup(gateway, id)).status, 'FAILED');
        },
      };
    },
  };
}

/** A mutation that starts a job on a whole backup, which it leaves as it is. */
async function beginJob(scene: Scene, mutation: string, variables: Record<string, unknown>, backupId: string | null): Promise<Begun> {
  const data = await ask(await scene.gateway(), mutation, variables);
  const [payload] = Object.values<any>(data);
  if (payload.job === undefined) throw new Error(`It was refused: ${JSON.stringify(payload)}`);
  return {
    async end(gateway) {
      const { status: job, error } = await jobEnds(scene, gateway, payload.job.id);
      return {
        job, error,
        async check() {
          if (backupId !== null) await backupIsWhole(scene, gateway, backupId);
        },
      };
    },
  };
}

/** A restore of two groups over content that has changed since. */
async function beginRestore(scene: Scene, secret: { passcode?: string }): Promise<Begun> {
  const gateway = await scene.gateway();
  const id = await makeBackup(gateway, { name: newName(), ...secret });
  const backedUp = scene.print();
  scene.refresh();
  // Restored are these two; the rest must stay.
  const old = scene.print();
  const fresh = { ...old, ...Object.fromEntries(Object.entries(backedUp).filter(([name]) => !name.startsWith('ariel'))) };
  for (const name of Object.keys(old)) if (!name.startsWith('ariel') && !(name in backedUp)) delete fresh[name];
  const restore = await createRestore(gateway, id, ['USERS_CONFIG', 'CUSTOM_RULES_CONFIG']);
  const job = await requestRestore(gateway, restore, secret);
  if (typeof job !== 'string') throw new Error(`It was refused: ${JSON.stringify(job)}`);
  return {
    async end(gateway) {
      const { status, error } = await jobEnds(scene, gateway, job);
      return {
        job: status, error,
        async check() {
          const wanted = status === 'COMPLETED' ? 'SUCCESS' : 'FAILED';
          await restoreIs(gateway, restore, [wanted], 5_000);
          assert.deepEqual(scene.print(), status === 'COMPLETED' ? fresh : old);
          await backupIsWhole(scene, gateway, id);
        },
      };
    },
  };
}

const VIOLATIONS = '... on RuleViolations { violations { rule message } }';

export const OPERATIONS: Record<OperationName, (scene: Scene) => Promise<Begun>> = {
  'backup': (scene) => beginBackup(scene, {}),
  'encrypted backup': (scene) => beginBackup(scene, { passcode: PASSCODE }),
  'data backup': (scene) => beginBackup(scene, { type: 'DATA', hostId: '2' }),

  async verify(scene) {
    const id = await makeBackup(await scene.gateway(), { name: newName() });
    return await beginJob(scene, `mutation ($id: ID!) { verifyBackup(input: { id: $id }) { ... on VerifyBackupPayload { job { id } } ${VIOLATIONS} } }`, { id }, id);
  },

  async drill(scene) {
    const id = await makeBackup(await scene.gateway(), { name: newName() });
    return await beginJob(scene, `mutation ($id: ID!) { drillRestore(input: { backupId: $id }) { ... on DrillRestorePayload { job { id } } ${VIOLATIONS} } }`, { id }, id);
  },

  async scan(scene) {
    const gateway = await scene.gateway();
    const id = await makeBackup(gateway, { name: newName() });
    const { contentFilePath } = await showBackup(gateway, id);
    // As if it had been copied here from another place.
    const copy = await scene.place.duplicate(contentFilePath);
    const begun = await beginJob(scene, `mutation { scanStore(input: { storeName: "default" }) { ... on ScanStorePayload { job { id } } ${VIOLATIONS} } }`, {}, id);
    return {
      async end(gateway) {
        const ending = await begun.end(gateway);
        return {
          ...ending,
          async check() {
            await ending.check();
            const rows = await scene.site.sql`select status from backups where directory = ${copy}`;
            // A later scan may find it where this one failed; never twice.
            assert.ok(rows.length <= 1);
            if (ending.job === 'COMPLETED') assert.deepEqual(rows.map((row) => row['status']), ['SUCCESS']);
            if (rows.length === 0) await scene.place.removeCopy(copy);
          },
        };
      },
    };
  },

  restore: (scene) => beginRestore(scene, {}),
  'encrypted restore': (scene) => beginRestore(scene, { passcode: PASSCODE }),

  async delete(scene) {
    const gateway = await scene.gateway();
    const id = await makeBackup(gateway, { name: newName() });
    const { contentFilePath } = await showBackup(gateway, id);
    const job = await deleteBackup(gateway, id);
    return {
      async end(gateway) {
        const { status, error } = await jobEnds(scene, gateway, job);
        return {
          job: status, error,
          async check() {
            const backup = await showBackup(gateway, id);
            if (status === 'COMPLETED') {
              assert.equal(backup, null);
              return assert.ok(!await scene.place.isThere(contentFilePath));
            }
            // It is what it was, or, half removed, what no longer counts as one; and can be deleted again.
            assert.ok(['SUCCESS', 'MISSING'].includes(backup.status), backup.status);
            assert.equal((await jobEnds(scene, gateway, await deleteBackup(gateway, id))).status, 'COMPLETED');
            assert.ok(!await scene.place.isThere(contentFilePath));
          },
        };
      },
    };
  },
};

export const OPERATION_NAMES = Object.keys(OPERATIONS) as OperationName[];
