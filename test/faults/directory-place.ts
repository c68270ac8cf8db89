/** A store that is a directory, on a disk of its own. */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { basename, join } from 'node:path';
import { STORE_MARK } from '../../src/engine/index.ts';
import { until } from '../support/gateway.ts';
import { emptyDisk, fillDisk, wholeBackups, type Place } from './place.ts';

/** @param disk where a file system is mounted */
export function directoryPlace(disk: string): Place {
  const store = join(disk, 'backups');
  return {
    declaration: { type: 'DIRECTORY', path: store },
    env: {},
    patience: 60_000,
    settling: 5_000,
    async copyOut(location, to) {
      if (!location.startsWith(`${store}/`)) throw new Error(`${location} is not in ${store}`);
      fs.cpSync(location, to, { recursive: true });
    },
    isThere: async (location) => fs.existsSync(location),
    async duplicate(location) {
      const copy = `${location}.copy`;
      fs.cpSync(location, `${store}/.copying`, { recursive: true, preserveTimestamps: true });
      fs.renameSync(`${store}/.copying`, copy);
      return basename(copy);
    },
    removeCopy: async (name) => fs.rmSync(join(store, name), { recursive: true, force: true }),
    async oddities(site) {
      const [expected, found] = [await wholeBackups(site), fs.readdirSync(store).filter((name) => name !== STORE_MARK)];
      return [...found.filter((name) => !expected.includes(name)), ...expected.filter((name) => !found.includes(name))];
    },
    fill: () => fillDisk(disk),
    empty: () => emptyDisk(disk),
    // Not while a file is open to be written, says the kernel; a disk with a fault asks nobody.
    protect: () => until('the disk is read-only', () => remount(disk, 'ro'), 5_000).then(() => undefined, () => undefined),
    unprotect: () => void remount(disk, 'rw'),
    hide: () => fs.renameSync(store, `${store}.away`),
    show() {
      fs.rmSync(store, { recursive: true, force: true });
      fs.renameSync(`${store}.away`, store);
    },
    close: () => undefined,
  };
}

function remount(path: string, mode: 'ro' | 'rw'): boolean {
  try {
    execFileSync('mount', ['-o', `remount,${mode}`, path], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
