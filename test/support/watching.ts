/** What the tests of the client watch. */
import { positionOf, type Change } from './feed.ts';

export const WATCH = 'subscription ($id: ID, $after: String) { backupStatusChanged(id: $id, after: $after) { cursor backupId from to at } }';
export interface Watched { backupStatusChanged: { cursor: string; backupId: string; from: string | null; to: string | null; at: string } }
export type Event = Watched['backupStatusChanged'];

/** An event as `changesInTable` has it. */
export const changeOf = ({ cursor, backupId, from, to, at }: Event): Change => ({ position: positionOf(cursor), record: backupId, from, to, at });
