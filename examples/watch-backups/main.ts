/**
 * Lists backups, makes one, and watches it until it has ended; see README.md.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import type { TypedDocumentString } from './gql/graphql.ts';
import { graphql } from './gql/index.ts';

// The feed's end is read together with the list: a subscription after it misses nothing.
const List = graphql(`query List { feedCursor backups(first: 5) { totalCount nodes { name status sizeOnDisk } } }`);

const Create = graphql(`mutation Create($input: CreateBackupInput!) {
  createBackup(input: $input) {
    __typename
    ... on CreateBackupPayload { backup { id name } job { id } }
    ... on RuleViolations { violations { rule code message } }
  }
}`);

const Status = graphql(`subscription Status($id: ID!, $after: String) {
  backupStatusChanged(id: $id, after: $after) { cursor to backup { sizeOnDisk contentFilePath job { error } } }
}`);

const Progress = graphql(`subscription Progress($id: ID!) { jobProgressed(id: $id) { progress { percent bytesDone bytesTotal } } }`);

/** How the script can end. */
const EXIT = { backupFailed: 1, rulesBroken: 2, tokenRefused: 3, unreachable: 4, requestRefused: 5 } as const;

class Failure extends Error {
  readonly exitCode: number;
  constructor(exitCode: number, message: string) {
    super(message);
    this.exitCode = exitCode;
  }
}

const base = (process.env['BACKUP_GATEWAY_URL'] ?? 'http://127.0.0.1:4000').replace(/\/+$/, '');
const authorization = `Bearer ${process.env['TOKEN'] ?? ''}`;
const unreachable = (why: unknown) => new Failure(EXIT.unreachable, `No gateway answers at ${base} (${String(why)}). Is it running? Set BACKUP_GATEWAY_URL.`);

interface GraphqlError { message: string; extensions?: { code?: unknown } }

/** What the gateway's own errors mean for this script. */
function refusal(errors: readonly GraphqlError[]): Failure {
  const isToken = errors.some(({ extensions }) => extensions?.code === 'UNAUTHENTICATED');
  return isToken ? new Failure(EXIT.tokenRefused, 'The gateway refuses the token. Set TOKEN to the admin token that its first start has printed.')
    : new Failure(EXIT.requestRefused, errors.map(({ message }) => message).join('\n'));
}

async function ask<Result, Variables>(document: TypedDocumentString<Result, Variables>, variables: Variables): Promise<Result> {
  let answer: { data?: Result | null; errors?: GraphqlError[] };
  try {
    const response = await fetch(`${base}/graphql`, {
      method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify({ query: document.toString(), variables }),
    });
    answer = await response.json() as typeof answer;
  } catch (error) {
    const cause = (error as Error).cause as { code?: string } | undefined;
    throw unreachable(cause?.code ?? (error as Error).message);
  }
  if (answer.errors !== undefined || answer.data == null) throw refusal(answer.errors ?? [{ message: 'The answer holds no data.' }]);
  return answer.data;
}

// Retries are ours: the client's own would send the same cursor again.
const client = createClient({ url: `${base.replace(/^http/, 'ws')}/graphql`, connectionParams: { authorization }, retryAttempts: 0 });

/** Events of a subscription, through as many connections as it takes; `variables` is asked anew for each. */
async function* follow<Result, Variables>(
  document: TypedDocumentString<Result, Variables>, variables: () => Variables, onLost?: () => void,
): AsyncGenerator<Result, void> {
  for (let attempt = 0; ; attempt++) {
    try {
      for await (const { data, errors } of client.iterate<Result>({ query: document.toString(), variables: variables() as Record<string, unknown> })) {
        if (errors !== undefined) throw errors;
        attempt = 0;
        if (data != null) yield data;
      }
      return;
    } catch (error) {
      if (Array.isArray(error)) throw refusal(error as GraphqlError[]);
      if (attempt === 8) throw unreachable('the connection is lost');
      onLost?.();
      await sleep(Math.min(100 * 2 ** attempt, 5_000));
    }
  }
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const { stdout } = process;

/** Prints a line; above the bar where there is one. */
const say = (line: string): void => void stdout.write(stdout.isTTY ? `\r\u001B[K${line}\n` : `${line}\n`);

let tenth = -1;
function showProgress(percent: number, bytes: number): void {
  if (stdout.isTTY) {
    const width = Math.round(percent * 0.3);
    stdout.write(`\r\u001B[K[${'#'.repeat(width)}${'-'.repeat(30 - width)}] ${percent.toFixed(0).padStart(3)} %  ${megabytes(bytes)}`);
  } else if (Math.floor(percent / 10) > tenth) {
    tenth = Math.floor(percent / 10);
    say(`${percent.toFixed(0)} % (${megabytes(bytes)})`);
  }
}

async function watchProgress(jobId: string): Promise<void> {
  for await (const { jobProgressed: { progress } } of follow(Progress, () => ({ id: jobId }))) {
    if (progress?.percent != null) showProgress(progress.percent, progress.bytesDone);
  }
}

const tellLost = (): void => say('The connection is lost; resuming where it broke off.');

/** Comes back when the backup has ended. @throws Failure where it has not succeeded. */
async function watchStatus(id: string, after: string): Promise<void> {
  let cursor = after;
  for await (const { backupStatusChanged: { cursor: reached, to, backup } } of follow(Status, () => ({ id, after: cursor }), tellLost)) {
    cursor = reached;
    say(to ?? 'removed');
    if (to === 'SUCCESS') return say(`${megabytes(backup?.sizeOnDisk ?? 0)} in ${backup?.contentFilePath}`);
    if (to === 'FAILED') throw new Failure(EXIT.backupFailed, `The backup failed: ${backup?.job?.error ?? 'its job does not say why'}`);
    if (to == null || to === 'CANCELLING' || to === 'DELETING') throw new Failure(EXIT.backupFailed, 'Somebody has deleted the backup meanwhile.');
  }
}

async function main(): Promise<void> {
  const name = process.argv[2] ?? `example-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  const { feedCursor, backups } = await ask(List, {});
  say(`Backups: ${backups.totalCount}${backups.totalCount > 0 ? ', the newest:' : ''}`);
  for (const { name, status, sizeOnDisk } of backups.nodes) say(`  ${name}  ${status}  ${sizeOnDisk == null ? '' : megabytes(sizeOnDisk)}`);

  const { createBackup } = await ask(Create, { input: { name, type: 'CONFIG', configurationId: '1' } });
  if (createBackup.__typename === 'RuleViolations') {
    throw new Failure(EXIT.rulesBroken, createBackup.violations.map(({ rule, code, message }) => `${rule} (${code}): ${message}`).join('\n'));
  }
  say(`Making ${createBackup.backup.name}`);
  // Progress is for the eyes: it ends with the status, and its own failure is none.
  void watchProgress(createBackup.job.id).catch(() => undefined);
  await watchStatus(createBackup.backup.id, feedCursor);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(error.message);
  process.exitCode = error.exitCode;
} finally {
  await client.dispose();
}
