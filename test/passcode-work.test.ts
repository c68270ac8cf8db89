/**
 * How often the work of a passcode is done: a second of a processor and 128 MiB each time.
 */
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createIdentity } from '../src/engine/keys.ts';
import { startGateway, type TestGateway } from './support/gateway.ts';
import { makeGatedSite, type GatedSite } from './support/gated-site.ts';
import { codesOf, done, reached, send } from './support/mutations.ts';

vi.mock('../src/engine/keys.ts', async (importOriginal) => {
  const real = await importOriginal<typeof import('../src/engine/keys.ts')>();
  return { ...real, createIdentity: vi.fn(real.createIdentity) };
});

let site: GatedSite;
let gateway: TestGateway;
beforeAll(async () => {
  site = await makeGatedSite();
  gateway = await startGateway(site.options);
});
afterAll(async () => {
  await gateway?.stop();
  await site?.remove();
});

test('a repetition under the same idempotency key is answered without deriving a key again', async () => {
  const input = { name: 'keyed', configurationId: 1, type: 'CONFIG', storeName: 'vault', passcode: 'long enough', idempotencyKey: 'once' };
  const { backup, job } = await done(gateway, 'createBackup', input);
  expect(createIdentity).toHaveBeenCalledTimes(1);
  await reached(gateway, 'backup', backup.id, 'SUCCESS');
  for (let nth = 0; nth < 3; nth += 1) {
    expect(await done(gateway, 'createBackup', input)).toMatchObject({ backup: { id: backup.id }, job: { id: job.id } });
  }
  expect(createIdentity).toHaveBeenCalledTimes(1);
  // The passcode counts as part of the input: another one is no repetition.
  expect(codesOf(await send(gateway, 'createBackup', { ...input, name: 'other', passcode: 'another one' }))).toEqual([2006]);
});
