/**
 * Verifications, scans and drills, run to their ends.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { until, type TestGateway } from './gateway.ts';
import { done } from './mutations.ts';

/** A job that has ended. */
export interface EndedJob {
  status: string; error: string | null; messages: string[]; scan: Record<string, number> | null; store: { name: string } | null; backup: { id: string } | null;
}

/** Waits until a job has ended, however. */
export function ended(gateway: TestGateway, id: string, patience = 20_000): Promise<EndedJob> {
  return until(`job ${id} has ended`, async () => {
    const { data } = await gateway.query(`query ($id: ID!) { job(id: $id) { status error messages store { name } backup { id }
      scan { found known damaged foreign ignored } } }`, { id });
    return ['COMPLETED', 'FAILED', 'CANCELLED'].includes(data.job?.status) && data.job;
  }, patience);
}

export const verify = async (gateway: TestGateway, id: string): Promise<EndedJob> => ended(gateway, (await done(gateway, 'verifyBackup', { id })).job.id);
export const scan = async (gateway: TestGateway, storeName?: string): Promise<EndedJob> => ended(gateway, (await done(gateway, 'scanStore', { storeName })).job.id);
export const drill = async (gateway: TestGateway, input: Record<string, unknown>): Promise<EndedJob> => ended(gateway, (await done(gateway, 'drillRestore', input)).job.id);

/** Waits until every store can be written, after one was away for a moment. */
export const storesReady = (gateway: TestGateway): Promise<unknown> => until('the stores are READY', async () =>
  (await gateway.query('{ backupStores { nodes { status } } }')).data.backupStores.nodes.every(({ status }: { status: string }) => status === 'READY'));

/** All that the catalogue says of a backup, but for what differs between one catalogue and another. */
export const CATALOGUED = `name description type status version buildVersion timeInitiated timeCompleted initiatedBy sizeOnDisk contentFilePath groups
  isEncrypted isValid validityProblems validityDetails isVersionCompatible retentionDate isKept host { databaseId } store { name } configuration { databaseId }
  origin { deployment hostId hostname consoleAddress name }`;

/** A backup as GraphQL shows it; null where there is none. */
export async function look(gateway: TestGateway, id: string, fields = `${CATALOGUED} timeVerified lastDrill { isSuccessful files bytes seconds reason }`): Promise<any> {
  const { data, errors } = await gateway.query(`query ($id: ID!) { backup(id: $id) { ${fields} } }`, { id });
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return data.backup;
}

/** The whole catalogue, by name. */
export async function catalogue(gateway: TestGateway): Promise<Record<string, any>> {
  const { data, errors } = await gateway.query(`{ backups(first: 100) { nodes { id ${CATALOGUED} } } }`);
  if (errors !== undefined) throw new Error(JSON.stringify(errors));
  return Object.fromEntries(data.backups.nodes.map(({ id: _id, ...backup }: any) => [backup.name, backup]));
}

/** Changes one bit in the middle of a file. */
export function flipBit(path: string, at = fs.statSync(path).size >> 1): void {
  const bytes = fs.readFileSync(path);
  bytes[at]! ^= 1;
  fs.writeFileSync(path, bytes);
}

/** The files of a backup. */
export const filesOf = (backup: { contentFilePath: string }): string[] => fs.readdirSync(backup.contentFilePath).map((name) => join(backup.contentFilePath, name));
