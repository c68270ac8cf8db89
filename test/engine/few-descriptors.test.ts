/**
 * A process that runs out of file descriptors: each backup ends with that reason, and leaves no process behind.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { expect, test } from 'vitest';
import { directory, FACTS, has, makeSite } from '../support/engine.ts';

const PROGRAM = fileURLToPath(new URL('../support/few-descriptors.ts', import.meta.url));
const recipient = await identityToRecipient(await generateX25519Identity());

test.skipIf(process.platform !== 'linux' || !has('zstd')).each([null, { recipient }])('too few file descriptors fail a backup with that reason, and nothing more: encryption %j', (encryption) => {
  const site = makeSite();
  const source = join(site.place, 'source');
  fs.mkdirSync(source);
  fs.writeFileSync(join(source, 'file'), 'content');
  const plan = { archives: [{ group: 'USERS_CONFIG', source: directory(source) }], encryption, facts: FACTS };
  const printed = execFileSync('bash', ['-c', 'ulimit -n 120; exec "$0" --no-warnings "$@"', process.execPath, PROGRAM, JSON.stringify({ store: site.store, plan })], { encoding: 'utf8' });
  const { outcomes, children } = JSON.parse(printed) as { outcomes: string[]; children: string };
  expect([outcomes[0], outcomes.at(-2), outcomes.at(-1), children]).toEqual(['SUCCESS', 'SUCCESS', 'SUCCESS', '']);
  const failures = outcomes.filter((outcome) => outcome !== 'SUCCESS');
  expect(failures.length).toBeGreaterThan(5);
  for (const failure of failures) expect(failure).toMatch(/^(IO: .* could not be started: this process, or the machine, has too many files open\.|(IO|STORE_UNREACHABLE|SOURCE_UNREADABLE): .*too many open files.*)$/);
});
