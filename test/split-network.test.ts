/**
 * Machines whose cables are pulled in the middle of the work: a gateway, Postgres, and workers, two of them of one host.
 */
import { chmod, mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openStore, verifyBackup } from '../src/engine/index.ts';
import { clientOf, until, type TestGateway } from './support/gateway.ts';
import { canMakeNetworks, makeNetwork, type Machine, type Network } from './support/namespaces.ts';
import { startPart, type Part } from './support/processes.ts';
import { backupIs, childrenOf, createBackup, makeBackup, showBackup, showJob, statusesOf } from './support/site.ts';
import { startPostgresOn, type TcpPostgres } from './support/tcp-postgres.ts';

const TOKEN = 'token-of-the-network-tests';
/** Waits while there is a file `hold` beside it, then becomes the real tar. Each worker has one of its own. */
const GATE = `#!/bin/sh
case "$1" in --create) while [ -e "\${0%/*}/hold" ]; do sleep 0.02; done ;; esac
PATH="\${PATH#*:}" exec tar "$@"
`;

/** A worker on a machine of its own, whose tar can be held. */
interface Worker { part: Part; machine: Machine; hold(): Promise<void>; release(): Promise<void> }

describe.skipIf(!canMakeNetworks())('when a cable is pulled (needs root and ip)', () => {
  let directory: string;
  let network: Network;
  let database: TcpPostgres;
  let databaseMachine: Machine;
  let gatewayMachine: Machine;
  let gateway: TestGateway;
  let stale: Worker;
  let successor: Worker;
  const cleanUp: (() => Promise<unknown>)[] = [];
  const at = (...names: string[]): string => join(directory, ...names);

  const startOn = async (machine: Machine, args: string[], env: Record<string, string> = {}): Promise<Part & { line: string }> => {
    const dataDir = await mkdtemp(at('part-'));
    return startPart({ args, dataDir, prefix: machine.prefix, env: { DATABASE_URL: database.url, SECRET_KEY: 'n'.repeat(40), ...env } });
  };
  const startWorker = async (name: string, host: string): Promise<Worker> => {
    const gate = at(`gate-${name}`);
    await mkdir(gate);
    await writeFile(join(gate, 'tar'), GATE);
    await chmod(join(gate, 'tar'), 0o755);
    const machine = network.machine(name);
    const part = await startOn(machine, ['worker', '--host', host], { PATH: `${gate}:${process.env['PATH']}` });
    return { part, machine, hold: () => writeFile(join(gate, 'hold'), ''), release: () => rm(join(gate, 'hold'), { force: true }) };
  };

  beforeAll(async () => {
    directory = await realpath(await mkdtemp(join(tmpdir(), 'backup-gateway-net-')));
    await mkdir(at('ep1'));
    for (let nth = 0; nth < 4; nth += 1) await writeFile(at('ep1', `file-${nth}`), randomBytes(256 * 1024));
    await writeFile(at('deployment.yaml'), JSON.stringify({
      deployment: { name: 'net', product: 'acme-siem', appliance: '3199', version: '7.5.0' },
      stores: [{ name: 'default', type: 'DIRECTORY', path: './backups', default: true }],
      hosts: [{ id: 1, hostname: 'console', console: true, content: {} }, { id: 2, hostname: 'ep1', components: ['EVENT_PROCESSOR'], data: [{ directory: './ep1' }] }],
      backupConfiguration: { dataBackupHosts: [2] },
    }));
    network = makeNetwork();
    databaseMachine = network.machine('db');
    database = await startPostgresOn(databaseMachine);
    gatewayMachine = network.machine('gateway');
    const parts = Promise.all([
      startOn(gatewayMachine, ['gateway'], { HOST: gatewayMachine.address, PORT: '4000', ADMIN_TOKEN: TOKEN, DEPLOYMENT_FILE: at('deployment.yaml') }),
      startWorker('console', 'console'), startWorker('ep1a', 'ep1'), startWorker('ep1b', 'ep1'),
    ]);
    await network.machine('client').relay(`unix:${at('client.sock')}`, `tcp:${gatewayMachine.address}:4000`);
    // The test itself is on no machine of the network: it goes through the client's.
    const door = createServer((outer) => {
      const inner = connect(at('client.sock'));
      for (const [socket, other] of [[outer, inner], [inner, outer]] as const) {
        socket.on('error', () => socket.destroy()).on('close', () => other.destroy());
        socket.pipe(other);
      }
    });
    await once(door.listen(0, '127.0.0.1'), 'listening');
    cleanUp.push(async () => door.close());
    gateway = clientOf(`http://127.0.0.1:${(door.address() as AddressInfo).port}`, TOKEN, directory, async () => undefined);
    cleanUp.push(() => gateway.stop());
    [, , stale, successor] = await parts;
    await until('the store is ready', async () => (await gateway.query('{ backupStores { nodes { status } } }')).data.backupStores.nodes[0].status === 'READY');
  });
  afterAll(async () => {
    for (const clean of cleanUp.splice(0).toReversed()) await clean();
    await network?.remove();
    await database?.stop();
    if (directory !== undefined) await rm(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
  });

  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error([stale, successor].map(({ part }) => part.printed()).join('\n----\n'));
  });

  const attemptsAt = async (name: string): Promise<number> =>
    (await database.sql`select j.attempt from jobs j join backups b on b.id = j.backup_id where b.name = ${name} and j.operation = 'BACKUP'`)[0]?.['attempt'] as number;

  test('a worker that is cut off loses its job to another one of its host, and changes nothing when it is back', async () => {
    // Whichever of the two gets it, it is held in the middle.
    await Promise.all([stale.hold(), successor.hold()]);
    const { id, jobId } = await createBackup(gateway, { name: 'fenced', type: 'DATA', hostId: 2 });
    await backupIs(gateway, id, ['IN_PROGRESS']);
    await until('one of them has it', () => [stale, successor].some(({ part }) => part.printed().includes('job started')));
    if (successor.part.printed().includes('job started')) [stale, successor] = [successor, stale];
    await successor.release();

    await until('its tar is held', () => childrenOf(stale.part.process.pid ?? 0, 'tar').length > 0);
    stale.machine.pullCable();
    const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED'], 40_000);
    expect(backup).toMatchObject({ status: 'SUCCESS', isValid: true });
    expect(successor.part.printed()).toContain('job completed');
    expect(await attemptsAt('fenced')).toBe(2);
    expect(existsSync(backup.contentFilePath)).toBe(true);
    const last = (await database.sql`select max(position) as position from transitions`)[0]?.['position'] as string;

    // Without a word from anybody it has stopped by its own clock. It says so once it can.
    await until('the stale worker has stopped', () => childrenOf(stale.part.process.pid ?? 0, 'tar').length === 0);
    stale.machine.plugCable();
    await until('the stale worker knows', () => /job lost to another worker|the end of a job could not be written/.test(stale.part.printed()), 40_000);
    expect(await showBackup(gateway, id)).toEqual(backup);
    expect(await readdir(at('backups'))).toEqual([basename(backup.contentFilePath)]);
    expect(await verifyBackup(openStore({ type: 'DIRECTORY', path: at('backups'), s3: null }).open(basename(backup.contentFilePath)), { signal: new AbortController().signal })).toMatchObject({ problems: [], details: [] });
    expect(statusesOf(backup)).toEqual(['INITIALIZING', 'IN_PROGRESS', 'SUCCESS']);
    expect(statusesOf(await showJob(gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
    expect(await database.sql`select * from transitions where position > ${last}`).toEqual([]);

    await stale.release();
    // It works again: the other one is away now, and nobody else could do this.
    successor.machine.pullCable();
    await backupIs(gateway, (await createBackup(gateway, { name: 'after', type: 'DATA', hostId: 2 })).id, ['SUCCESS'], 40_000);
    expect(await attemptsAt('after')).toBe(1);
    successor.machine.plugCable();
  });

  test('a gateway that is cut off for a while serves again, and its subscribers have missed nothing', async () => {
    await Promise.all([stale.hold(), successor.hold()]);
    const seen: string[] = [];
    const { feedCursor } = (await gateway.query('{ feedCursor }')).data;
    const changes = gateway.socket().iterate<any>({ query: `subscription { backupStatusChanged(after: "${feedCursor}") { backupName to } }` });
    void (async () => {
      for await (const { data } of changes) seen.push(`${data.backupStatusChanged.backupName} ${data.backupStatusChanged.to}`);
    })();
    const { id } = await createBackup(gateway, { name: 'unwatched', type: 'DATA', hostId: 2 });
    await until('the subscriber sees it at work', () => seen.includes('unwatched IN_PROGRESS'));
    gatewayMachine.pullCable();
    await Promise.all([stale.release(), successor.release()]);
    await until('it is done', async () => (await database.sql`select from backups where name = 'unwatched' and status = 'SUCCESS'`).length === 1);
    gatewayMachine.plugCable();
    expect(await backupIs(gateway, id, ['SUCCESS'])).toMatchObject({ isValid: true });
    await until('the subscriber has all', () => seen.includes('unwatched SUCCESS'));
    expect(seen).toEqual(['unwatched INITIALIZING', 'unwatched IN_PROGRESS', 'unwatched SUCCESS']);
  });

  test('Postgres cut off for some seconds in the middle of a backup costs nothing but time', async () => {
    await Promise.all([stale.hold(), successor.hold()]);
    const { id, jobId } = await createBackup(gateway, { name: 'patient', type: 'DATA', hostId: 2 });
    await backupIs(gateway, id, ['IN_PROGRESS']);
    databaseMachine.pullCable();
    await new Promise((resolve) => { setTimeout(resolve, 4_000); });
    databaseMachine.plugCable();
    await Promise.all([stale.release(), successor.release()]);
    expect(await backupIs(gateway, id, ['SUCCESS', 'FAILED'], 40_000)).toMatchObject({ status: 'SUCCESS', isValid: true });
    expect(statusesOf(await showJob(gateway, jobId))).toEqual(['SUBMITTED', 'EXECUTING', 'COMPLETED']);
    await makeBackup(gateway, { name: 'afterwards', type: 'DATA', hostId: 2 });
    expect((await readdir(at('backups'))).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});
