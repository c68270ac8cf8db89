/**
 * Whether a directory is the store that it is declared to be. Where a file system is not mounted there is a directory, too:
 * its mount point. Nothing may be written there, and nothing that it lacks is lost. A mark in each store tells them apart;
 * one that was in use before there were marks is known by a backup in it.
 */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { EngineError } from '../domain/errors.ts';
import { STORE_MARK, type Store } from '../engine/index.ts';
import { someDirectoriesIn } from '../records/backups.ts';
import type { Db, StoreRow } from '../records/rows.ts';
import { storeOf } from './store-of.ts';

/** What it takes to find out. */
interface Marker { db: Db; log: Pick<Logger, 'debug'> }

/**
 * Why what is there is not the store; null: it is. Leaves the mark where it is missing and nothing speaks against the
 * place: no backup in it is known, or one that is known is there.
 *
 * @throws EngineError STORE_UNREACHABLE where it cannot be read
 */
export async function doubtAbout({ db, log }: Marker, row: StoreRow, store = storeOf(row)): Promise<EngineError | null> {
  if (await store.isMarked()) return null;
  const known = await someDirectoriesIn(db, row.id);
  if (known.length > 0 && !await holdsAny(db, row, store, known)) {
    return new EngineError('STORE_UNREACHABLE',
      `${row.path} has neither its mark, the file ${STORE_MARK}, nor any of the backups that were made in it: is its file system mounted?`,
      `Mount it on the machine of each worker. If it was emptied or replaced on purpose, make the mark: touch ${join(row.path, STORE_MARK)}`);
  }
  // One that is write-protected or full goes without until it can be written.
  await store.mark().catch((error: unknown) => log.debug({ error, store: row.name }, 'a store has no mark yet'));
  return null;
}

/** Mostly the newest are there: of a store that stays without a mark, since nothing can be written, no list is made again and again. */
async function holdsAny(db: Db, row: StoreRow, store: Store, known: readonly string[]): Promise<boolean> {
  for (const directory of known) if (await store.has(directory)) return true;
  const names = await store.list();
  return names.length > 0 && (await someDirectoriesIn(db, row.id, names)).length > 0;
}

/** For what would do harm, or find something lost, in another place than the store. @throws EngineError STORE_UNREACHABLE */
export async function requireStore(context: Marker, row: StoreRow, store = storeOf(row)): Promise<void> {
  const doubt = await doubtAbout(context, row, store);
  if (doubt !== null) throw doubt;
}
