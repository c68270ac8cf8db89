/**
 * The faults: what goes wrong, how it is brought about at any moment, and how it is put right again.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { until } from '../support/gateway.ts';
import type { OperationName } from './operations.ts';
import { kill, type Scene } from './scene.ts';

export interface Fault {
  name: string;
  /** What it can meet. */
  meets: readonly OperationName[];
  inflict(scene: Scene): Promise<void> | void;
  /** Puts right what a person would put right: mounts the disk again, starts the gateway. */
  lift?(scene: Scene): Promise<void> | void;
}

const ANY: readonly OperationName[] = ['backup', 'encrypted backup', 'data backup', 'verify', 'restore', 'delete', 'scan', 'drill'];
const WRITING: readonly OperationName[] = ['backup', 'encrypted backup', 'data backup'];

/** Something in the live content that a backup reads: what goes wrong must not depend on which file it is. */
function victim(scene: Scene): string {
  const name = scene.random() < 0.5 ? 'users' : 'ariel';
  return join(scene.live, name, `block-${Math.floor(scene.random() * 4)}`);
}

export const FAULTS: readonly Fault[] = [
  { name: 'the worker is killed', meets: ANY, inflict: async (scene) => await (await scene.gateway()).kill() },
  {
    name: 'the children of the worker are killed', meets: ANY,
    async inflict(scene) {
      kill(scene.children(await scene.gateway()));
    },
  },
  {
    name: 'Postgres is killed', meets: ANY,
    inflict: (scene) => scene.killPostgres(),
    lift: (scene) => databaseIsBack(scene),
  },
  {
    name: 'all processes are killed', meets: ANY,
    async inflict(scene) {
      const gateway = await scene.gateway();
      const children = scene.children(gateway);
      await Promise.all([gateway.kill(), scene.killPostgres()]);
      kill(children);
    },
    lift: (scene) => databaseIsBack(scene),
  },
  {
    name: 'the store is full', meets: ANY,
    inflict: (scene) => fill(join(scene.disk, 'filler')),
    lift: (scene) => fs.rmSync(join(scene.disk, 'filler'), { force: true }),
  },
  {
    name: 'the disk of the live content is full', meets: ANY,
    inflict: (scene) => fill(join(scene.live, 'filler')),
    lift: (scene) => fs.rmSync(join(scene.live, 'filler'), { force: true }),
  },
  {
    name: 'the store turns read-only', meets: ANY,
    // Not while a file is open to be written, says the kernel; a disk with a fault asks nobody.
    inflict: async (scene) => await until('the disk is read-only', () => remount(scene.disk, 'ro'), 5_000).then(() => undefined, () => undefined),
    lift: (scene) => void remount(scene.disk, 'rw'),
  },
  {
    name: 'the store vanishes', meets: ANY,
    inflict: (scene) => fs.renameSync(scene.store, `${scene.store}.away`),
    lift(scene) {
      fs.rmSync(scene.store, { recursive: true, force: true });
      fs.renameSync(`${scene.store}.away`, scene.store);
    },
  },
  {
    name: 'a source changes', meets: WRITING,
    inflict: (scene) => fs.appendFileSync(victim(scene), 'changed'),
  },
  {
    name: 'a source shrinks', meets: WRITING,
    inflict: (scene) => fs.truncateSync(victim(scene), 1_000_000),
  },
  {
    name: 'a file of a source vanishes', meets: WRITING,
    inflict: (scene) => fs.rmSync(victim(scene)),
  },
  {
    name: 'a source vanishes', meets: WRITING,
    inflict(scene) {
      for (const name of ['users', 'ariel']) fs.renameSync(join(scene.live, name), join(scene.live, `${name}.away`));
    },
    lift(scene) {
      for (const name of ['users', 'ariel']) fs.renameSync(join(scene.live, `${name}.away`), join(scene.live, name));
    },
  },
  {
    name: 'the clock is moved back', meets: ANY,
    inflict: (scene) => scene.moveClock(-3_600),
    lift: (scene) => scene.moveClock(0),
  },
];

function fill(path: string): void {
  const file = fs.openSync(path, 'w');
  const block = Buffer.alloc(1024 * 1024, 1);
  try {
    for (;;) fs.writeSync(file, block);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
  } finally {
    fs.closeSync(file);
  }
}

function remount(path: string, mode: 'ro' | 'rw'): boolean {
  try {
    execFileSync('mount', ['-o', `remount,${mode}`, path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The gateway starts it again; where that is dead too, its next start does. */
async function databaseIsBack(scene: Scene): Promise<void> {
  await scene.gateway();
  await until('Postgres is back', () => scene.site.sql`select 1`.then(() => true, () => false));
}
