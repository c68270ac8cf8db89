/**
 * A store in a bucket of a real object store, whose data lie on a disk of their own. The worker is a user with no rights
 * but those on the bucket, and reaches it over a line that can fail, and a proxy that can answer in the server's place.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { startProxy } from '../support/object-store-proxy.ts';
import { startObjectStore, type ObjectStore } from '../support/object-store.ts';
import type { Site } from '../support/site.ts';
import { openLine, type Line } from './line.ts';
import { emptyDisk, fillDisk, wholeBackups, type Place } from './place.ts';

/** A place whose server and network can fail, too. */
export interface S3Place extends Place {
  readonly server: ObjectStore;
  readonly line: Line;
  /** Fills the disk of the server, which its quotas know nothing of. */
  fillDisk(): void;
  emptyDisk(): void;
}

const BUCKET = 'backups';
const PREFIX = 'site';
const MANIFEST = 'manifest.json';
/** The files of a finished backup: no mark, no upload that nobody has completed, no part of one. */
const ITS_FILES = /^\w[\w.]*\.(json|sha256|zst|age)$/;
/** How the store finds out whether it can write: an upload of one byte, which a sweep ends an hour after its worker died. */
const TRIAL = `${PREFIX}/.trial (`;

/** @param disk where a file system is mounted */
export async function s3Place(disk: string): Promise<S3Place> {
  const server = await startObjectStore(undefined, disk);
  const proxy = await startProxy(server.url);
  const line = await openLine(proxy.url);
  const { AWS_ACCESS_KEY_ID: admin = '' } = server.env;
  const worker = admin.replace(/:.*/, ':guest');
  const keyOf = (location: string): string => {
    const start = `s3://${BUCKET}/`;
    if (!location.startsWith(`${start}${PREFIX}/`)) throw new Error(`${location} is not in ${start}${PREFIX}`);
    return location.slice(start.length);
  };
  const objectsOf = (location: string): Promise<string[]> => server.contents(`${keyOf(location)}/`);

  /** Rights on a bucket are Swift's own word, as its quotas are. */
  const grant = async (mayWrite: boolean): Promise<void> => {
    const login = await fetch(`${server.url}/auth/v1.0`, { headers: { 'x-auth-user': admin, 'x-auth-key': server.env['AWS_SECRET_ACCESS_KEY'] ?? '' } });
    for (const bucket of [BUCKET, `${BUCKET}+segments`]) {
      const { status } = await fetch(`${login.headers.get('x-storage-url')}/${encodeURIComponent(bucket)}`, {
        method: 'PUT', headers: { 'x-auth-token': login.headers.get('x-auth-token') ?? '', 'x-container-read': worker, 'x-container-write': mayWrite ? worker : '' },
      });
      if (status >= 300) throw new Error(`Swift answers ${status} for the rights on ${bucket}.`);
    }
  };
  await grant(true);

  return {
    server, line,
    declaration: { type: 'S3', bucket: BUCKET, prefix: PREFIX, endpoint: line.url, forcePathStyle: true },
    env: { ...server.env, AWS_ACCESS_KEY_ID: worker },
    patience: 180_000,
    settling: 40_000,
    async copyOut(location, to) {
      fs.mkdirSync(to);
      for (const key of await objectsOf(location)) {
        const file = key.slice(keyOf(location).length + 1);
        // A mark is none of its files: whether one is left over is looked at apart.
        if (!file.startsWith('.')) fs.writeFileSync(join(to, file), await server.get(key));
      }
    },
    isThere: async (location) => (await objectsOf(location)).length > 0,
    async duplicate(location) {
      const copy = `${keyOf(location)}.copy`;
      // Last, since it makes a backup of them.
      const keys = (await objectsOf(location)).sort((a, b) => Number(a.endsWith(`/${MANIFEST}`)) - Number(b.endsWith(`/${MANIFEST}`)));
      for (const key of keys) await server.put(`${copy}/${key.slice(keyOf(location).length + 1)}`, await server.get(key));
      return copy.slice(PREFIX.length + 1);
    },
    async removeCopy(name) {
      for (const key of await server.contents(`${PREFIX}/${name}/`)) await server.delete(key);
    },
    async oddities(site: Site) {
      const expected = await wholeBackups(site);
      const found = (await server.contents('')).filter((key) => !key.startsWith(TRIAL));
      const isExpected = (key: string): boolean => {
        const [prefix, name = '', file = '', deeper] = key.split('/');
        return prefix === PREFIX && expected.includes(name) && deeper === undefined && ITS_FILES.test(file);
      };
      return [...found.filter((key) => !isExpected(key)), ...expected.filter((name) => !found.includes(`${PREFIX}/${name}/${MANIFEST}`))];
    },
    // Not even a byte more; a quota of nothing is none.
    fill: () => server.limit(1),
    empty: () => server.limit(null),
    protect: () => grant(false),
    unprotect: () => grant(true),
    hide() {
      proxy.decide = () => ({ answer: 404, code: 'NoSuchBucket' });
    },
    show() {
      proxy.decide = () => undefined;
    },
    fillDisk: () => fillDisk(disk),
    emptyDisk: () => emptyDisk(disk),
    async close() {
      line.close();
      await proxy.stop();
      await server.stop();
    },
  };
}
