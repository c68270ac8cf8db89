/**
 * Passcodes, and the keys that they open, appear nowhere: each request of this file carries one of its own, and at the
 * end all that the gateway has left is looked through.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import postgres from 'postgres';
import { openIdentity } from '../src/engine/index.ts';
import { until, type GatewayProcess } from './support/gateway.ts';
import { Haystack, type Needle } from './support/needles.ts';
import { backupIs, createRestore, makeBackup, makeIncompressible, openSite, pause, requestRestore, restoreIs, showBackup, showRestore, type Site } from './support/site.ts';

let site: Site;
let gateway: GatewayProcess;
/** An encrypted backup, and what opens it. */
let sealedBackup: { id: string; passcode: string };
const needles: Needle[] = [{ name: 'any secret key of age', secret: 'AGE-SECRET-KEY-1' }];
/** What came back, by what was sent. */
const answers: [sent: string, answer: string][] = [];
const logs: string[] = [];

/** What every passcode of a kind begins with. */
const MARKS = { text: 'Zq"ü\\%', word: 'zqxwvyt', number: '80817' };
const some = (length: number): string => String(Math.floor(Math.random() * 10 ** length)).padStart(length, '7');

function note(name: string, secret: string, mark?: string): string {
  needles.push({ name, secret, mark });
  return secret;
}
/** A passcode of its own for each use, with all that an encoding may change. */
const secretFor = (name: string): string => note(name, `${MARKS.text} +/Ω-${needles.length}-${some(12)}`, MARKS.text);
/** One that can stand as it is in a GraphQL document. */
const wordFor = (name: string): string => note(name, `${MARKS.word}${some(12)}`, MARKS.word);
const numberFor = (name: string): number => Number(note(name, `${MARKS.number}${some(10)}`, MARKS.number));

/** Sends any HTTP request, and keeps the answer. */
async function request(name: string, body: string | undefined, { type = 'application/json', path = '/graphql' } = {}): Promise<string> {
  const response = await fetch(`${gateway.url}${path}`, {
    ...(body === undefined ? {} : { method: 'POST', body }), headers: { authorization: `Bearer ${gateway.token}`, ...(body === undefined ? {} : { 'content-type': type }), accept: 'application/json' },
  });
  const answer = `${response.status} ${JSON.stringify([...response.headers])} ${await response.text()}`;
  answers.push([name, answer]);
  return answer;
}
const post = (name: string, query: string, variables?: unknown) => request(name, JSON.stringify({ query, variables }));

const CREATE = 'mutation ($input: CreateBackupInput!) { createBackup(input: $input) { __typename ... on RuleViolations { message violations { rule path } } } }';
const creation = (more: object) => ({ input: { name: 'refused', configurationId: 1, type: 'CONFIG', storeName: 'vault', ...more } });

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './users' }] });
  makeIncompressible(site.at('users'), 4);
  gateway = await site.start({ LOG_LEVEL: 'trace' });
  // The database's own log, as talkative as it gets.
  const superuser = postgres({ host: site.at('postgres-run'), database: 'postgres', username: 'postgres', max: 1, onnotice: () => undefined });
  for (const setting of ["log_statement = 'all'", 'log_parameter_max_length = -1', 'log_parameter_max_length_on_error = -1', 'log_min_messages = debug1']) {
    await superuser.unsafe(`alter system set ${setting}`);
  }
  await superuser`select pg_reload_conf()`;
  await superuser.end();
});
afterAll(() => site?.close());

test('the search finds what it looks for, in every form', () => {
  const secret = secretFor('what is looked for');
  const [{ mark } = {}] = needles.slice(-1);
  const forms: Record<string, Buffer | string> = {
    plain: `a${secret}b`, json: JSON.stringify({ secret }), twice: JSON.stringify(JSON.stringify({ secret })), url: encodeURIComponent(secret), wide: Buffer.from(secret, 'utf16le'),
    hex: Buffer.from(secret).toString('hex'), base64: Buffer.from(`${secret}yy`).toString('base64'), shifted: Buffer.from(`x${secret}y`).toString('base64'), 'shifted again': Buffer.from(`xy${secret}`).toString('base64url'),
  };
  const haystack = new Haystack([{ name: 'it', secret, mark }]);
  for (const [where, content] of Object.entries(forms)) haystack.look(where, content);
  expect(haystack.finds.map(({ where }) => where)).toEqual(Object.keys(forms));
});

