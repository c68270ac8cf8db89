/**
 * A process that derives one key from a passcode with scrypt, and ends: what scrypt needs of memory goes with it. It reads
 * a JSON document from its input and writes the key's 32 bytes to its output.
 */
import { scryptSync } from 'node:crypto';
import { text } from 'node:stream/consumers';

const { passcode, salt, workFactor } = JSON.parse(await text(process.stdin)) as { passcode: string; salt: string; workFactor: number };
const N = 2 ** workFactor;
process.stdout.write(scryptSync(passcode, Buffer.from(salt, 'base64'), 32, { N, r: 8, p: 1, maxmem: 129 * N * 8 }));
