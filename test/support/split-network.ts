/**
 * A split installation on a network of its own: a gateway, Postgres, an S3 store, and the workers of three hosts, two of
 * them of one host, each on a machine whose cable a test can pull.
 */
import { existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type postgres from 'postgres';
import type { S3Spec } from '../../src/domain/deployment.ts';
import { clientOf, until, type TestGateway } from './gateway.ts';
import { makeNetwork, type Machine } from './namespaces.ts';
import { startObjectStore, type ObjectStore } from './object-store.ts';
import { startPart, type Part } from './processes.ts';
import { makeIncompressible } from './site.ts';
import { startPostgresOn } from './tcp-postgres.ts';

const TOKEN = 'token-of-the-network-tests';
/** What ep1's data is, in MiB: several parts of an upload follow the place where its tar can be held. */
const DATA_MEGABYTES = 36;
/**
 * The real tar, which waits while there is a file beside it: `before` at its beginning, `midway` after 24 MiB of an archive,
 * and again after 32: zstd keeps up to 8 MiB back, and a part is as long. Whoever kills it ends the wait, too.
 */
const GATE = `#!/bin/sh
here="\${0%/*}"
PATH="\${PATH#*:}"
case "$*" in --create*--file=-*)
  while [ -e "$here/before" ]; do : > "$here/held"; sleep 0.02; done
  wait="while [ \\$TAR_CHECKPOINT -ge 384 ] && [ -e '$here/midway' ] && kill -0 $$; do : > '$here/held'; sleep 0.02; done"
  exec tar --checkpoint=128 --checkpoint-action="exec=$wait" "$@" ;;
esac
exec tar "$@"
`;

/** Where a worker's tar waits. */
export type Place = 'before' | 'midway';

/** A worker on a machine of its own, whose tar can be held. */
export interface Worker {
  readonly part: Part;
  readonly machine: Machine;
  hold(place: Place): Promise<void>;
  /** Whether it has come there since. */
  isHeld(): boolean;
  release(): Promise<void>;
}

export interface SplitNetwork {
  /** Reached over the network, from a machine that does nothing else. */
  readonly gateway: TestGateway;
  readonly gatewayMachine: Machine;
  readonly databaseMachine: Machine;
  readonly storeMachine: Machine;
  /** The database and the store past the network. */
  readonly sql: postgres.Sql;
  readonly store: ObjectStore;
  /** The deployment's one store, as seen past the network. */
  readonly storeSpec: S3Spec;
  /** The hosts console (1), ep1 (2) and ep2 (3). */
  readonly workers: { console: Worker; ep1: [Worker, Worker]; ep2: Worker };
  /** What all workers printed. */
  printed(): string;
  remove(): Promise<void>;
}

/** Sets everything up; comes back once the store can be used. */
export async function startSplitNetwork(): Promise<SplitNetwork> {
  const directory = await realpath(await mkdtemp(join(tmpdir(), 'backup-gateway-net-')));
  const at = (...names: string[]): string => join(directory, ...names);
  const network = makeNetwork();
  const cleanUp: (() => Promise<unknown>)[] = [
    () => rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }),
    () => network.remove(),
  ];
  const remove = async (): Promise<void> => {
    for (const clean of cleanUp.splice(0).toReversed()) await clean();
  };
  try {
    const [databaseMachine, storeMachine, gatewayMachine] = ['db', 's3', 'gateway'].map((name) => network.machine(name)) as [Machine, Machine, Machine];
    const [database, store] = await Promise.all([startPostgresOn(databaseMachine), startObjectStore(storeMachine)]);
    cleanUp.push(() => database.stop(), () => store.stop());
    for (const [name, megabytes] of [['console', 1], ['ep1', DATA_MEGABYTES], ['ep2', 1]] as const) makeIncompressible(at('sites', name), megabytes);
    await writeFile(at('deployment.yaml'), JSON.stringify({
      deployment: { name: 'net', product: 'acme-siem', appliance: '3199', version: '7.5.0' },
      stores: [{ name: 'default', type: 'S3', ...store.spec('net', store.networkUrl), default: true }],
      hosts: [
        { id: 1, hostname: 'console', console: true, content: { USERS_CONFIG: [{ directory: './sites/console' }] } },
        { id: 2, hostname: 'ep1', components: ['EVENT_PROCESSOR'], data: [{ directory: './sites/ep1' }] },
        { id: 3, hostname: 'ep2', components: ['EVENT_PROCESSOR'], data: [{ directory: './sites/ep2' }] },
      ],
      backupConfiguration: { dataBackupHosts: [2, 3] },
    }));

    const startOn = async (machine: Machine, args: string[], env: Record<string, string>): Promise<Part> => {
      const dataDir = await mkdtemp(at('part-'));
      return startPart({ args, dataDir, prefix: machine.prefix, env: { DATABASE_URL: database.url, SECRET_KEY: 'n'.repeat(40), ...env } });
    };
    const startWorker = async (name: string, host: string): Promise<Worker> => {
      const gate = at(`gate-${name}`);
      await mkdir(gate);
      await writeFile(join(gate, 'tar'), GATE);
      await chmod(join(gate, 'tar'), 0o755);
      const machine = network.machine(name);
      // The credentials are in the environment of workers alone: a gateway needs none.
      const part = await startOn(machine, ['worker', '--host', host], { ...store.env, PATH: `${gate}:${process.env['PATH']}` });
      return {
        part, machine,
        async hold(place) {
          await rm(join(gate, 'held'), { force: true });
          await writeFile(join(gate, place), '');
        },
        isHeld: () => existsSync(join(gate, 'held')),
        release: async () => void await Promise.all(['before', 'midway'].map((place) => rm(join(gate, place), { force: true }))),
      };
    };
    const [, ...started] = await Promise.all([
      startOn(gatewayMachine, ['gateway'], { HOST: gatewayMachine.address, PORT: '4000', ADMIN_TOKEN: TOKEN, DEPLOYMENT_FILE: at('deployment.yaml') }),
      startWorker('console', 'console'), startWorker('ep1a', 'ep1'), startWorker('ep1b', 'ep1'), startWorker('ep2', 'ep2'),
    ]);
    const [console, ep1a, ep1b, ep2] = started;
    const gateway = clientOf(await network.machine('client').door(`tcp:${gatewayMachine.address}:4000`), TOKEN, directory, async () => undefined);
    cleanUp.push(() => gateway.stop());
    const split: SplitNetwork = {
      gateway, gatewayMachine, databaseMachine, storeMachine, sql: database.sql, store, storeSpec: store.spec('net'),
      workers: { console, ep1: [ep1a, ep1b], ep2 },
      printed: () => started.map(({ part }) => part.printed()).join('\n----\n'),
      remove,
    };
    await storeIsReady(split);
    return split;
  } catch (error) {
    await remove();
    throw error;
  }
}

/** Waits until the gateway says that the store can be used. */
export async function storeIsReady({ gateway }: Pick<SplitNetwork, 'gateway'>): Promise<void> {
  await until('the store is ready', async () => (await gateway.query('{ backupStores { nodes { status } } }')).data.backupStores.nodes[0].status === 'READY');
}
