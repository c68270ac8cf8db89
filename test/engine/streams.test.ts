import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Duplex, Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describe, expect, test } from 'vitest';
import { encryptTo, decryptWith } from '../../src/engine/age.ts';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { handOver, release } from '../../src/engine/memory.ts';
import { closed, compression, decompression } from '../../src/engine/zstd.ts';
import { NodeCompression, NodeDecompression } from '../../src/engine/zstd-node.ts';
import { has } from '../support/engine.ts';
import { until } from '../support/gateway.ts';
import { childrenOf } from '../support/site.ts';

/** What comes out of the streams when a content goes in, cut into pieces of this length. */
async function through(content: Buffer, length: number, streams: Duplex[]): Promise<Buffer> {
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

const kinds: [string, () => Promise<Duplex>, () => Promise<Duplex>][] = [
  ["Node's own zstd", async () => new NodeCompression(3), async () => new NodeDecompression()],
  ...has('zstd') ? [['the zstd program', compression, decompression] as [string, typeof compression, typeof decompression]] : [],
];

describe.each(kinds)('compression by %s', (_name, compress, decompress) => {
  test.each([1, 1_000, 65_536, 262_144, 262_145, content.length])('comes back from pieces of %i bytes', async (length) => {
    const whole = length === 1 ? content.subarray(699_000, 702_000) : content;
    expect((await through(whole, length, [await compress(), await decompress()])).equals(whole)).toBe(true);
  });

  test.each(kinds)('is one frame with a check sum, which %s takes; so is that of nothing', async (_other, _compress, reading) => {
    for (const plain of [content, Buffer.alloc(0)]) {
      const frame = await through(plain, 100_000, [await compress()]);
      expect((await through(frame, 100_000, [await reading()])).equals(plain)).toBe(true);
      // The frame header descriptor's bit 2; https://www.rfc-editor.org/rfc/rfc8878, 3.1.1.1.1.
      expect([frame.readUInt32LE(0), (frame[4] ?? 0) & 4]).toEqual([0xfd2fb528, 4]);
    }
  });

  test('that was altered, or is none, does not come back', async () => {
    const frame = await through(content, 100_000, [await compress()]);
    const altered = Buffer.from(frame);
    altered[frame.length - 100] = (altered[frame.length - 100] ?? 0) ^ 1;
    for (const [what, bad] of Object.entries({ altered, none: content })) {
      await expect(through(bad, 100_000, [await decompress()]).then(() => what), what).rejects.toThrow();
    }
  });
});

describe.skipIf(!has('zstd'))('the zstd program (install zstd to run this)', () => {
  const programs = (): number[] => childrenOf(process.pid, 'zstd');

  test('that is killed has said nothing about what passed', async () => {
    const frame = await through(content, 100_000, [await compression()]);
    for (const [open, beginning] of [[compression, content], [decompression, frame.subarray(0, 500_000)]] as const) {
      const zstd = await open();
      const unending = new Readable({ read: () => undefined });
      unending.push(beginning);
      const work = pipeline([unending, zstd, new Writable({ write: (_piece, _encoding, done) => done() })]);
      work.catch(() => undefined);
      await until('it runs', () => programs().length === 1);
      for (const pid of programs()) process.kill(pid, 'SIGKILL');
      await expect(work).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('zstd was ended by SIGKILL') });
    }
  });

  test('is gone when its stream is, whoever fails', async () => {
    const zstd = await compression();
    const failing = new Readable({ read(): void { this.destroy(new Error('the source failed')); } });
    await expect(pipeline([failing, zstd, new Writable({ write: (_piece, _encoding, done) => done() })])).rejects.toThrow('the source failed');
    await closed(zstd);
    expect(programs()).toEqual([]);
    const unused = await decompression();
    await until('it runs', () => programs().length === 1);
    await closed(unused);
    expect(programs()).toEqual([]);
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
    await pipeline([child.stdout, await compression(), await decompression(), ...ageing,
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
