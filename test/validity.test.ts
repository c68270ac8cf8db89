/**
 * Each reason why a backup is not valid, made to arise with real files and a real deployment file.
 */
import * as fs from 'node:fs';
import { basename } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FileContent } from '../src/deployment-file/spec.ts';
import { VALIDITY_PROBLEMS, type ValidityProblem } from '../src/domain/vocabulary.ts';
import { filesOf, flipBit, look, verify } from './support/checks.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { finishedBackup, RuleWitness } from './support/mutations.ts';

const witness = new RuleWitness();
const seen = new Set<ValidityProblem>();
let site: GatedSite;
let gateway: TestGateway;
/** Global ids are the same for ever, so that a restart of the gateway changes nothing. */
let id: string;
const start = async () => { gateway = await startGateway({ ...site.options, env: { ...site.options.env, DEPLOY_ON_START: 'true' } }); };
beforeAll(async () => {
  site = await makeGatedSite();
  await start();
  id = await finishedBackup(gateway, 'judged');
});
afterAll(async () => {
  await gateway?.stop();
  await site?.remove();
});

/** The backup is not valid for exactly this reason, and cannot be restored. */
async function expectProblem(problem: ValidityProblem): Promise<any> {
  const backup = await look(gateway, id);
  expect(backup).toMatchObject({ status: 'SUCCESS', isValid: false, validityProblems: [problem] });
  await witness.expectBroken(gateway, 'createRestore', { backupId: id, groups: ['USERS_CONFIG'] }, [1006, 'BACKUP_NOT_VALID', 'backupId']);
  seen.add(problem);
  return backup;
}

async function expectValid(): Promise<void> {
  expect(await look(gateway, id)).toMatchObject({ isValid: true, validityProblems: [], validityDetails: [] });
}

describe('what is wrong with the files of a backup', () => {
  /** Spoils one file, verifies, mends it again. */
  async function spoiled(file: string, spoil: (path: string) => void, problem: ValidityProblem): Promise<void> {
    const path = filesOf(await look(gateway, id)).find((candidate) => basename(candidate) === file)!;
    const good = fs.readFileSync(path);
    spoil(path);
    await verify(gateway, id);
    const backup = await expectProblem(problem);
    expect(backup.validityDetails.join('\n')).toContain(file);
    fs.writeFileSync(path, good, { mode: 0o600 });
    await verify(gateway, id);
    await expectValid();
  }

  test('a manifest that lacks a property', () => spoiled('manifest.json', (path) => {
    const { product, ...rest } = JSON.parse(fs.readFileSync(path, 'utf8')) as Record<string, unknown>;
    expect(product).toBe('acme-siem');
    fs.writeFileSync(path, JSON.stringify(rest));
  }, 'MANIFEST_PROPERTIES_MISSING'));
  test('a manifest that cannot be read', () => spoiled('manifest.json', (path) => fs.truncateSync(path, 100), 'MANIFEST_UNREADABLE'));
  test('an archive that is not what was written', () => spoiled('USERS_CONFIG.tar.zst', (path) => flipBit(path), 'DIGEST_MISMATCH'));
  test('a list of digests that is not what was written', () => spoiled('manifest.sha256', (path) => flipBit(path), 'DIGEST_MISMATCH'));
  test('an archive that is not there', () => spoiled('DEPLOYMENT_CONFIG.tar.zst', (path) => fs.rmSync(path), 'FILE_MISSING'));
});

describe('what is wrong with a backup for the deployment', () => {
  /** Deploys a changed deployment file, and puts the old one into force again. */
  async function deployed(change: (file: Required<FileContent>) => void, back: (file: Required<FileContent>) => void, problem: ValidityProblem): Promise<void> {
    await gateway.stop();
    await site.edit(change);
    await start();
    const backup = await expectProblem(problem);
    // Its files are as they should be.
    expect(backup.validityDetails).toEqual([]);
    await gateway.stop();
    await site.edit(back);
    await start();
    await expectValid();
  }

  test('another product', () => deployed((file) => { file.deployment.product = 'other'; }, (file) => { file.deployment.product = 'acme-siem'; }, 'PRODUCT_MISMATCH'));
  test('another appliance', () => deployed((file) => { file.deployment.appliance = '4711'; }, (file) => { file.deployment.appliance = '3199'; }, 'APPLIANCE_MISMATCH'));
  test('the console is a standby, and was none', () => deployed((file) => { file.hosts[0]!.haRole = 'STANDBY'; }, (file) => { delete file.hosts[0]!.haRole; }, 'HA_STANDBY_MISMATCH'));

  test("the console has an address that was a managed host's", async () => {
    await gateway.stop();
    await site.edit((file) => { file.hosts[1]!.address = '192.0.2.77'; });
    await start();
    id = await finishedBackup(gateway, 'with-managed-host');
    await deployed((file) => {
      file.hosts[0]!.address = '192.0.2.77';
      delete file.hosts[1]!.address;
    }, (file) => {
      file.hosts[0]!.address = '192.0.2.1';
      file.hosts[1]!.address = '192.0.2.77';
    }, 'CONSOLE_ADDRESS_IN_USE');
  });
});

test('every reason has been seen', () => {
  expect(VALIDITY_PROBLEMS.filter((problem) => !seen.has(problem))).toEqual([]);
});