test('encrypted backups and restores work, and the key of a restore travels sealed and is erased when its job ends', async () => {
  const passcode = secretFor('a backup');
  const id = await makeBackup(gateway, { name: 'sealed', storeName: 'vault', passcode, idempotencyKey: secretFor('an idempotency key') });
  const literal = wordFor('a literal');
  await post('a literal', `mutation { createBackup(input: { name: "literal", configurationId: 1, type: CONFIG, storeName: "vault", passcode: "${literal}", idempotencyKey: "${literal}" }) { __typename } }`);
  await until('it is made', async () => (await site.sql`select from backups where name = 'literal' and status = 'SUCCESS'`).length === 1);

  const restoreId = await createRestore(gateway, id, ['USERS_CONFIG']);
  expect(await requestRestore(gateway, restoreId, { passcode: secretFor('a wrong passcode') })).toEqual([{ code: 2007, rule: 'PASSCODE_WRONG' }]);
  const sealed: string[] = [];
  await site.sql`create table seen (sealed text)`;
  await site.sql.unsafe('create function note_sealed() returns trigger language plpgsql as $$ begin insert into seen values (new.sealed_identity); return new; end $$');
  await site.sql`create trigger note_sealed after insert or update on jobs for each row execute function note_sealed()`;
  await requestRestore(gateway, restoreId, { passcode });
  expect(await restoreIs(gateway, restoreId, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'SUCCESS' });
  for (const row of await site.sql`select distinct sealed from seen where sealed is not null`) sealed.push(String(row['sealed']));
  // It was there once, sealed, and the row that ended the job has it no more.
  expect(sealed.length).toBe(1);
  const [row] = await site.sql`select wrapped_identity from backups where name = 'sealed'`;
  const key = await openIdentity(Buffer.from(String(row?.['wrapped_identity']), 'base64'), passcode) ?? '';
  expect(key).toMatch(/^AGE-SECRET-KEY-1/);
  note('the key of a backup', key);
  sealedBackup = { id, passcode };
  expect(await site.sql`select from jobs where sealed_identity is not null`).toEqual([]);
}, 60_000);

test.each(['CANCELLED', 'FAILED'])('the sealed key is erased when the restore\'s job ends %s', async (end) => {
  const { id, passcode } = sealedBackup;
  const restoreId = await createRestore(gateway, id, ['USERS_CONFIG']);
  const seen = (await site.sql`select from seen where sealed is not null`).length;
  if (end === 'FAILED') {
    // Its archive cannot be read any more.
    const { contentFilePath } = await showBackup(gateway, id);
    for (const name of readdirSync(contentFilePath)) if (name.includes('.tar')) truncateSync(`${contentFilePath}/${name}`, 100);
    await requestRestore(gateway, restoreId, { passcode });
    expect(await restoreIs(gateway, restoreId, ['SUCCESS', 'FAILED'])).toMatchObject({ status: 'FAILED' });
  } else {
    // Cancelled in the moment in which it is submitted, before any worker can have it.
    await site.sql.unsafe(`create or replace function cancel_at_once() returns trigger language plpgsql as $$ begin
      update jobs set status = 'CANCELLING' where id = new.id; return new; end $$`);
    await site.sql`create trigger cancel_at_once after insert on jobs for each row when (new.operation = 'RESTORE') execute function cancel_at_once()`;
    await requestRestore(gateway, restoreId, { passcode });
    await until('it is PENDING again', async () => (await showRestore(gateway, restoreId)).status === 'PENDING');
    await site.sql`drop trigger cancel_at_once on jobs`;
    await gateway.query('mutation ($input: DeleteRestoreInput!) { deleteRestore(input: $input) { __typename } }', { input: { id: restoreId } });
  }
  expect((await site.sql`select status from jobs where operation = 'RESTORE' order by id desc limit 1`)[0]?.['status']).toBe(end);
  expect(await site.sql`select from jobs where sealed_identity is not null`).toEqual([]);
  expect((await site.sql`select from seen where sealed is not null`).length).toBeGreaterThan(seen);
}, 60_000);

