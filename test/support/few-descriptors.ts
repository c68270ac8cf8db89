/**
 * A process that may have few files open, and makes backups with fewer and fewer of them left. Prints, as JSON, what each came
 * to, and which of its child processes are left in the end.
 */
import * as fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { GatewayError } from '../../src/domain/errors.ts';
import type { BackupPlan } from '../../src/engine/index.ts';
import { backup, openStore } from '../../src/engine/index.ts';

const { store, plan } = JSON.parse(process.argv[2] ?? '') as { store: string; plan: Omit<BackupPlan, 'store' | 'name' | 'attempt'> };
const recipient = plan.encryption === null ? null : { ...plan.encryption, wrappedIdentity: Buffer.from('not looked at') };

const make = (name: string): Promise<string> => backup(
  { ...plan, encryption: recipient, store: openStore({ type: 'DIRECTORY', path: store, s3: null }), name, attempt: `${name}.1` },
  { signal: new AbortController().signal, onProgress: () => undefined, beforePublish: async () => undefined },
).then(() => 'SUCCESS', (error: unknown) => (error instanceof GatewayError ? `${error.code}: ${error.message}` : String(error)));

// What is loaded at first use.
const outcomes = [await make('first')];
for (let left = 2; left <= 24; left += 1) {
  const held: number[] = [];
  try {
    for (;;) held.push(fs.openSync('/dev/null', 'r'));
  } catch {
    // None is left.
  }
  for (let count = 0; count < left; count += 1) fs.closeSync(held.pop()!);
  const outcome = make(`with-${left}`);
  const isInTime = await Promise.race([outcome.then(() => true), sleep(5_000, false)]);
  for (const descriptor of held) fs.closeSync(descriptor);
  outcomes.push(isInTime ? await outcome : 'it hangs');
}
outcomes.push(await make('last'));
const children = fs.readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim();
process.stdout.write(JSON.stringify({ outcomes, children }));
process.exit();
