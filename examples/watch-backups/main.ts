/**
 * Lists backups, makes one, and watches it until it has ended; see README.md.
 */
import { createGatewayClient, GatewayClientError, type GatewayClient } from 'backup-gateway/client';
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

const url = process.env['BACKUP_GATEWAY_URL'] ?? 'http://127.0.0.1:4000';
/** How many times in a row it tries to connect again. */
const RETRIES = 10;

/** What a refusal of the gateway, or its silence, means for this script. */
function failureOf({ code, message }: GatewayClientError): Failure {
  if (code === 'UNAUTHENTICATED') return new Failure(EXIT.tokenRefused, 'The gateway refuses the token. Set TOKEN to the admin token that its first start has printed.');
  if (code === 'UNREACHABLE' || code === 'URL_INVALID') return new Failure(EXIT.unreachable, `${message} Is it running? Set BACKUP_GATEWAY_URL.`);
  return new Failure(EXIT.requestRefused, message);
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

async function watchProgress(gateway: GatewayClient, id: string): Promise<void> {
  for await (const { progress } of gateway.watch(Progress, { id }, { resume: false, retries: RETRIES })) {
    if (progress?.percent != null) showProgress(progress.percent, progress.bytesDone);
  }
}

/** Comes back when the backup has ended. @throws Failure where it has not succeeded. */
async function watchStatus(gateway: GatewayClient, id: string, after: string): Promise<void> {
  const onLost = () => say('The connection is lost; resuming where it broke off.');
  for await (const { to, backup } of gateway.watch(Status, { id, after }, { retries: RETRIES, onLost })) {
    say(to ?? 'removed');
    if (to === 'SUCCESS') return say(`${megabytes(backup?.sizeOnDisk ?? 0)} in ${backup?.contentFilePath}`);
    if (to === 'FAILED') throw new Failure(EXIT.backupFailed, `The backup failed: ${backup?.job?.error ?? 'its job does not say why'}`);
    if (to == null || to === 'CANCELLING' || to === 'DELETING') throw new Failure(EXIT.backupFailed, 'Somebody has deleted the backup meanwhile.');
  }
}

async function main(gateway: GatewayClient): Promise<void> {
  const name = process.argv[2] ?? `example-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  const { feedCursor, backups } = await gateway.query(List);
  say(`Backups: ${backups.totalCount}${backups.totalCount > 0 ? ', the newest:' : ''}`);
  for (const { name, status, sizeOnDisk } of backups.nodes) say(`  ${name}  ${status}  ${sizeOnDisk == null ? '' : megabytes(sizeOnDisk)}`);

  const { createBackup } = await gateway.query(Create, { input: { name, type: 'CONFIG', configurationId: '1' } });
  if (createBackup.__typename === 'RuleViolations') {
    throw new Failure(EXIT.rulesBroken, createBackup.violations.map(({ rule, code, message }) => `${rule} (${code}): ${message}`).join('\n'));
  }
  say(`Making ${createBackup.backup.name}`);
  // Progress is for the eyes: it ends with the status, and its own failure is none.
  void watchProgress(gateway, createBackup.job.id).catch(() => undefined);
  await watchStatus(gateway, createBackup.backup.id, feedCursor);
}

let gateway: GatewayClient | undefined;
try {
  gateway = createGatewayClient({ url, token: process.env['TOKEN'] ?? '' });
  await main(gateway);
} catch (error) {
  const failure = error instanceof GatewayClientError ? failureOf(error) : error;
  if (!(failure instanceof Failure)) throw failure;
  console.error(failure.message);
  process.exitCode = failure.exitCode;
} finally {
  gateway?.dispose();
}
