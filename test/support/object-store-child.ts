/**
 * A process that writes one large object and reads it back, and prints how much memory that took at most: the store's
 * declaration and the length in bytes are its arguments.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { openS3Store } from '../../src/engine/stores/s3.ts';

const store = openS3Store(JSON.parse(process.argv[2] ?? ''));
const length = Number(process.argv[3]);
const piece = Buffer.alloc(64 * 1024, 'pattern of 11');

function* pieces(hash: ReturnType<typeof createHash>): Generator<Buffer> {
  for (let left = length; left > 0; left -= piece.length) {
    const next = piece.subarray(0, Math.min(left, piece.length));
    hash.update(next);
    yield next;
  }
}

const writer = await store.begin('large', 'job.1');
const before = process.resourceUsage().maxRSS;
const written = createHash('sha256');
await pipeline(Readable.from(pieces(written)), await writer.create('DATA.tar.zst'));
await writer.publish('{}');
const read = createHash('sha256');
const { stream } = await store.open('large').read('DATA.tar.zst');
for await (const next of stream) read.update(next as Buffer);
process.stdout.write(JSON.stringify({ isSame: written.digest('hex') === read.digest('hex'), grownBy: (process.resourceUsage().maxRSS - before) * 1024 }));
