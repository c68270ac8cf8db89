/**
 * A real object store for tests: OpenStack Swift's S3 interface on loopback, which `test/support/swift/install.sh`
 * installs.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  CreateBucketCommand, DeleteObjectCommand, GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand, S3Client,
} from '@aws-sdk/client-s3';
import type { S3Spec } from '../../src/domain/deployment.ts';
import type { Machine } from './namespaces.ts';

const INSTALLED = '/usr/local/lib/backup-gateway-swift/installed';
const PROGRAM = fileURLToPath(new URL('swift/serve.py', import.meta.url));
const BUCKET = 'backups';
const SEGMENTS = encodeURIComponent(`${BUCKET}+segments`);

/** Why the tests of S3 stores are left out on this machine; empty where they run. A CI run fails instead. */
export const noObjectStore: string = (() => {
  if (existsSync(INSTALLED)) return '';
  const reason = 'no object store is installed: run test/support/swift/install.sh as root, on Debian';
  if (process.env['CI'] !== undefined) throw new Error(reason);
  return `left out, ${reason}`;
})();

export interface ObjectStore {
  readonly url: string;
  /** Where the other machines of its network find it; `url` where it is on none. */
  readonly networkUrl: string;
  /** What a process needs in its environment to use it. */
  readonly env: Record<string, string>;
  /** A store in its bucket. `url` leads there by another way, such as a proxy. */
  spec(prefix: string, url?: string): S3Spec;
  /** All keys, sorted; and, of uploads that nobody has completed, `KEY (upload)` and `KEY (part)`. */
  contents(prefix?: string): Promise<string[]>;
  get(key: string): Promise<Buffer>;
  put(key: string, body: string | Buffer): Promise<void>;
  delete(key: string): Promise<void>;
  /** How many bytes the bucket may hold, parts of unfinished uploads apart; null: any number. */
  limit(bytes: number | null): Promise<void>;
  /** SIGKILL. Nothing listens there afterwards. */
  kill(): Promise<void>;
  /** Starts it again at the same address, with what it held. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

interface Running { process: ChildProcess; url: string; account: string; accessKey: string; secretKey: string }

async function run(directory: string, prefix: readonly string[], port = ''): Promise<Running> {
  const [command = '', ...rest] = [...prefix, '/usr/bin/python3', PROGRAM, directory, ...(port === '' ? [] : [port])];
  const child = spawn(command, rest, { stdio: ['pipe', 'pipe', 'pipe'] });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { log += text; });
  for await (const line of createInterface(child.stdout)) return { ...JSON.parse(line), process: child };
  throw new Error(`The object store did not start:\n${log}`);
}

/**
 * Starts one with an empty bucket, and puts its credentials into this process's environment. It ends with this process at
 * the latest. What it holds lies in a directory of its own in `parent`. On a machine of a test's network, the test's own way to it does not go through that machine's cable.
 */
export async function startObjectStore(machine?: Machine, parent = tmpdir()): Promise<ObjectStore> {
  const directory = mkdtempSync(join(parent, 'object-store-'));
  let server = await run(directory, machine?.prefix ?? []);
  const { account, accessKey, secretKey } = server;
  const { port } = new URL(server.url);
  await machine?.relay(`tcp:${machine.address}:${port}`, `tcp:${port}`);
  const url = await machine?.door(`tcp:${port}`) ?? server.url;
  const env = { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey, AWS_EC2_METADATA_DISABLED: 'true' };
  Object.assign(process.env, env);
  const client = new S3Client({ region: 'us-east-1', endpoint: url, forcePathStyle: true, credentials: { accessKeyId: accessKey, secretAccessKey: secretKey } });
  await client.send(new CreateBucketCommand({ Bucket: BUCKET }));

  const keys = async (prefix: string): Promise<string[]> => {
    const { Contents = [], IsTruncated } = await client.send(new ListObjectsV2Command({ Bucket: BUCKET, Prefix: prefix }));
    if (IsTruncated === true) throw new Error('more objects than a test looks at');
    return Contents.map(({ Key = '' }) => Key);
  };
  /** A request of Swift's own protocol, for what has no word in that of S3. */
  const swift = async (method: string, path: string, headers: Record<string, string> = {}): Promise<Response> => {
    const login = await fetch(`${url}/auth/v1.0`, { headers: { 'x-auth-user': accessKey, 'x-auth-key': secretKey } });
    // It tells of itself as it was asked for, which a way through a proxy is not.
    const { pathname } = new URL(login.headers.get('x-storage-url') ?? '');
    return fetch(`${url}${pathname}/${path}`, { method, headers: { ...headers, 'x-auth-token': login.headers.get('x-auth-token') ?? '' } });
  };
  const end = async (): Promise<void> => {
    if (server.process.exitCode !== null || server.process.signalCode !== null) return;
    const exited = once(server.process, 'exit');
    server.process.kill('SIGKILL');
    await exited;
  };
  return {
    url, env, networkUrl: machine === undefined ? url : `http://${machine.address}:${port}`,
    spec: (prefix, by = url) => ({ bucket: BUCKET, prefix, region: 'us-east-1', endpoint: by, forcePathStyle: true }),
    async contents(prefix = '') {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: BUCKET, Prefix: prefix }));
      // Swift keeps parts in a second container, whose name is no bucket's, as `KEY/UPLOAD/NUMBER`: of completed uploads, too.
      const listing = await swift('GET', `${SEGMENTS}?prefix=${encodeURIComponent(prefix)}`);
      if (!listing.ok && listing.status !== 404) throw new Error(`Swift answers ${listing.status} for its parts.`);
      const parts = listing.ok ? (await listing.text()).split('\n').filter((part) => /\/\d+$/.test(part)) : [];
      const objects = await keys(prefix);
      const loose = parts.filter((part) => !objects.some((key) => part.startsWith(`${key}/`)));
      return [...objects, ...Uploads.map(({ Key }) => `${Key} (upload)`), ...new Set(loose.map((part) => `${part.split('/').slice(0, -2).join('/')} (part)`))].sort();
    },
    async get(key) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: BUCKET, Key: key }));
      return Buffer.from(await Body!.transformToByteArray());
    },
    async put(key, body) {
      await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: key, Body: body }));
    },
    async delete(key) {
      await client.send(new DeleteObjectCommand({ Bucket: BUCKET, Key: key }));
    },
    async limit(bytes) {
      for (const bucket of [BUCKET, SEGMENTS]) {
        const { status } = await swift('PUT', bucket, { 'x-container-meta-quota-bytes': bytes === null ? '' : String(bytes) });
        if (status >= 300) throw new Error(`Swift answers ${status} for the quota of ${bucket} of ${account}.`);
      }
    },
    kill: end,
    async restart() {
      await end();
      server = await run(directory, machine?.prefix ?? [], port);
    },
    async stop() {
      client.destroy();
      await end();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
