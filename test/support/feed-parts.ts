/**
 * A gateway's feed and transports without the rest of it, beside a whole gateway on the same database, so that a test sees
 * what is inside and sets its pace.
 */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { openDatabase, type Database } from '../../src/db/client.ts';
import { startListener, type Listener } from '../../src/db/listener.ts';
import { createSealing } from '../../src/domain/sealing.ts';
import { startFeed, type Feed, type FeedOptions } from '../../src/feed/feed.ts';
import { startProgressFeed, type ProgressFeed } from '../../src/feed/progress.ts';
import { adminOnly } from '../../src/http/authentication.ts';
import { startServer, type GatewayServer } from '../../src/http/server.ts';
import type { TestDatabase } from './database.ts';
import type { TestGateway } from './gateway.ts';

export interface FeedParts {
  readonly db: Database;
  readonly listener: Listener;
  readonly feed: Feed;
  readonly progress: ProgressFeed;
  readonly server: GatewayServer;
  /** Its own address, with the token of the whole gateway. */
  readonly client: TestGateway;
  /** What it has logged. */
  readonly told: { level: number; msg: string }[];
  close(): Promise<void>;
}

export async function startFeedParts(gateway: TestGateway, database: TestDatabase, options: Omit<FeedOptions, 'log'> = {}): Promise<FeedParts> {
  const told: FeedParts['told'] = [];
  const log = pino(new Writable({ write(line, _encoding, done) { told.push(JSON.parse(String(line))); done(); } }));
  const db = openDatabase(database.connection);
  const listener = await startListener(database.connection);
  const feed = await startFeed(db.db, listener, { ...options, log });
  const progress = startProgressFeed(db.db, listener, feed);
  const keys = { createIdentity: () => Promise.reject(new TypeError()), openIdentity: () => Promise.resolve(null), passOnKeys: () => Promise.resolve(null) };
  const server = await startServer({ db: db.db, sealing: createSealing('k'.repeat(40)), keys, feed, progress, publicUrl: () => '', log }, {
    host: '127.0.0.1', port: 0, authenticate: adminOnly(gateway.token), unready: async () => null, scrape: async () => ({ type: 'text/plain', text: '' }),
  });
  return {
    db, listener, feed, progress, server, told, client: { ...gateway, url: `http://127.0.0.1:${server.port}` },
    async close() {
      await server.close();
      progress.close();
      await feed.close();
      await listener.close();
      await db.close();
    },
  };
}
