import { writeFeedCursor } from '../../feed/cursor.ts';
import { builder } from '../builder.ts';
import { feedStateOf } from '../status-changes.ts';

builder.queryField('feedCursor', (t) => t.string({
  description: 'The present end of the feed of all status changes: query it with a list, subscribe after it, and nothing is missed.',
  resolve: async (_root, _args, context) => {
    const { id, end } = await feedStateOf(context);
    return writeFeedCursor(id, end);
  },
}));