test('requests that are refused do not repeat a passcode', async () => {
  await post('too short', CREATE, creation({ passcode: note('too short', '~Zq7§wX') }));
  await post('an input without what it needs', CREATE, { input: { passcode: secretFor('an input without what it needs'), type: 'CONFIG' } });
  await post('a field that is not there', CREATE, creation({ passCode: secretFor('a field that is not there') }));
  await post('a number', CREATE, creation({ passcode: numberFor('a number') }));
  await post('a list', CREATE, creation({ passcode: [secretFor('a list')] }));
  await post('an object', CREATE, creation({ passcode: { [secretFor('a name in an object')]: secretFor('an object') } }));
  await post('NUL', CREATE, creation({ passcode: `${wordFor('NUL')}\0` }));
  await post('another variable', 'mutation ($p: String) { createBackup(input: { name: "x", configurationId: 1, type: CONFIG, passcode: $p }) { __typename } }', { p: numberFor('another variable') });
  await post('a variable of another type', 'mutation ($p: Int) { createBackup(input: { name: "x", configurationId: 1, type: CONFIG, passcode: $p }) { __typename } }', { p: secretFor('a variable of another type') });
  await post('an unused variable', 'query ($passcode: Int) { feedCursor }', { passcode: secretFor('an unused variable') });
  await post('another restore', 'mutation ($input: UpdateRestoreInput!) { updateRestore(input: $input) { __typename ... on RuleViolations { message } } }', { input: { id: 9999, status: 'REQUESTING', passcode: secretFor('another restore') } });
  await post('a status that is none', 'mutation ($input: UpdateRestoreInput!) { updateRestore(input: $input) { __typename } }', { input: { id: 1, status: 'NONE', passcode: secretFor('a status that is none') } });
  await post('a plan', 'query ($p: String) { restorePlan(backupId: 9999, groups: [USERS_CONFIG], passcode: $p) { __typename } }', { p: secretFor('a plan') });
  await post('a drill', 'mutation ($input: DrillRestoreInput!) { drillRestore(input: $input) { __typename ... on RuleViolations { message } } }', { input: { backupId: 9999, groups: ['USERS_CONFIG'], passcode: secretFor('a drill') } });
  await post('a schedule', 'mutation ($input: CreateScheduleInput!) { createSchedule(input: $input) { __typename ... on RuleViolations { message } } }', { input: { name: 's', operation: 'BACKUP', cron: 'never', passcode: secretFor('a schedule') } });
  const key = `key-${Math.random()}`;
  for (const name of ['a key used again', 'a key used again, otherwise']) await post(name, CREATE, creation({ storeName: 'default', name: 'keyed', idempotencyKey: key, passcode: secretFor(name) }));
  for (const [, answer] of answers.slice(-16)) expect(answer).not.toContain('"status":500');
});

test('documents that cannot be read or are not valid do not repeat a passcode', async () => {
  const create = (passcode: string) => `mutation { createBackup(input: { name: "x", configurationId: 1, type: CONFIG, passcode: ${passcode} }) { __typename } }`;
  const literals: Record<string, (word: string) => string> = {
    'an open string': (word) => `"${word}`, 'a string too many': (word) => `"a" "${word}"`, 'a quote in the middle': (word) => `"a"${word}"`, 'a single quote': (word) => `'${word}'`,
    'a bare word': (word) => word, 'a list': (word) => `["${word}"]`, 'an object': (word) => `{ ${word}: "${word}" }`, 'a bad escape': (word) => `"\\${word}"`, 'a bad code': (word) => `"\\u{${word}}"`,
    'a block': (word) => `"""${word}""" "${word}"`, 'no colon': (word) => `"a", passcode "${word}"`, 'twice': (word) => `"${word}", passcode: "${word}"`, 'a comment': (word) => `# ${word}\n`,
    'another type': (word) => `"x", retentionDate: "y", passphrase: "${word}"`,
  };
  for (const [name, literal] of Object.entries(literals)) {
    const word = wordFor(`literal: ${name}`);
    expect(await post(`literal: ${name}`, create(literal(word)))).toContain('"errors"');
  }
  expect(await post('no literal', '{ backupStores { nodes { requiresPasscode } }')).toContain('Expected Name, found <EOF>');
  await post('literal: a number', create(String(numberFor('literal: a number'))));
  await post('an argument', `mutation { createBackup(passcode: "${wordFor('an argument')}") { __typename } }`);
  await post('a default', `query ($passcode: Int = "${wordFor('a default')}") { feedCursor }`);
});

