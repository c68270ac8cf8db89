/**
 * Gateways for tests: real ones, with a Postgres, a file system and sockets of their own.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createClient, type Client } from 'graphql-ws';
import { pino } from 'pino';
import { WebSocket } from 'ws';
import { createApp } from '../../src/app.ts';
import { readConfig } from '../../src/config.ts';
import type { TypedDocumentString } from '../gql/graphql.ts';
import { newDataDir, newEmptyDataDir } from './database-template.ts';

export { newDataDir, newEmptyDataDir };

/** What an operation answers. */
export interface Answer<Data = any> { data: Data; errors?: { message: string; path?: (string | number)[]; extensions?: { code?: string } }[] }

export interface TestGateway {
  readonly url: string;
  readonly token: string;
  readonly dataDir: string;
  /** Sends an operation over HTTP: one of `test/gql`, which knows its types, or a text. */
  query<Data, Variables>(document: TypedDocumentString<Data, Variables>, ...variables: Variables extends Record<string, never> ? [] : [Variables]): Promise<Answer<Data>>;
  query<Data = any>(source: string, variables?: Record<string, unknown>): Promise<Answer<Data>>;
  /** A graphql-ws client with the token; ended with the gateway. */
  socket(options?: { token?: string; retryAttempts?: number }): Client;
  /** Stops it, and removes its data directory unless it was given one. */
  stop(): Promise<void>;
}

export interface GatewayOptions {
  /** Use this directory, and leave it there. */
  dataDir?: string;
  /** More environment variables. */
  env?: Record<string, string>;
}

const environment = (dataDir: string, env: Record<string, string> = {}) => ({ PORT: '0', DATA_DIR: dataDir, LOG_LEVEL: 'warn', ...env });

/**
 * A gateway in this process. `onStatement` is told of every SQL statement of its pool. Its database is a copy of an empty
 * one, unless a data directory is given or `isFirstStart` says that it is to make its own.
 */
export async function startGateway(options: GatewayOptions & { isFirstStart?: boolean; onStatement?: (text: string) => void } = {}): Promise<TestGateway> {
  const dataDir = options.dataDir ?? await (options.isFirstStart === true ? mkdtemp(join(tmpdir(), 'backup-gateway-')) : newDataDir());
  // A directory without a deployment.yaml, so that the sample is used.
  const config = readConfig(environment(dataDir, { LOG_LEVEL: 'silent', ...options.env }), dataDir);
  const gateway = await createApp(config, pino({ level: config.logLevel }), { onStatement: options.onStatement }).start();
  return clientOf(gateway.url, gateway.adminToken, dataDir, async () => {
    await gateway.stop();
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  });
}

/** A gateway in a process of its own, which can be killed. */
export interface GatewayProcess extends TestGateway {
  readonly process: ChildProcess;
  /** What it wrote to standard error so far. */
  log(): string;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

const PROGRAM = fileURLToPath(new URL('../../bin/backup-gateway.mjs', import.meta.url));

/** Starts the program as a person would. Rejects with what it printed where it does not get ready. */
export async function startGatewayProcess(options: GatewayOptions = {}): Promise<GatewayProcess> {
  const dataDir = options.dataDir ?? await newDataDir();
  const child = spawn(process.execPath, [PROGRAM], {
    cwd: dataDir, env: { PATH: process.env['PATH'], ...environment(dataDir, options.env) }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { log += text; });
  const exited = once(child, 'exit');
  const ready = (async () => {
    for await (const line of createInterface(child.stdout)) {
      const url = /is ready\. Open (http:\/\/[^/]+)\//.exec(line)?.[1];
      if (url !== undefined) return url;
    }
    throw new Error(`The gateway did not start:\n${log}`);
  })();
  const url = await ready;
  child.stdout.resume();
  const token = options.env?.['ADMIN_TOKEN'] ?? (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
  const end = async (signal: NodeJS.Signals) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
  };
  const client = clientOf(url, token, dataDir, async () => {
    await end('SIGTERM');
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  });
  return { ...client, process: child, log: () => log, kill: () => end('SIGKILL') };
}

/** A client of a gateway that runs already; `stop` ends it. */
export function clientOf(url: string, token: string, dataDir: string, stop: () => Promise<void>): TestGateway {
  const sockets: Client[] = [];
  return {
    url, token, dataDir,
    async query(source: string | TypedDocumentString<unknown, unknown>, variables?: unknown) {
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ query: source.toString(), variables }),
      });
      return await response.json() as Answer;
    },
    socket(options = {}) {
      const client = createClient({
        url: `${url.replace('http', 'ws')}/graphql`, webSocketImpl: WebSocket, retryAttempts: options.retryAttempts ?? 0,
        connectionParams: { authorization: `Bearer ${options.token ?? token}` },
      });
      sockets.push(client);
      return client;
    },
    async stop() {
      for (const socket of sockets) await socket.dispose();
      await stop();
    },
  };
}

/** Waits until a check answers something other than undefined, null or false; fails with the last answer. */
export async function until<T>(what: string, check: () => Promise<T> | T, patience = 30_000): Promise<NonNullable<T>> {
  const end = performance.now() + patience;
  for (;;) {
    const result = await check();
    if (result !== undefined && result !== null && result !== false) return result;
    if (performance.now() > end) throw new Error(`Waited ${patience} ms in vain until ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
