/**
 * An object store behind a proxy, and stores in it, for the tests of one file.
 */
import { pipeline } from 'node:stream/promises';
import { afterAll, afterEach, beforeAll } from 'vitest';
import type { S3Spec } from '../../src/domain/deployment.ts';
import type { BackupWriter, Store } from '../../src/engine/index.ts';
import { Bucket, TIMES } from '../../src/engine/stores/s3-bucket.ts';
import { S3Store } from '../../src/engine/stores/s3.ts';
import { startProxy, type Proxy } from './object-store-proxy.ts';
import { noObjectStore, startObjectStore, type ObjectStore } from './object-store.ts';

/** More than one part. */
export const LARGE = Buffer.alloc(12 * 1024 * 1024, 'pattern of 11');
/** Times so short that tests need not wait for the real ones, and long enough for a busy machine. */
export const HASTE = { connect: 1_000, silence: 1_500, longSilence: 2_000, patience: 2_000, tries: 4, tidying: 2_000 };

export interface Scene {
  server: ObjectStore;
  proxy: Proxy;
  /** A store that nobody has used, reached by the proxy, with connections of its own. */
  newStore(spec?: Partial<S3Spec>, times?: typeof TIMES): Store;
  /** Another process's view of the last store, which goes past the proxy. */
  sameStore(): Store;
  /** Where the last store lies in the bucket. */
  prefix(): string;
  /** What the last store holds. */
  contents(): Promise<string[]>;
}

/** Sets one up for all tests of a file; nothing where there is no object store. */
export function openScene(): Scene {
  const scene = {} as Scene;
  let count = 0;
  const prefix = (): string => `store/${count}`;
  beforeAll(async () => {
    if (noObjectStore !== '') return;
    const server = await startObjectStore();
    const proxy = await startProxy(server.url);
    Object.assign(scene, {
      server, proxy, prefix,
      newStore(spec = {}, times = TIMES) {
        count += 1;
        return new S3Store(new Bucket({ ...server.spec(prefix(), proxy.url), ...spec }, times));
      },
      sameStore: () => new S3Store(new Bucket(server.spec(prefix()))),
      contents: async () => (await server.contents(`${prefix()}/`)).map((key) => key.slice(prefix().length + 1)),
    } satisfies Scene);
  });
  afterEach(() => {
    if (scene.proxy !== undefined) scene.proxy.decide = () => undefined;
  });
  afterAll(async () => {
    await scene.proxy?.stop();
    await scene.server?.stop();
  });
  return scene;
}

export async function write(writer: BackupWriter, file: string, content: string | Buffer): Promise<void> {
  await pipeline([Buffer.from(content)], await writer.create(file));
}

/** Everything that the engine does to make a backup of two archives. */
export async function publish(store: Store, name: string, attempt = 'job.1', content: string | Buffer = 'archive'): Promise<void> {
  const writer = await store.begin(name, attempt);
  await write(writer, 'a.tar.zst', content);
  await write(writer, 'b.tar.zst', 'second archive');
  await writer.publish('{}');
}