test('requests that are none do not repeat a passcode', async () => {
  const body = (secret: string) => JSON.stringify({ query: CREATE, variables: creation({ passcode: secret }) });
  await request('JSON cut off', body(secretFor('JSON cut off')).slice(0, -20));
  await request('JSON with a word', `{"variables":{"passcode":${wordFor('JSON with a word')}}}`);
  await request('text', body(secretFor('text')), { type: 'text/plain' });
  await request('a form', new URLSearchParams({ query: CREATE, variables: JSON.stringify(creation({ passcode: secretFor('a form') })) }).toString(), { type: 'application/x-www-form-urlencoded' });
  await request('no query', JSON.stringify({ passcode: secretFor('no query') }));
  await request('variables as a text', JSON.stringify({ query: CREATE, variables: JSON.stringify(creation({ passcode: secretFor('variables as a text') })) }));
  await request('several', `[${body(secretFor('several'))}]`);
  const address = (name: string, variables: string) => request(name, undefined, { path: `/graphql?${new URLSearchParams({ query: CREATE, variables }).toString()}` });
  await address('an address', JSON.stringify(creation({ passcode: secretFor('an address') })));
  expect(await address('an address with bad JSON', `{"passcode":${wordFor('an address with bad JSON')}}`)).toMatch(/^400 .*no JSON/);
  await request('another path', body(secretFor('another path')), { path: `/graphql/${encodeURIComponent(secretFor('a path'))}` });
  await request('too long', JSON.stringify({ query: CREATE, variables: creation({ passcode: secretFor('too long'), description: 'x'.repeat(1_100_000) }) })).catch(() => undefined);
});

