/** Removes the feed's changes up to a position, as its retention does: `prune-child.ts CONNECTION POSITION`, for a test that must not go on meanwhile. */
import { postgresClient } from '../../src/db/client.ts';

const [connection = '', position = ''] = process.argv.slice(2);
const sql = postgresClient(JSON.parse(connection), { max: 1 });
await sql.begin(async (transaction) => {
  await transaction`update feed set floor = ${position}`;
  await transaction`delete from transitions where position <= ${position}`;
});
await sql.end();
