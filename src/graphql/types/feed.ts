import { writeFeedCursor } from '../../feed/cursor.ts';
import { builder } from '../builder.ts';
import { feedStateOf } from '../status-changes.ts';

builder.queryField('feedCursor', (t) => t.string({
  description: 'The present end of the feed of all status changes: query it with a list, subscribe after it, and nothing is missed.',
  resolve: async (_root, _args, context) => writeFeedCursor(context.feedId, (await feedStateOf(context)).end),
}));
