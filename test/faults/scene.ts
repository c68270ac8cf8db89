/**
 * Where faults are tried out: a gateway in a process of its own, whose store, a directory or a bucket of a real object
 * store, and whose live content lie on small file systems of their own, so that a disk can be filled or turn read-only, and whose clock can be moved.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { until, type GatewayProcess } from '../support/gateway.ts';
import { makeIncompressible, openSite, seeded, type Site } from '../support/site.ts';
import { describeTree, isRoot } from '../support/tree.ts';
import { directoryPlace } from './directory-place.ts';
import type { Place, StoreKind } from './place.ts';
import { s3Place, type S3Place } from './s3-place.ts';

/** What faults need beside the gateway's own needs; a CI run fails without. */
export const canInflict: boolean = ((): boolean => {
  const can = isRoot && spawnSync('unshare', ['--mount', 'true']).status === 0 && fakeClock() !== null;
  if (!can && process.env['CI'] !== undefined) throw new Error('The fault tests need root, mount and libfaketime (Debian: faketime).');
  return can;
})();

function fakeClock(): string | null {
  return fs.globSync('/usr/lib/{*/,}faketime/libfaketime.so.1')[0] ?? null;
}

export const PASSCODE = 'a passcode of the fault tests';
/** The store is small enough to be filled at once, and has room for a dozen backups. */
const DISK_MEGABYTES = 400;
const LIVE_MEGABYTES = 160;
/** Of each directory; for an object store more than a part, and no more, since it is slower than a disk. */
const CONTENT_MEGABYTES = { DIRECTORY: 24, S3: 12 };

export interface Scene {
  readonly kind: StoreKind;
  /** Where the backups go. */
  readonly place: Place;
  /** The same, where it is an object store. @throws TypeError in a scene of another kind */
  readonly s3: S3Place;
  readonly site: Site;
  readonly random: () => number;
  /** The gateway that runs now. */
  gateway(): Promise<GatewayProcess>;
  /** The process ids of everything that a gateway has started, Postgres aside. */
  children(gateway: GatewayProcess): number[];
  /** SIGKILL of Postgres, all of its processes. */
  killPostgres(): Promise<void>;
  /** Moves the clock of gateways and their children, in seconds; 0: the true time. */
  moveClock(seconds: number): void;
  /** Content of the live directories of CONFIG and DATA. */
  print(): Record<string, string>;
  /** Makes the live content anew, a little different each time. */
  refresh(): void;
  readonly live: string;
  close(): Promise<void>;
}

/** Opens a scene. Everything random in it follows from the seed. */
export async function openScene(seed: number, kind: StoreKind = 'DIRECTORY'): Promise<Scene> {
  const site = await openSite({});
  const [disk, live, clock] = [site.at('disk'), site.at('live'), site.at('clock')];
  const random = seeded(seed);
  for (const [path, size] of [[disk, DISK_MEGABYTES], [live, LIVE_MEGABYTES]] as const) {
    fs.mkdirSync(path);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}m`, 'tmpfs', path]);
  }
  let place: Place | undefined;
  const close = async (): Promise<void> => {
    await site.killAll();
    await place?.close();
    for (const path of [disk, live]) spawnSync('umount', ['-l', path]);
    await site.close();
  };
  try {
    // The object store works as nobody, and must get to its disk.
    fs.chmodSync(site.dataDir, 0o711);
    place = kind === 'S3' ? await s3Place(disk) : directoryPlace(disk);
  } catch (error) {
    await close();
    throw error;
  }
  fs.writeFileSync(clock, '+0');
  fs.writeFileSync(site.at('deployment.yaml'), JSON.stringify({
    deployment: { name: 'local', product: 'acme-siem', appliance: '3199', version: '7.5.0' },
    stores: [{ name: 'default', default: true, ...place.declaration }],
    hosts: [
      { id: 1, hostname: 'console', address: '192.0.2.10', console: true, content: {
        USERS_CONFIG: [{ directory: join(live, 'users') }], CUSTOM_RULES_CONFIG: [{ directory: join(live, 'rules') }],
      } },
      { id: 2, hostname: 'ep1', components: ['EVENT_PROCESSOR'], data: [{ directory: join(live, 'ariel') }] },
    ],
    backupConfiguration: { dataBackupHosts: [2] },
  }));
  const env = {
    ...place.env,
    LD_PRELOAD: fakeClock() ?? '', FAKETIME_TIMESTAMP_FILE: clock, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1',
  };
  let current: GatewayProcess | undefined;
  let round = 0;
  const scene: Scene = {
    kind, place, site, random, live,
    get s3() {
      if (kind !== 'S3') throw new TypeError(`The store is a ${kind}.`);
      return place as S3Place;
    },
    async gateway() {
      if (current === undefined || current.process.exitCode !== null || current.process.signalCode !== null) current = await site.start(env);
      return current;
    },
    children: (gateway) => descendants(gateway.process.pid ?? 0),
    async killPostgres() {
      const [pid] = fs.readFileSync(site.at('postgres', 'postmaster.pid'), 'utf8').split('\n');
      const all = [...descendants(Number(pid)), Number(pid)];
      kill(all);
      await until('Postgres is gone', () => all.every((process) => !fs.existsSync(`/proc/${process}`)));
    },
    moveClock: (seconds) => fs.writeFileSync(clock, seconds < 0 ? String(seconds) : `+${seconds}`),
    print: () => Object.assign({}, ...['users', 'rules', 'ariel'].map((name) => {
      const path = join(live, name);
      return fs.existsSync(path) ? Object.fromEntries(Object.entries(describeTree(path)).map(([key, value]) => [`${name}/${key}`, value])) : { [name]: 'gone' };
    })),
    refresh() {
      round += 1;
      for (const name of ['users', 'rules', 'ariel']) fs.rmSync(join(live, name), { recursive: true, force: true });
      makeIncompressible(join(live, 'users'), CONTENT_MEGABYTES[kind], 4);
      makeIncompressible(join(live, 'ariel'), CONTENT_MEGABYTES[kind], 4);
      for (let nth = 0; nth < 200; nth += 1) {
        const directory = join(live, 'rules', `${nth % 10}`);
        fs.mkdirSync(directory, { recursive: true });
        fs.writeFileSync(join(directory, `rule-${nth}`), `round ${round}, rule ${nth}\n`.repeat(1 + Math.floor(random() * 200)));
      }
    },
    close,
  };
  scene.refresh();
  return scene;
}

/** Ends processes at once; ones that are gone are no error. */
export function kill(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // Already gone.
    }
  }
}

function descendants(pid: number): number[] {
  const parents = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).flatMap((name) => {
    try {
      return [[Number(name), Number(/\) \S (\d+)/.exec(fs.readFileSync(`/proc/${name}/stat`, 'latin1'))?.[1])] as const];
    } catch {
      return [];
    }
  });
  const below = (parent: number): number[] => parents.filter(([, of]) => of === parent).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
}
