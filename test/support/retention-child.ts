/**
 * A process that does nothing but remove old changes from a feed: `retention-child.ts CONNECTION DAYS PACE`, the first and
 * the last as JSON. Says when it has begun; to be killed at any moment.
 */
import { pino } from 'pino';
import { openDatabase } from '../../src/db/client.ts';
import { startFeedRetention } from '../../src/feed/retention.ts';

const [connection = '', days, pace = ''] = process.argv.slice(2);
startFeedRetention(openDatabase(JSON.parse(connection)).db, pino({ level: 'silent' }), Number(days), JSON.parse(pace));
console.log('begun');
