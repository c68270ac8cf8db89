/**
 * Wake-ups that a connection hears of itself, instead of the server notifying everybody: the function `wake` of
 * `drizzle/0003_wake_bus.sql` raises a notice where a session asks for it, which comes with the answer to the statement.
 */
import type postgres from 'postgres';

/** A hint that there is something to read. */
export interface Wake {
  /** As Postgres calls it. */
  readonly channel: string;
  readonly payload: string;
}

/** The settings of a session that asks for it. A role may have been set to hear of no notices. */
export const WAKES_AS_NOTICES = { 'backup_gateway.wake': 'bus', client_min_messages: 'notice' } as const;

/** The SQLSTATE by which such a notice is known. */
const WAKE = 'BGWAK';

export const isWake = (notice: postgres.Notice): boolean => notice['code'] === WAKE;

export const readWake = (notice: postgres.Notice): Wake => ({ channel: notice['message'] ?? '', payload: notice['detail'] ?? '' });
