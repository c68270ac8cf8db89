/**
 * A process that encrypts what it reads into an open file, its standard output, and ends. It reads one line of JSON first:
 * the key, and what the file begins with. On its standard error it leaves one line of JSON: the length and the digest of
 * what it has written, or why it could not.
 *
 * Nothing else goes on in it: it waits for each read and each write, in memory that it keeps, which takes half the time.
 */
import { createHash, createSecretKey } from 'node:crypto';
import { readSync, writeSync } from 'node:fs';
import { CHUNK, ChunkNonce, Chunks, sealChunk, TAG_LENGTH } from './age-payload.ts';

const PIECE = 4 * CHUNK;

/** What it is told. */
export interface EncryptionJob {
  /** Of the payload, base64. */
  key: string;
  /** What the file begins with, base64. */
  prefix: string;
}

/** What it answers, having succeeded (exit code 0) or not. */
export type EncryptionResult = { size: number; sha256: string } | { code: string | null; message: string };

const input = Buffer.allocUnsafeSlow(PIECE);
const output = Buffer.allocUnsafeSlow(PIECE + 4 * TAG_LENGTH);
const hash = createHash('sha256');
let size = 0;
let collected = 0;

function flush(): void {
  const piece = output.subarray(0, collected);
  hash.update(piece);
  for (let at = 0; at < collected;) at += writeSync(1, piece, at, collected - at);
  size += collected;
  collected = 0;
}

function write(piece: Buffer): void {
  if (collected + piece.length > output.length) flush();
  collected += piece.copy(output, collected);
}

/** Reads to the end of the first line; what follows it may have come with it. */
function readLine(): { line: string; rest: Buffer } {
  let read = Buffer.alloc(0);
  for (;;) {
    const length = readSync(0, input);
    if (length === 0) throw new Error('it was not told its key');
    read = Buffer.concat([read, input.subarray(0, length)]);
    const end = read.indexOf('\n');
    if (end >= 0) return { line: read.toString('utf8', 0, end), rest: read.subarray(end + 1) };
  }
}

function encrypt(): void {
  const { line, rest } = readLine();
  const { key, prefix } = JSON.parse(line) as EncryptionJob;
  const secret = createSecretKey(Buffer.from(key, 'base64'));
  const nonce = new ChunkNonce();
  const chunks = new Chunks(CHUNK);
  const seal = (isLast: boolean) => (chunk: Buffer) => sealChunk(secret, nonce.next(isLast), chunk).forEach(write);
  write(Buffer.from(prefix, 'base64'));
  chunks.add(rest, seal(false));
  for (let length = readSync(0, input); length > 0; length = readSync(0, input)) chunks.add(input.subarray(0, length), seal(false));
  seal(true)(chunks.rest);
  flush();
}

function answer(result: EncryptionResult): void {
  process.stderr.write(JSON.stringify(result));
}

try {
  encrypt();
  answer({ size, sha256: hash.digest('hex') });
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  answer({ code: code ?? null, message });
  process.exitCode = 1;
}
