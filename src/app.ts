/**
 * Composition: everything that runs in one process, started and stopped in order. The tests start the same.
 */
import { sql } from 'drizzle-orm';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ensureSecrets, type Config } from './config.ts';
import { openDatabase, type Connection } from './db/client.ts';
import { startEmbeddedPostgres } from './db/embedded/index.ts';
import { startListener } from './db/listener.ts';
import { migrate } from './db/migrate.ts';
import { loadDeploymentFile, resolveDeploymentFile } from './deployment-file.ts';
import { createSealing } from './domain/sealing.ts';
import { createIdentity, openIdentity } from './engine/index.ts';
import { startFeed } from './feed/feed.ts';
import { startProgressFeed } from './feed/progress.ts';
import { adminOnly } from './http/authentication.ts';
import { startServer } from './http/server.ts';
import { feedState } from './records/transitions.ts';
import { applyDeploymentFile } from './services/deployment.ts';
import { startWorker } from './worker/worker.ts';

/** A gateway that serves. */
export interface RunningGateway {
  /** Where it listens, such as `http://127.0.0.1:4000`. */
  readonly url: string;
  /** What links begin with: PUBLIC_URL, or `url`. */
  readonly publicUrl: string;
  /** The token that may do all. */
  readonly adminToken: string;
  /** Whether this start has generated it, so that it must be shown once. */
  readonly adminTokenIsNew: boolean;
  /** Stops in order: no new requests, jobs given back, sockets closed with 1012. */
  stop(): Promise<void>;
}

export interface App { start(): Promise<RunningGateway> }

/** `onStatement` is told of every SQL statement of the gateway's pool. */
export function createApp(config: Config, log: Logger, options: { onStatement?: (text: string) => void } = {}): App {
  return { start: () => start(config, log, options) };
}

async function start(config: Config, log: Logger, options: { onStatement?: (text: string) => void }): Promise<RunningGateway> {
  // What was started, to be stopped in the opposite order, also when a later part can't start.
  const started = new AsyncDisposableStack();
  try {
    const secrets = await ensureSecrets(config);
    const file = await loadDeploymentFile(await resolveDeploymentFile(config));
    const connection: Connection = config.databaseUrl ?? await startEmbedded(config, log, started);
    await migrate(connection);
    const database = openDatabase(connection, options);
    started.defer(() => database.close());
    const { db } = database;

    const outcome = await applyDeploymentFile(db, file, config);
    for (const change of outcome.deployed) log.info(`deployed: ${change}`);
    for (const change of outcome.undeployed) log.warn(`staged, not deployed: ${change}`);
    if (outcome.undeployed.length > 0) log.warn('createBackup is refused until the staged changes are deployed: call deployStagedChanges, or start with DEPLOY_ON_START=true');

    const listener = await startListener(connection);
    started.defer(() => listener.close());
    const feed = await startFeed(db, listener);
    started.defer(() => feed.close());
    const progress = startProgressFeed(db, listener);
    started.defer(() => progress.close());
    const sealing = createSealing(secrets.secretKey.reveal());
    const { id: feedId } = await feedState(db);

    const worker = await startWorker({ db, sealing, log, journalDir: join(config.dataDir, 'restores'), installation: feedId.slice(0, 8), onWake: (wake) => listener.on('jobs', wake) });
    started.defer(() => worker.stop());

    let url = '';
    const publicUrl = () => config.publicUrl ?? url;
    const server = await startServer({ db, sealing, keys: { createIdentity, openIdentity }, feed, progress, feedId, publicUrl, log }, {
      host: config.host, port: config.port, authenticate: adminOnly(secrets.adminToken.reveal()),
      async unready() {
        if (!listener.isListening) return 'Notifications of the database do not come through.';
        return db.execute(sql`select 1`).then(() => null, () => 'The database cannot be reached.');
      },
    });
    started.defer(() => server.close());
    url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${server.port}`;

    return {
      url, publicUrl: publicUrl(), adminToken: secrets.adminToken.reveal(), adminTokenIsNew: secrets.adminTokenGenerated,
      async stop() {
        // First of all: a signal to the whole process group has reached tar too, and its job must go back, not fail.
        await worker.stop();
        await started.disposeAsync();
      },
    };
  } catch (error) {
    await started.disposeAsync();
    throw error;
  }
}

async function startEmbedded(config: Config, log: Logger, started: AsyncDisposableStack): Promise<Connection> {
  const postgres = await startEmbeddedPostgres({ dataDir: config.dataDir, log });
  started.defer(() => postgres.stop());
  return postgres.connection;
}
