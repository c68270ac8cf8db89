/**
 * Composition: everything that runs in one process, started and stopped in order. The tests start the same.
 */
import { sql } from 'drizzle-orm';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { ensureSecrets, Secret, type Config } from './config.ts';
import { openDatabase, type Connection, type DatabaseOptions } from './db/client.ts';
import { startEmbeddedPostgres } from './db/embedded/index.ts';
import { startListener, type Listener } from './db/listener.ts';
import { shownMarks } from './db/marks.ts';
import { migrate } from './db/migrate.ts';
import { startWakeBus, type WakeBus } from './db/wake-bus.ts';
import { loadDeploymentFile, resolveDeploymentFile } from './deployment-file.ts';
import type { DeploymentSpec } from './domain/deployment.ts';
import { GatewayError } from './domain/errors.ts';
import { createSealing, type Sealing } from './domain/sealing.ts';
import { createIdentity, openIdentity, passOnKeys } from './engine/index.ts';
import { startFeed } from './feed/feed.ts';
import { startProgressFeed } from './feed/progress.ts';
import { startFeedRetention } from './feed/retention.ts';
import { adminOnly } from './http/authentication.ts';
import type { GatewayServer } from './http/server.ts';
import { createMetrics } from './metrics.ts';
import { readFigures } from './records/figures.ts';
import type { Pool } from './records/rows.ts';
import { feedState } from './records/transitions.ts';
import { applyDeploymentFile } from './services/deployment.ts';
import { retentionTasks } from './services/retention.ts';
import { runDueSchedules } from './services/run-schedules.ts';
import { watchWaitingJobs } from './services/waiting-jobs.ts';
import type { WorkerContext } from './worker/context.ts';
import { startWorker } from './worker/worker.ts';

/** A part that works. */
export interface RunningPart {
  /** Stops in order: no new requests, jobs given back, sockets closed with 1012. */
  stop(): Promise<void>;
}

/** A gateway that serves. */
export interface RunningGateway extends RunningPart {
  /** Where it listens, such as `http://127.0.0.1:4000`. */
  readonly url: string;
  /** What links begin with: PUBLIC_URL, or `url`. */
  readonly publicUrl: string;
  /** The token that may do all. */
  readonly adminToken: string;
  /** Whether this start has generated it, so that it must be shown once. */
  readonly adminTokenIsNew: boolean;
}

export interface App<Running> { start(): Promise<Running> }

export interface AppOptions {
  /** The endpoint alone: jobs wait for workers that run apart. */
  withoutWorker?: boolean;
  /** Is told of every SQL statement of the gateway's pool. */
  onStatement?: (text: string) => void;
}

