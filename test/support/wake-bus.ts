/**
 * What a process has of the wake-up bus, without the rest of it.
 */
import { openDatabase, type Connection, type Pool } from '../../src/db/client.ts';
import type { Channel } from '../../src/db/listener.ts';
import { startWakeBus, type WakeBus } from '../../src/db/wake-bus.ts';

export interface BusMember {
  /** What is committed here is told by the bus. */
  readonly db: Pool;
  /** What its callbacks were called with. */
  readonly told: [Channel, string | null][];
  /** What it logged. */
  readonly logged: string[];
  leave(): Promise<void>;
}

/** `id`: of the installation. */
export async function joinBus(connection: Connection, url: string, id: string, max = 6): Promise<BusMember> {
  let bus: WakeBus | undefined;
  const { db, close } = openDatabase(connection, { max, onWakes: (wakes) => bus?.publish(wakes) });
  const told: BusMember['told'] = [];
  const logged: string[] = [];
  const log = (_fields: object, message: string) => { logged.push(message); };
  try {
    bus = await startWakeBus(url, { id, db, log: { info: log, warn: log }, listener: { tell: (channel, payload) => told.push([channel, payload]) } });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    db, told, logged,
    async leave() {
      await bus?.close();
      await close();
    },
  };
}
