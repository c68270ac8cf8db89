import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { encryptTo, decryptWith } from '../../src/engine/age.ts';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { handOver, release } from '../../src/engine/memory.ts';
import { compression, decompression } from '../../src/engine/zstd.ts';
import { has } from '../support/engine.ts';

/** What comes out of the streams when a content goes in, cut into pieces of this length. */
async function through(content: Buffer, length: number, streams: Transform[]): Promise<Buffer> {
  const out: Buffer[] = [];
  const pieces = Array.from({ length: Math.ceil(content.length / length) }, (_, at) => Buffer.from(content.subarray(at * length, (at + 1) * length)));
  await pipeline([Readable.from(pieces), ...streams, new Writable({ write: (piece: Buffer, _encoding, done) => {
    out.push(Buffer.from(piece));
    release(piece);
    done();
  } })]);
  return Buffer.concat(out);
}

const content = Buffer.concat([randomBytes(700_000), Buffer.alloc(1_500_000, 'text '), randomBytes(300_001)]);

describe('compression', () => {
  test.each([1, 1_000, 65_536, 262_144, 262_145, content.length])('comes back from pieces of %i bytes', async (length) => {
    const whole = length === 1 ? content.subarray(699_000, 702_000) : content;
    expect((await through(whole, length, [compression(), decompression()])).equals(whole)).toBe(true);
  });

  test.skipIf(!has('zstd'))('is one frame with a check sum, which the zstd program takes; so is that of nothing (install zstd to run this)', async () => {
    for (const plain of [content, Buffer.alloc(0)]) {
      const frame = await through(plain, 100_000, [compression()]);
      expect(execFileSync('zstd', ['-dc'], { input: frame, maxBuffer: 1e8 }).equals(plain)).toBe(true);
      // The frame header descriptor's bit 2; https://www.rfc-editor.org/rfc/rfc8878, 3.1.1.1.1.
      expect([frame.readUInt32LE(0), (frame[4] ?? 0) & 4]).toEqual([0xfd2fb528, 4]);
    }
  });

  test('that was altered, or is none, does not come back', async () => {
    const frame = await through(content, 100_000, [compression()]);
    const altered = Buffer.from(frame);
    altered[frame.length - 100] = (altered[frame.length - 100] ?? 0) ^ 1;
    for (const [what, bad] of Object.entries({ altered, none: content })) {
      await expect(through(bad, 100_000, [decompression()]).then(() => what), what).rejects.toThrow();
    }
  });
});

describe('memory of pieces', () => {
  test('is freed where it was handed over, with the last piece of an allocation, and nowhere else', () => {
    const [pooled, foreign, whole] = [Buffer.from('pooled'), Buffer.alloc(100_000, 1), Buffer.allocUnsafeSlow(100_000)];
    for (const piece of [pooled, foreign]) release(piece);
    expect([pooled.toString(), foreign[99_999]]).toEqual(['pooled', 1]);
    const [first, last] = [handOver(whole.subarray(0, 60_000)), handOver(whole.subarray(60_000))];
    release(first);
    expect(last.length).toBe(40_000);
    release(last);
    expect([first.length, last.length, whole.buffer.byteLength]).toEqual([0, 0, 0]);
  });

  test('does not pile up, however much passes', async () => {
    const identity = await generateX25519Identity();
    const ageing = [await encryptTo(await identityToRecipient(identity)), decryptWith(identity)];
    const child = spawn('head', ['-c', '200000000', '/dev/zero'], { stdio: ['ignore', 'pipe', 'inherit'] });
    child.stdout.on('data', handOver);
    const before = process.memoryUsage().arrayBuffers;
    let [most, passed] = [0, 0];
    await pipeline([child.stdout, compression(), decompression(), ...ageing,
      new Writable({ write: (piece: Buffer, _encoding, done) => {
        passed += piece.length;
        release(piece);
        most = Math.max(most, process.memoryUsage().arrayBuffers);
        done();
      } })]);
    expect(passed).toBe(200_000_000);
    expect((most - before) / 1e6).toBeLessThan(16);
  });
});
