/**
 * What resolvers work with: one context for each request, and for each subscription.
 */
import DataLoader from 'dataloader';
import type { Logger } from 'pino';
import type { Feed } from '../feed/feed.ts';
import type { ProgressFeed } from '../feed/progress.ts';
import { rowsById, type Columns, type Noun, type RowOf } from '../records/rows.ts';
import type { Principal, ServiceContext } from '../services/context.ts';
export type { Principal } from '../services/context.ts';

/** What all requests share. */
export interface GatewayServices extends Omit<ServiceContext, 'principal'> {
  readonly feed: Feed;
  readonly progress: ProgressFeed;
  /** What links begin with, without a slash at the end. */
  readonly publicUrl: () => string;
  readonly log: Logger;
}

export interface RequestContext extends GatewayServices {
  readonly principal: Principal;
  readonly loaders: Loaders;
  /** Whether nobody waits for the answer any more, so that work for it alone can stop. */
  readonly isAbandoned: () => boolean;
}

/** Batches look-ups of one request: all that are asked for together go out as one statement. */
export class Loaders {
  readonly #db: ServiceContext['db'];
  readonly #loaders = new Map<string, DataLoader<never, unknown>>();

  constructor(db: ServiceContext['db']) {
    this.#db = db;
  }

  /** Reads the given columns of a record; undefined where it is gone. */
  record<N extends Noun>(noun: N, id: number, columns: Columns): Promise<RowOf<N> | undefined> {
    return this.batch(noun, [...columns].toSorted().join(), (ids: readonly number[]) => rowsById(this.#db, noun, ids, columns)).load(id);
  }

  /** A loader of any kind, the same for the same family and variant. */
  batch<Key, Value>(family: string, variant: string, read: (keys: readonly Key[]) => Promise<readonly Value[]>): DataLoader<Key, Value> {
    const name = `${family} ${variant}`;
    const known = this.#loaders.get(name) as DataLoader<Key, Value> | undefined;
    if (known !== undefined) return known;
    const loader = new DataLoader<Key, Value>((keys) => read(keys));
    this.#loaders.set(name, loader as unknown as DataLoader<never, unknown>);
    return loader;
  }

  /** Forgets what was read: a mutation has changed something, or a subscription goes on to its next event. */
  clear(): void {
    this.#loaders.clear();
  }
}

export function requestContext(services: GatewayServices, principal: Principal, isAbandoned: () => boolean = () => false): RequestContext {
  return { ...services, principal, loaders: new Loaders(services.db), isAbandoned };
}
