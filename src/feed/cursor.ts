/**
 * Cursors of the feed: which feed, and a position in its commit order.
 */
import { GatewayError } from '../domain/errors.ts';
import type { FeedState } from '../records/transitions.ts';

/** A cursor that can't be used. `CURSOR_EXPIRED`: what it asks for is no longer kept. `CURSOR_INVALID`: not one of this feed. */
export class CursorError extends GatewayError {
  override readonly name = 'CursorError';
  declare readonly code: 'CURSOR_EXPIRED' | 'CURSOR_INVALID';
}

const FORM = /^feed\/([0-9a-f]{8})\/(0|[1-9]\d{0,15})$/;

/** The first part of the feed's id is enough to tell one database's cursors from another's. */
const mark = (feedId: string): string => feedId.slice(0, 8);

export function writeFeedCursor(feedId: string, position: number): string {
  return Buffer.from(`feed/${mark(feedId)}/${position}`).toString('base64url');
}

/** What is wanted after a position is no longer kept whole. */
export const cursorExpired = (): CursorError =>
  new CursorError('CURSOR_EXPIRED', 'The cursor is older than what the feed still keeps.', 'Read the list again, and subscribe after its feedCursor.');

const INVALID_HINT = 'Use a cursor exactly as this gateway answered it; where the database was replaced, read the list again and subscribe after its feedCursor.';

/** The feed is no longer the one that was followed. */
export const feedReplaced = (): CursorError =>
  new CursorError('CURSOR_INVALID', 'The database was put back to an earlier state: what the feed has told may not have happened.', 'Read the list again, and subscribe after its feedCursor.');

/** @throws CursorError */
export function readFeedCursor(state: FeedState, cursor: string): number {
  const [, feed, digits] = FORM.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  const position = Number(digits);
  // Decoding passes over characters that are not of its alphabet: only what was written here is taken.
  if (feed !== mark(state.id) || position > state.end || cursor !== writeFeedCursor(state.id, position)) {
    throw new CursorError('CURSOR_INVALID', 'The cursor is not one of this feed.', INVALID_HINT);
  }
  if (position < state.floor) throw cursorExpired();
  return position;
}
