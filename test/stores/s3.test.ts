/**
 * S3 stores and what can go wrong between them and their scene.server.
 */
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { S3Spec } from '../../src/domain/deployment.ts';
import type { BackupWriter, Store } from '../../src/engine/index.ts';
import { Bucket, TIMES } from '../../src/engine/stores/s3-bucket.ts';
import { partSize } from '../../src/engine/stores/s3-streams.ts';
import { openS3Store } from '../../src/engine/stores/s3.ts';
import { startProxy } from '../support/object-store-proxy.ts';
import { HASTE, LARGE, openScene, publish, write } from '../support/object-store-scene.ts';
import { noObjectStore } from '../support/object-store.ts';

const scene = openScene();
const story = test.skipIf(noObjectStore !== '');

describe(`an S3 store that cannot be used says why and what to do ${noObjectStore}`, () => {
  const detailOf = async (store: Store): Promise<string> => {
    const { status, detail } = await store.check();
    expect(status).toBe('UNREACHABLE');
    // Whatever is wrong: nobody learns a secret from it.
    for (const secret of Object.values(scene.server.env).slice(0, 2)) expect(detail).not.toContain(secret);
    return detail ?? '';
  };
  const everything = (store: Store): (() => Promise<unknown>)[] => [
    () => store.list(), () => store.has('one'), () => store.open('one').sizes(), () => store.open('one').read('a'),
    () => store.begin('one', 'job.1'), () => store.remove('one'), () => store.sweep(() => true),
  ];
  const withEnv = async (changes: Record<string, string | undefined>, act: () => Promise<void>): Promise<void> => {
    const before = { ...process.env };
    for (const [name, value] of Object.entries(changes)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
    await act().finally(() => Object.assign(process.env, before));
  };

  story('the bucket is missing', async () => {
    const store = scene.newStore({ bucket: 'no-such-bucket' });
    expect(await detailOf(store)).toMatch(/there is no bucket no-such-bucket on 127\.0\.0\.1:\d+\. Create it/);
    for (const act of everything(store)) {
      await expect(act()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', message: expect.stringContaining('no bucket') });
    }
  });

  story('the secret is wrong', () => withEnv({ AWS_SECRET_ACCESS_KEY: 'wrong' }, async () => {
    expect(await detailOf(scene.newStore())).toMatch(/does not accept the access key or its secret \(SignatureDoesNotMatch\).* Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/);
  }));

  story('there are no credentials', () => withEnv({ AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined, HOME: '/nonexistent' }, async () => {
    expect(await detailOf(scene.newStore())).toMatch(/there are no credentials.* Set AWS_ACCESS_KEY_ID/);
  }));

  story('the region is wrong', async () => {
    expect(await detailOf(scene.newStore({ region: 'eu-west-9' }))).toMatch(/not in the region eu-west-9\. Set region to us-east-1/);
  });

  story('nobody listens there', async () => {
    const { url } = scene.proxy;
    const free = await startProxy(scene.server.url);
    await free.stop();
    expect(url).not.toBe(free.url);
    expect(await detailOf(scene.newStore({ endpoint: free.url }))).toMatch(/does not answer \(ECONNREFUSED\)/);
  });

  story('what listens there speaks another language', async () => {
    const web = createHttpServer((_request, response) => void response.end('<html><p>Welcome</p></html>'));
    await once(web.listen(0, '127.0.0.1'), 'listening');
    try {
      const store = scene.newStore({ endpoint: `http://127.0.0.1:${(web.address() as AddressInfo).port}` }, HASTE);
      expect(await detailOf(store)).toBeTruthy();
      await expect(store.list()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', hint: 'Correct endpoint in the deployment file.' });
      await expect(store.has('one')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
      await expect(store.begin('one', 'job.1')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    } finally {
      web.closeAllConnections();
      web.close();
    }
  });

  story.for([
    [403, 'AccessDenied', /forbids it.* need s3:ListBucket/],
    [403, 'InvalidAccessKeyId', /does not accept the access key/],
    [403, 'RequestTimeTooSkewed', /clock/],
    [400, 'ExpiredToken', /have expired/],
    [503, 'SlowDown', /in trouble/],
  ] as const)('the server answers %i %s', async ([answer, code, says]) => {
    scene.proxy.decide = () => ({ answer, code });
    expect(await detailOf(scene.newStore())).toMatch(says);
  });

  story('it may be read and not be written, as soon as somebody looks', async () => {
    const store = scene.newStore();
    scene.proxy.decide = ({ method }) => (['PUT', 'POST', 'DELETE'].includes(method) ? { answer: 403, code: 'AccessDenied' } : undefined);
    expect(await detailOf(store)).toMatch(/forbids it \(AccessDenied\)/);
    await expect(store.begin('one', 'job.1')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', hint: expect.stringContaining('s3:PutObject') });
    scene.proxy.decide = () => undefined;
    expect(await store.check()).toMatchObject({ status: 'READY' });
    expect(await scene.contents()).toEqual([]);
  });

  describe('nothing is ever answered', () => {
    let silent: Server;
    const sockets = new Set<Socket>();
    beforeAll(async () => {
      silent = createServer((socket) => void sockets.add(socket.on('error', () => undefined).resume()));
      await once(silent.listen(0, '127.0.0.1'), 'listening');
    });
    afterAll(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const endpoint = (): string => `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;

    story('and a look is over within six seconds', async () => {
      const start = performance.now();
      expect(await detailOf(scene.newStore({ endpoint: endpoint() }))).toMatch(/did not answer within 5 s/);
      expect(performance.now() - start).toBeLessThan(6_000);
    });

    story('and everything else is over in good time', async () => {
      const start = performance.now();
      const store = scene.newStore({ endpoint: endpoint() }, HASTE);
      await Promise.all(everything(store).map((act) =>
        expect(act()).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', message: expect.stringContaining('does not answer') })));
      expect(performance.now() - start).toBeLessThan(3 * HASTE.patience);
      expect([TIMES.patience, 2 * TIMES.silence]).toEqual([30_000, 30_000]);
    });
  });
});

describe(`an S3 store fails, and soon, ${noObjectStore}`, () => {
  story('where an object stops in the middle of a read for good', async () => {
    const store = scene.newStore({}, HASTE);
    await publish(scene.sameStore(), 'one', 'job.1', LARGE);
    let reads = 0;
    scene.proxy.decide = ({ line }) => (!/^GET .*a\.tar/.test(line) ? undefined : (reads += 1) === 1 ? { cutAfter: 1_000_000 } : 'cut');
    const { stream } = await store.open('one').read('a.tar.zst');
    await expect(buffer(stream)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
  });

  story('where an object is replaced in the middle of a read', async () => {
    const store = scene.newStore();
    await publish(store, 'one', 'job.1', LARGE);
    scene.proxy.decide = ({ line, headers }) => (/^GET .*a\.tar/.test(line) && headers.range === undefined ? { cutAfter: 1_000_000 } : undefined);
    const { stream } = await store.open('one').read('a.tar.zst');
    await scene.server.put(`${scene.prefix()}/one/a.tar.zst`, LARGE.subarray(1));
    await expect(buffer(stream)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  });

  story('where the server goes away in the middle of a part, and leaves nothing once it is back', async () => {
    const store = scene.newStore({}, HASTE);
    const writer = await store.begin('one', 'job.1');
    const stream = await writer.create('a.tar.zst');
    scene.proxy.decide = ({ line }) => (line.includes('partNumber=2') ? 'hang' : undefined);
    await expect(pipeline([LARGE], stream)).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', hint: expect.stringContaining('See that it runs') });
    scene.proxy.decide = () => 'cut';
    expect(await writer.discard()).toMatch(/does not answer/);
    expect((await scene.contents()).length).toBeGreaterThan(0);
    expect(await scene.sameStore().sweep((attempt) => attempt === 'job.1')).toEqual(['one']);
    expect(await scene.contents()).toEqual([]);
  });

  story('where there is no more room, but still removes', async () => {
    const store = scene.newStore();
    await publish(store, 'one', 'job.1', LARGE);
    await scene.server.limit(1000);
    try {
      const writer = await store.begin('two', 'job.2').catch((error: unknown) => error);
      if (writer instanceof Error) expect(writer).toMatchObject({ code: 'STORE_FULL', hint: expect.stringContaining('Delete backups') });
      else await expect(write(writer as BackupWriter, 'a.tar.zst', LARGE)).rejects.toMatchObject({ code: 'STORE_FULL' });
      await store.remove('one');
      expect(await store.list()).toEqual([]);
      await store.sweep(() => true);
    } finally {
      await scene.server.limit(null);
    }
    expect(await scene.contents()).toEqual([]);
  });

  story('where the name is taken, and touches nothing of it', async () => {
    const store = scene.newStore();
    await publish(store, 'one');
    await expect(store.begin('one', 'job.2')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE', message: expect.stringContaining('already holds') });
    const writer = await store.begin('two', 'job.2');
    await expect(scene.sameStore().begin('two', 'job.2')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    await writer.publish('{}');
    await expect(scene.sameStore().begin('two', 'job.3')).rejects.toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(await store.list()).toEqual(['one', 'two']);
  });
});

story('uploads that belong to nothing are ended by a sweep, and those of a living attempt are not', async () => {
  const store = scene.newStore();
  const writer = await store.begin('alive', 'job.1');
  const stream = (await writer.create('a.tar.zst')).on('error', () => undefined);
  await new Promise((resolve) => { stream.write(LARGE, resolve); });
  const bucket = new Bucket(scene.server.spec(scene.prefix()));
  await bucket.beginUpload('gone/a.tar.zst');
  expect((await scene.contents()).filter((key) => key.includes('upload'))).toEqual(['alive/a.tar.zst (upload)', 'gone/a.tar.zst (upload)']);
  expect(await scene.sameStore().sweep(() => false)).toEqual([]);
  expect((await scene.contents()).filter((key) => key.includes('upload'))).toEqual(['alive/a.tar.zst (upload)']);
  await new Promise((resolve) => { stream.end(resolve); });
  await writer.publish('{}');
  expect(await scene.contents()).toEqual(['alive/a.tar.zst', 'alive/manifest.json']);
});

story('a list goes on from page to page', async () => {
  const store = scene.newStore();
  const names = Array.from({ length: 5 }, (_, nth) => `backup-${nth}`);
  for (const name of names) for (const file of ['a', 'manifest.json']) await scene.server.put(`${scene.prefix()}/${name}/${file}`, file);
  await scene.server.put(`${scene.prefix()}/foreign/deep/manifest.json`, '{}');
  await scene.server.put(`${scene.prefix()}/with blank & +/file`, '');
  // The page size is the server's; a short one is made by asking for it.
  const bucket = new Bucket({ ...scene.server.spec(scene.prefix()) });
  const keys: string[] = [];
  for await (const { key } of bucket.list('', {}, 4)) keys.push(key);
  expect(keys).toHaveLength(12);
  expect(keys).toContain('with blank & +/file');
  expect(await store.list()).toEqual(names);
});

test('ten thousand parts hold the longest object, and none is longer than a server takes', () => {
  let [parts, written] = [0, 0];
  for (; written < 5 * 1024 ** 4; parts += 1) {
    const size = partSize(written);
    expect(size >= 5 * 1024 ** 2 && size <= 5 * 1024 ** 3).toBe(true);
    written += size;
  }
  expect(parts).toBeLessThanOrEqual(10_000);
});

test('a store is named by its bucket and prefix', () => {
  const spec: S3Spec = { bucket: 'b', prefix: 'p/q', region: 'us-east-1' };
  expect([openS3Store(spec).label, openS3Store({ ...spec, prefix: '' }).locationOf('one'), openS3Store(spec).localPath]).toEqual(['s3://b/p/q', 's3://b/one', null]);
});
