/**
 * Metrics for Prometheus: the records and the feed, what this gateway serves, and the process itself. docs/CONFIGURATION.md
 * lists them for operators.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import type { Figures } from './records/figures.ts';

/** A scraper gives up after some seconds; without the database's figures the others are still worth having. In milliseconds. */
const PATIENCE = 3_000;

/** Where the figures come from; each is asked at every scrape. */
export interface MetricSources {
  /** From the database; rejects while that is away. */
  figures(): Promise<Figures>;
  isListening(): boolean;
  feed: { readonly position: number; readonly followers: number };
  server(): { readonly openSockets: number; readonly clientsLetGo: number };
}

export interface Metrics {
  /** The text of a scrape, with its media type. */
  scrape(): Promise<{ type: string; text: string }>;
}

/** Nothing is loaded or collected before the first scrape. */
export function createMetrics(sources: MetricSources): Metrics {
  let made: Promise<{ registry: Registry; collect(): Promise<void> }> | null = null;
  return {
    async scrape() {
      const { registry, collect } = await (made ??= make(sources));
      await collect();
      return { type: registry.contentType, text: await registry.metrics() };
    },
  };
}

async function make({ figures, isListening, feed, server }: MetricSources): Promise<{ registry: Registry; collect(): Promise<void> }> {
  const { collectDefaultMetrics, Counter, Gauge, Registry } = await import('prom-client');
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });

  const gauge = <Label extends string = never>(name: string, help: string, labelNames: Label[] = []) =>
    new Gauge<Label>({ name: `backup_gateway_${name}`, help, labelNames, registers });
  const records = {
    backup: gauge('backups', 'Backups, by type and status.', ['type', 'status']),
    restore: gauge('restores', 'Restores, by status.', ['status']),
    job: gauge('jobs', 'Jobs that have not ended, or ended within the last day, by operation and status.', ['operation', 'status']),
  };
  const lastSuccess = gauge('last_success_timestamp_seconds', 'When the newest valid backup of a host and type was completed.', ['host', 'type']);
  const isUp = gauge('database_up', 'Whether the database answered this scrape.');
  const hears = gauge('database_listening', 'Whether notifications of the database come through.');
  const end = gauge('feed_end_position', 'The last change in the feed.');
  const floor = gauge('feed_floor_position', 'The last change that the feed no longer keeps.');
  const read = gauge('feed_read_position', 'The last change that this gateway has handed on. Behind feed_end_position for long: it is late.');
  const followers = gauge('feed_followers', 'Subscriptions to status changes at this gateway.');
  const sockets = gauge('websockets', 'Open WebSockets at this gateway.');
  const letGo = new Counter({ name: 'backup_gateway_clients_let_go_total', help: 'Clients whose socket was closed with 1013, since they did not read what they were sent.', registers });
  let counted = 0;

  const fromDatabase = async () => {
    for (const own of [...Object.values(records), lastSuccess, end, floor]) own.reset();
    const found = await Promise.race([figures(), sleep(PATIENCE, null, { ref: false })]);
    if (found === null) throw new Error('The database is too slow.');
    const { records: counts, lastSuccess: newest, feed: kept } = found;
    for (const { noun, kind, status, count } of counts) {
      if (noun === 'backup') records.backup.set({ type: kind, status }, count);
      else if (noun === 'job') records.job.set({ operation: kind, status }, count);
      else records.restore.set({ status }, count);
    }
    for (const { hostname, type, at } of newest) lastSuccess.set({ host: hostname, type }, at);
    end.set(kept.end);
    floor.set(kept.floor);
  };
  return {
    registry,
    async collect() {
      isUp.set(await fromDatabase().then(() => 1, () => 0));
      hears.set(isListening() ? 1 : 0);
      // After the end in the table: a gateway that keeps up is never behind.
      read.set(feed.position);
      followers.set(feed.followers);
      const { openSockets, clientsLetGo } = server();
      sockets.set(openSockets);
      letGo.inc(clientsLetGo - counted);
      counted = clientsLetGo;
    },
  };
}
