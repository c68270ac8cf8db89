/**
 * Every mutation by its name, and what it answers held against the table of documented rules.
 */
import { expect } from 'vitest';
import { RULES, type MutationName, type RuleName } from '../../src/domain/rules.ts';
import { until, type TestGateway } from './gateway.ts';

const PAYLOADS: Record<MutationName, string> = {
  createBackup: 'backup { id name status } job { id status }',
  updateBackup: 'backup { id description retentionDate }',
  deleteBackup: 'backup { id status } job { id status }',
  createRestore: 'restore { id status }',
  updateRestore: 'restore { id status } job { id status }',
  deleteRestore: 'deletedId',
  cancelJob: 'job { id status }',
  verifyBackup: 'backup { id status } job { id status }',
  drillRestore: 'backup { id } job { id status }',
  restorePlan: 'groups { group added { count paths } changed { count paths } removed { count paths } unchanged bytesToWrite bytesToUnpack targets databases }',
  scanStore: 'store { name } job { id status }',
  createSchedule: 'schedule { id name isPaused nextRun }',
  updateSchedule: 'schedule { id name isPaused nextRun cron timeZone namePattern description keepDays keepLast isEncrypted host { databaseId } store { name } }',
  deleteSchedule: 'deletedId',
  applyRetention: 'job { id status operation }',
  setRebalancing: 'deployment { isRebalancing }',
  stageHost: 'deployment { hasUndeployedChanges }',
  stageBackupConfiguration: 'configuration { id databaseId isDeployed retentionPeriodDays dataBackupHosts { databaseId } }',
  deployStagedChanges: 'deployment { hasUndeployedChanges version }',
};
export const MUTATIONS = Object.keys(PAYLOADS) as MutationName[];

const titled = (name: string): string => name.charAt(0).toUpperCase() + name.slice(1);
/** A query that answers broken rules as a mutation does, though it has no input object. */
const QUERY = `query ($backupId: ID!, $groups: [ContentGroup!]!, $passcode: String) { restorePlan(backupId: $backupId, groups: $groups, passcode: $passcode) {
  __typename ... on RuleViolations { message violations { rule code httpStatus message path } } ... on RestorePlan { ${PAYLOADS.restorePlan} } } }`;
const operation = (name: MutationName): string => name === 'restorePlan' ? QUERY : `mutation ($input: ${titled(name)}Input!) { ${name}(input: $input) {
  __typename ... on RuleViolations { message violations { rule code httpStatus message path } }
  ... on ${titled(name)}Payload { ${PAYLOADS[name]} } } }`;

export type Input = Record<string, unknown>;
/** A broken rule as the documentation has it: its code, its symbol, and the input field at fault if one is. */
export type Broken = readonly [code: number, rule: RuleName, field?: string];

/** What a failing test shows of a request. */
const shown = (name: MutationName, input: Input): string => `${name} ${JSON.stringify(input).slice(0, 300)}`;

/** Sends a mutation; answers the member of its result union. A GraphQL error fails the test. */
export async function send(gateway: TestGateway, name: MutationName, input: Input): Promise<any> {
  const answer = await gateway.query(operation(name), name === 'restorePlan' ? input : { input });
  expect(answer.errors, shown(name, input)).toBeUndefined();
  return answer.data[name];
}

/** Sends a mutation that must succeed; answers its payload. */
export async function done(gateway: TestGateway, name: MutationName, input: Input): Promise<any> {
  const result = await send(gateway, name, input);
  expect(result.violations, shown(name, input)).toBeUndefined();
  return result;
}

/** The codes that a result tells; empty where it is a success. */
export const codesOf = (result: any): number[] => (result.violations ?? []).map((violation: any) => violation.code);

/** Notes which rules have been seen, so that a file can show that it reached every one of its mutations'. */
export class RuleWitness {
  readonly #seen = new Set<string>();

  /** Sends a mutation that must break exactly these rules, told in this order, each as documented. */
  async expectBroken(gateway: TestGateway, name: MutationName, input: Input, ...broken: Broken[]): Promise<void> {
    const result = await send(gateway, name, input);
    const rules: Partial<Record<RuleName, { code: number; httpStatus: number; message: string }>> = RULES[name];
    expect(result, shown(name, input)).toEqual({
      __typename: 'RuleViolations',
      message: broken.map(([, rule]) => rules[rule]?.message).join(' '),
      violations: broken.map(([code, rule, field]) => ({
        rule, code, httpStatus: rules[rule]?.httpStatus, message: rules[rule]?.message,
        path: field === undefined ? [] : name === 'restorePlan' ? [field] : ['input', field],
      })),
    });
    for (const [, rule] of broken) this.#seen.add(`${name} ${rule}`);
  }

  /** Fails with the rules of these mutations that have not been seen; 1000 is another file's. */
  expectAllSeen(...names: MutationName[]): void {
    const documented = names.flatMap((name) => Object.keys(RULES[name]).filter((rule) => rule !== 'ENGINE_ERROR').map((rule) => `${name} ${rule}`));
    expect(documented.filter((rule) => !this.#seen.has(rule))).toEqual([]);
  }
}

/** Waits until a backup, restore or job has the status; one that has failed meanwhile fails the test with its reason. */
export function reached(gateway: TestGateway, kind: 'backup' | 'restore' | 'job', id: string, status: string): Promise<unknown> {
  const error = kind === 'job' ? 'error' : 'job { error }';
  return until(`${kind} ${id} is ${status}`, async () => {
    const { data } = await gateway.query(`query ($id: ID!) { record: ${kind}(id: $id) { status ${error} } }`, { id });
    if (status !== 'FAILED' && data.record?.status === 'FAILED') throw new Error(`${kind} ${id} failed: ${data.record.error ?? data.record.job?.error}`);
    return data.record?.status === status;
  }, 15_000);
}

/** Waits until a record is gone. */
export function gone(gateway: TestGateway, kind: 'backup' | 'restore', id: string): Promise<unknown> {
  return until(`${kind} ${id} is gone`, async () => (await gateway.query(`query ($id: ID!) { record: ${kind}(id: $id) { status } }`, { id })).data.record === null, 15_000);
}

/** Makes a backup to its end; answers its id. */
export async function finishedBackup(gateway: TestGateway, name: string, more: Input = {}): Promise<string> {
  const { backup } = await done(gateway, 'createBackup', { name, configurationId: 1, type: 'CONFIG', ...more });
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
  return backup.id;
}