test('the socket does not repeat a passcode either', async () => {
  /** Opens a socket, sends a message, and waits for what comes of it. */
  const talk = async (name: string, message: object | string) => {
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    let heard = '';
    socket.on('message', (data) => { heard += String(data); });
    const closed = once(socket, 'close').then(([code, reason]) => { heard += ` closed with ${code} ${String(reason)}`; });
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${gateway.token}`, passcode: secretFor(`${name}: connection parameters`) } }));
    await until('the socket is acknowledged', () => heard.includes('connection_ack'));
    socket.send(typeof message === 'string' ? message : JSON.stringify(message));
    await until(`the socket answers ${name}`, () => /"type":"(error|complete|next)"|closed with/.test(heard));
    socket.close();
    await closed;
    answers.push([`socket: ${name}`, heard]);
    return heard;
  };
  const subscribe = (query: unknown, variables?: unknown) => ({ type: 'subscribe', id: '1', payload: { query, variables } });
  expect(await talk('a wrong type', subscribe(CREATE, creation({ passcode: numberFor('socket: a wrong type') })))).toContain('[hidden]');
  expect(await talk('a syntax error', subscribe(`subscription { backupStatusChanged(passcode: "a" "${wordFor('socket: a syntax error')}") { to } }`))).toContain('"error"');
  await talk('an input without what it needs', subscribe(CREATE, { input: { passcode: secretFor('socket: an input') } }));
  await talk('a subscription', subscribe('subscription ($passcode: Int) { jobProgressed(id: $passcode) { status } }', { passcode: secretFor('socket: a subscription') }));
  await talk('a mutation', subscribe(CREATE, creation({ name: 'by-socket', passcode: secretFor('socket: a mutation') })));
  await talk('no operation', subscribe(1, { passcode: secretFor('socket: no operation') }));
  await talk('no JSON', `{"type":"subscribe","id":"1","payload":{"passcode":${wordFor('socket: no JSON')}`);
});

test('failures of the database and a kill in the middle do not tell a passcode', async () => {
  await until('nothing runs', async () => (await site.sql`select from jobs where status in ('SUBMITTED', 'EXECUTING')`).length === 0);
  await site.sql`alter table jobs rename to jobs_away`;
  expect(await post('a failing statement', CREATE, creation({ name: 'failing', passcode: secretFor('a failing statement') }))).toContain('ENGINE_ERROR');
  await site.sql`alter table jobs_away rename to jobs`;
  // Looked at while the key is derived and tar runs.
  const passcode = secretFor('a process that is looked at');
  const haystack = new Haystack(needles);
  const watch = setInterval(() => haystack.lookAtProcesses(gateway.process.pid ?? 0), 50);
  await makeBackup(gateway, { name: 'watched', storeName: 'vault', passcode });
  clearInterval(watch);
  expect(haystack.finds).toEqual([]);
  expect(haystack.bytes).toBeGreaterThan(0);

  const cutOff = secretFor('a request that is cut off by a kill');
  const hanging = post('cut off', CREATE, creation({ name: 'cut-off', passcode: cutOff })).catch(() => undefined);
  await pause(200);
  logs.push(gateway.log());
  await gateway.kill();
  await hanging;
  gateway = await site.start({ LOG_LEVEL: 'trace' });
  await backupIs(gateway, await makeBackup(gateway, { name: 'after-the-kill', storeName: 'vault', passcode: secretFor('after the kill') }), ['SUCCESS']);
}, 60_000);

test('an error that nobody catches is told without the parameters of its statement', async () => {
  const secret = wordFor('an error that nobody catches');
  // Backwards, since a stack names the code's place, which is the code itself here.
  const word = `[..."${[...secret].toReversed().join('')}"].reverse().join("")`;
  const error = `Object.assign(new Error("Failed query: x params: " + ${word}), { query: "x", params: [${word}] })`;
  const code = `process.on("SIGUSR2", () => { Promise.reject(new Error("outer", { cause: ${error} })); })`;
  const doomed = await site.start({ NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(code)}` });
  doomed.process.kill('SIGUSR2');
  await once(doomed.process, 'exit');
  expect(doomed.log()).toContain('an error that nobody caught');
  expect(doomed.log()).toContain('A statement failed.');
  logs.push(doomed.log());
});

test('of all that was left, nothing holds a passcode or a key', async () => {
  await site.sql`checkpoint`.catch(() => undefined);
  await gateway.stop();
  logs.push(gateway.log());
  const haystack = new Haystack(needles);
  const tables = await site.sql`select quote_ident(table_schema) || '.' || quote_ident(table_name) as name from information_schema.tables where table_schema in ('public', 'drizzle')`;
  expect(tables.length).toBeGreaterThan(10);
  for (const { name } of tables) {
    const rows = await site.sql.unsafe(`select t::text as row from ${name} t`);
    haystack.look(`the table ${name}`, rows.map((row) => row['row']).join('\n'));
  }
  for (const [sent, answer] of answers) haystack.look(`the answer to: ${sent}`, answer);
  haystack.look('the log', logs.join('\n'));
  // Postgres still runs: its files are looked at as they are, the write-ahead log and its own log among them.
  haystack.lookIn(site.dataDir);
  expect(haystack.finds).toEqual([]);
  // It has looked: at statements in the database's log, and at the trace of the gateway.
  expect(haystack.bytes).toBeGreaterThan(20_000_000);
  expect(readFileSync(site.at('postgres-run/postgres.log'), 'utf8')).toMatch(/execute .*insert into "backups"/);
  expect(answers.length).toBeGreaterThan(45);
});
