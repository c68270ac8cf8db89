/**
 * The faults: what goes wrong, how it is brought about at any moment, and how it is put right again.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { until } from '../support/gateway.ts';
import { pause } from '../support/site.ts';
import type { OperationName } from './operations.ts';
import { emptyDisk, fillDisk, type StoreKind } from './place.ts';
import { kill, type Scene } from './scene.ts';

export interface Fault {
  name: string;
  /** What it can meet. */
  meets: readonly OperationName[];
  /** The only kind of store that has it; none: every kind. */
  of?: StoreKind;
  /** Whether it stays until the work has given up, which takes minutes. */
  isLasting?: boolean;
  inflict(scene: Scene): Promise<void> | void;
  /** Puts right what a person would put right: mounts the disk again, starts the gateway. */
  lift?(scene: Scene): Promise<void> | void;
}

const ANY: readonly OperationName[] = ['backup', 'encrypted backup', 'data backup', 'verify', 'restore', 'encrypted restore', 'delete', 'scan', 'drill'];
const WRITING: readonly OperationName[] = ['backup', 'encrypted backup', 'data backup'];

/** Something in the live content that a backup reads: what goes wrong must not depend on which file it is. */
function victim(scene: Scene): string {
  const name = scene.random() < 0.5 ? 'users' : 'ariel';
  return join(scene.live, name, `block-${Math.floor(scene.random() * 4)}`);
}

const FAULTS: readonly Fault[] = [
  { name: 'the worker is killed', meets: ANY, inflict: async (scene) => await (await scene.gateway()).kill() },
  {
    name: 'the children of the worker are killed', meets: ANY,
    async inflict(scene) {
      kill(scene.children(await scene.gateway()));
    },
  },
  {
    // tar, zstd, or whatever else there is just then.
    name: 'one child of the worker is killed', meets: ANY,
    async inflict(scene) {
      const children = scene.children(await scene.gateway());
      kill(children.slice(Math.floor(scene.random() * children.length)).slice(0, 1));
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
    inflict: (scene) => scene.place.fill(),
    lift: (scene) => scene.place.empty(),
  },
  {
    name: 'the disk of the live content is full', meets: ANY,
    inflict: (scene) => fillDisk(scene.live),
    lift: (scene) => emptyDisk(scene.live),
  },
  {
    name: 'the store turns read-only', meets: ANY,
    inflict: (scene) => scene.place.protect(),
    lift: (scene) => scene.place.unprotect(),
  },
  {
    name: 'the store vanishes', meets: ANY,
    inflict: (scene) => scene.place.hide(),
    lift: (scene) => scene.place.show(),
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
  {
    name: 'the object store is killed', meets: ANY, of: 'S3',
    inflict: (scene) => scene.s3.server.kill(),
    lift: (scene) => scene.s3.server.restart(),
  },
  {
    name: 'the disk of the object store is full', meets: ANY, of: 'S3',
    inflict: (scene) => scene.s3.fillDisk(),
    lift: (scene) => scene.s3.emptyDisk(),
  },
  {
    name: 'connections are cut', meets: ANY, of: 'S3',
    async inflict({ s3, random }) {
      // Again and again, so that something is on its way at one of the times.
      for (let nth = 0; nth < 5; nth += 1) {
        s3.line.cut();
        await pause(random() * 150);
      }
    },
  },
  {
    name: 'connections are refused', meets: ANY, of: 'S3',
    inflict: (scene) => scene.s3.line.refuse(),
    lift: (scene) => scene.s3.line.accept(),
  },
  {
    name: 'the network falls silent', meets: ANY, of: 'S3',
    inflict: (scene) => scene.s3.line.silence(),
    lift: (scene) => scene.s3.line.speak(),
  },
  {
    name: 'the object store stays away', meets: ['backup', 'verify', 'restore', 'delete', 'scan'], of: 'S3', isLasting: true,
    inflict: (scene) => scene.s3.server.kill(),
    lift: (scene) => scene.s3.server.restart(),
  },
  {
    name: 'the network stays silent', meets: ['encrypted backup', 'data backup', 'restore', 'delete', 'drill'], of: 'S3', isLasting: true,
    inflict: (scene) => scene.s3.line.silence(),
    lift: (scene) => scene.s3.line.speak(),
  },
];

/** The gateway starts it again; where that is dead too, its next start does. */
async function databaseIsBack(scene: Scene): Promise<void> {
  await scene.gateway();
  await until('Postgres is back', () => scene.site.sql`select 1`.then(() => true, () => false));
}

/** The faults that a store of this kind can meet. */
export const faultsOf = (kind: StoreKind): Fault[] => FAULTS.filter(({ of }) => of === undefined || of === kind);