/** The gateway, with a worker for every host unless it is to go without. */
export function createApp(config: Config, log: Logger, options: AppOptions = {}): App<RunningGateway> {
  return {
    start: () => inOrder(async (started) => {
      // A worker has no use for it, nor for all that comes with it.
      const { startServer } = await import('./http/server.ts');
      const secrets = await ensureSecrets(config);
      const file = await loadDeploymentFile(await resolveDeploymentFile(config));
      const base = await startBase(config, secrets.secretKey, log, options, started);
      const { db, listener, sealing } = base;
      await deploy(config, db, file, log);

      const feed = await startFeed(db, listener, { log });
      started.defer(() => feed.close());
      const progress = startProgressFeed(db, listener, feed);
      started.defer(() => progress.close());
      const retention = startFeedRetention(db, log, config.feedRetentionDays);
      started.defer(() => retention.stop());
      const waiting = watchWaitingJobs(db, log);
      started.defer(() => waiting.stop());

      const worker = options.withoutWorker === true ? null : await startWorker(workerContext(config, base, log));
      started.defer(async () => worker?.stop());

      const metrics = createMetrics({ figures: () => readFigures(db), isListening: () => listener.isListening, feed, server: () => server });
      let url = '';
      const publicUrl = () => config.publicUrl ?? url;
      const server: GatewayServer = await startServer({ db, sealing, keys: { createIdentity, openIdentity, passOnKeys }, feed, progress, publicUrl, log }, {
        host: config.host, port: config.port, authenticate: adminOnly(secrets.adminToken.reveal()),
        async unready() {
          if (!listener.isListening) return 'Notifications of the database do not come through.';
          return db.execute(sql`select 1`).then(() => null, () => 'The database cannot be reached.');
        },
        scrape: () => metrics.scrape(),
      });
      started.defer(() => server.close());
      url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${server.port}`;

      return {
        url, publicUrl: publicUrl(), adminToken: secrets.adminToken.reveal(), adminTokenIsNew: secrets.adminTokenGenerated,
        async stop() {
          // First of all: a signal to the whole process group has reached tar too, and its job must go back, not fail.
          await worker?.stop();
          await started.disposeAsync();
        },
      };
    }),
  };
}

/**
 * A worker that runs apart from the gateway, for the hosts of these hostnames or host_ids; null: for every host. The
 * signal ends its waiting for a first deployment.
 */
export function createWorkerApp(config: Config, log: Logger, hosts: readonly string[] | null, signal?: AbortSignal): App<RunningPart> {
  return {
    start: () => inOrder(async (started) => {
      const { secretKey } = await ensureSecrets({ ...config, adminToken: NOT_NEEDED });
      const base = await startBase(config, secretKey, log, {}, started);
      const worker = await startWorker(workerContext(config, base, log), hosts, signal);
      started.defer(() => worker.stop());
      return { stop: () => started.disposeAsync() };
    }),
  };
}

/** A worker asks nobody for a token: none is made for it. */
const NOT_NEEDED = new Secret('');

/** Starts parts one after the other; when a later one can't start, those before it are stopped in the opposite order. */
async function inOrder<T>(start: (started: AsyncDisposableStack) => Promise<T>): Promise<T> {
  const started = new AsyncDisposableStack();
  try {
    return await start(started);
  } catch (error) {
    await started.disposeAsync();
    throw error;
  }
}

/** What both parts need: the database, its notifications, and the proof that all others have the same SECRET_KEY. */
interface Base { db: Pool; listener: Listener; sealing: Sealing; feedId: string }

async function startBase(config: Config, secretKey: Secret, log: Logger, options: AppOptions, started: AsyncDisposableStack): Promise<Base> {
  const connection: Connection = config.databaseUrl ?? await startEmbedded(config, log, started);
  // Whatever needs a session of its own goes past the pooler, if there is one.
  const direct = config.databaseDirectUrl ?? connection;
  // Nobody has to be woken before it is there.
  let bus: WakeBus | null = null;
  const onWakes: DatabaseOptions['onWakes'] = config.wakeBusUrl === null ? undefined : (wakes) => bus?.publish(wakes);
  const database = openDatabase(connection, { ...options, onWakes, isPooled: config.databaseDirectUrl !== null });
  started.defer(() => database.close());
  const sealing = createSealing(secretKey.reveal());
  // First of all, since it proves that sessions hold: through a pooler the migrations' lock might never be given back.
  const listener = await startListener(direct, { mark: sealing.mark, notifier: database.db }).catch(explain);
  started.defer(() => listener.close());
  await migrate(direct).catch(explain);
  // After the own mark is up: of two that start at once with different keys, at least one sees the other.
  if ((await shownMarks(database.db)).some((mark) => mark !== sealing.mark)) {
    throw new GatewayError('SECRET_KEY_DIFFERS', 'Another gateway or worker on this database runs with another SECRET_KEY: what the one seals, the other could not open.',
      'Give all of them the same SECRET_KEY. If it is a new one on purpose, stop them all first; one whose machine died counts as stopped after half a minute.');
  }
  const feedId = (await feedState(database.db)).id;
  if (config.wakeBusUrl !== null) {
    bus = await startWakeBus(config.wakeBusUrl, { id: feedId, listener, db: database.db, log });
    started.defer(() => bus?.close());
  }
  return { db: database.db, listener, sealing, feedId };
}

/** Throws what the driver says of a server that is away in words for the operator; anything else stays as it is. */
function explain(cause: unknown): never {
  const code = (cause as { code?: unknown } | null)?.code;
  if (typeof code !== 'string' || !/^(E[A-Z]+|CONNECT_TIMEOUT|CONNECTION_\w+|28\w{3}|3D000|57P03)$/.test(code)) throw cause;
  throw new GatewayError('DATABASE_UNREACHABLE', `The database cannot be used: ${(cause as Error).message.replace(/\.$/, '')}.`, 'Check DATABASE_URL, DATABASE_DIRECT_URL if it is set, and that the server runs and can be reached from here.', { cause });
}

async function deploy(config: Config, db: Pool, file: DeploymentSpec, log: Logger): Promise<void> {
  const outcome = await applyDeploymentFile(db, file, config);
  for (const change of outcome.deployed) log.info(`deployed: ${change}`);
  for (const change of outcome.undeployed) log.warn(`staged, not deployed: ${change}`);
  if (outcome.undeployed.length > 0) log.warn('createBackup is refused until the staged changes are deployed: call deployStagedChanges, or start with DEPLOY_ON_START=true');
}

const workerContext = (config: Config, { db, listener, sealing, feedId }: Base, log: Logger): WorkerContext => ({
  db, sealing, log, journalDir: join(config.dataDir, 'restores'), drillDir: join(config.dataDir, 'drills'), indexDir: join(config.dataDir, 'incremental'), installation: feedId.slice(0, 8), unswept: new Set(), onWake: (wake) => listener.on('jobs', wake),
  tasks: workerTasks({ db, sealing, keys: { createIdentity, openIdentity, passOnKeys } }, listener),
});

const workerTasks = (services: Parameters<typeof retentionTasks>[0], listener: Listener): WorkerContext['tasks'] => ({
  ...retentionTasks(services),
  runDueSchedules: () => runDueSchedules(services),
  onSchedulesChanged: (wake) => listener.on('schedules', wake),
});

async function startEmbedded(config: Config, log: Logger, started: AsyncDisposableStack): Promise<Connection> {
  const postgres = await startEmbeddedPostgres({ dataDir: config.dataDir, log });
  started.defer(() => postgres.stop());
  return postgres.connection;
}
