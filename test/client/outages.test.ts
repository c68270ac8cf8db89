import { rm } from 'node:fs/promises';
import { createGatewayClient } from 'backup-gateway/client';
import { expect, test } from 'vitest';
import { openGatewayDatabase } from '../support/database.ts';
import { addBackup, changesInTable, feedCursor, flip, positionOf } from '../support/feed.ts';
import { newDataDir, startGateway, until } from '../support/gateway.ts';
import { changeOf, WATCH, type Event, type Watched } from '../support/watching.ts';
import { startWay } from '../support/way.ts';

test('a gateway that is stopped, and started again on the same data with another token, is gone on with', async () => {
  const home = await newDataDir();
  let served = await startGateway({ dataDir: home, env: { ADMIN_TOKEN: 'first-token-of-all' } });
  const { port } = new URL(served.url);
  const data = await openGatewayDatabase(home);
  const given: string[] = [];
  const losses: string[] = [];
  const connections: boolean[] = [];
  const client = createGatewayClient({
    url: served.url,
    async token() {
      given.push(served.token);
      return served.token;
    },
    onConnection: (isConnected) => { connections.push(isConnected); },
  });
  try {
    const backup = await addBackup(data);
    const after = await feedCursor(served);
    let caughtUp = 0;
    const events = client.watch<Watched>(WATCH, { after }, { onLost: ({ message }) => { losses.push(message); }, onCaughtUp: () => { caughtUp += 1; } });
    const seen: Event[] = [];
    const watching = (async () => { for await (const event of events) seen.push(event); })();
    await until('it is caught up', () => caughtUp === 1);
    await served.stop();
    await flip(data, backup.number, 5);
    await until('it has tried in vain', () => losses.length >= 2);
    expect(losses[0]).toContain('1012 Service restart');
    served = await startGateway({ dataDir: home, env: { PORT: port, ADMIN_TOKEN: 'second-token-of-all' } });
    await until('it is caught up again', () => caughtUp === 2);
    expect(seen.map(changeOf)).toEqual(await changesInTable(data, 'BACKUP', positionOf(after)));
    expect(new Set(given)).toEqual(new Set(['first-token-of-all', 'second-token-of-all']));
    // One for each connection that was tried, failed ones included.
    expect(given.length).toBe(losses.length + 1);
    expect(connections).toEqual([true, false, true]);
    await flip(data, backup.number, 1);
    await until('a live change has come', () => seen.length === 6);
    await events.return();
    await watching;
  } finally {
    client.dispose();
    await served.stop();
    await data.close();
    await rm(home, { recursive: true, force: true });
  }
});

test('a connection that is lost while the database is away is resumed when it is back', async () => {
  const gateway = await startGateway();
  const database = await openGatewayDatabase(gateway.dataDir);
  const way = await startWay(gateway.url);
  const client = createGatewayClient({ url: way.url, token: gateway.token });
  try {
    const backup = await addBackup(database);
    const after = await feedCursor(gateway);
    const seen: Event[] = [];
    let caughtUp = 0;
    const watching = (async () => {
      for await (const event of client.watch<Watched>(WATCH, { id: backup.id, after }, { onCaughtUp: () => { caughtUp += 1; } })) seen.push(event);
    })();
    await until('it is caught up', () => caughtUp === 1);
    const killed = database.kill();
    for (let isAway = true; isAway;) {
      way.cut();
      isAway = await Promise.race([killed.then(() => false), new Promise<boolean>((resolve) => setTimeout(resolve, 100, true))]);
    }
    await flip(database, backup.number, 3);
    await until('the changes have come', () => seen.length === 3);
    expect(seen.map(changeOf)).toEqual(await changesInTable(database, 'BACKUP', positionOf(after)));
    client.dispose();
    await watching;
  } finally {
    client.dispose();
    await way.close();
    await database.close();
    await gateway.stop();
  }
});
