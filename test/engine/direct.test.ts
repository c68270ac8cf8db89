import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout } from 'node:timers/promises';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { describe, expect, test } from 'vitest';
import { archiveInto } from '../../src/engine/direct.ts';
import type { DirectWriter } from '../../src/engine/direct.ts';
import { closed } from '../../src/engine/zstd.ts';
import { has, makeSite, storeAt } from '../support/engine.ts';
import { until } from '../support/gateway.ts';
import { childrenOf } from '../support/site.ts';

const identity = await generateX25519Identity();
const recipient = await identityToRecipient(identity);

/** Gigabytes would not fit into what is between the processes; a few megabytes do not either. */
const content = Buffer.concat([randomBytes(3_000_000), Buffer.alloc(4_000_000, 'text ')]);
const inPieces = (length: number, whole = content): Buffer[] => Array.from({ length: Math.ceil(whole.length / length) }, (_, at) => Buffer.from(whole.subarray(at * length, (at + 1) * length)));
const NODE = 'MainThread';
/** Of this test: the runner has children of its own. */
const running = (name: string): number[] => childrenOf(process.pid, name).filter((pid) => name === 'zstd' || fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('encrypt-payload'));
const programs = (): number[] => [...running('zstd'), ...running(NODE)];

async function writerInto(path: string, to: string | null): Promise<DirectWriter> {
  const file = fs.openSync(path, 'w');
  try {
    return (await archiveInto(file, to))!;
  } finally {
    fs.closeSync(file);
  }
}

describe.skipIf(!has('zstd'))('an archive that other processes write (install zstd to run this)', () => {
  test.each([0, 1, 65_535, 65_536, 65_537, 131_072, content.length])('of %i bytes is what zstd and age open', async (length) => {
    const { place } = makeSite();
    const whole = content.subarray(0, length);
    fs.writeFileSync(join(place, 'key'), identity);
    for (const to of [null, ...has('age') ? [recipient] : []]) {
      const path = join(place, 'file');
      const writer = await writerInto(path, to);
      await pipeline(inPieces(100_000, whole), writer);
      const written = fs.readFileSync(path);
      expect(writer.stored).toEqual(to === null ? null : { size: written.length, sha256: createHash('sha256').update(written).digest('hex') });
      const frame = to === null ? written : execFileSync('age', ['-d', '-i', join(place, 'key'), path], { maxBuffer: 2 * content.length });
      expect(execFileSync('zstd', ['-q', '-d', '-c'], { input: frame, maxBuffer: 2 * content.length }).equals(whole)).toBe(true);
    }
    expect(programs()).toEqual([]);
  });

  test.each(['zstd', NODE])('fails where %s is killed, and leaves no other process', async (name) => {
    const { place } = makeSite();
    const writer = await writerInto(join(place, 'file'), recipient);
    const writing = pipeline(async function* endless() {
      for (;;) {
        yield randomBytes(100_000);
        await setTimeout(1);
      }
    }, writer);
    writing.catch(() => undefined);
    await until('it writes', () => fs.statSync(join(place, 'file')).size > 300_000);
    const [pid] = running(name);
    process.kill(pid!, 'SIGKILL');
    await expect(writing).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('SIGKILL') });
    await closed(writer);
    expect(programs()).toEqual([]);
    expect(writer.stored).toBeNull();
  });

  test.each([[null], [recipient]])('fails with the system\'s own code where its disk is full: for %j', async (to) => {
    const writer = await writerInto('/dev/full', to);
    await expect(pipeline(inPieces(100_000), writer)).rejects.toMatchObject({ code: 'ENOSPC' });
    await closed(writer);
    expect(programs()).toEqual([]);
  });

  test('that is given up leaves no process, whoever waits for whom', async () => {
    const { place } = makeSite();
    for (const pieces of [0, 1, 20]) {
      const writer = await writerInto(join(place, 'file'), recipient);
      for (const piece of inPieces(100_000).slice(0, pieces)) writer.write(piece);
      await closed(writer);
      expect(programs()).toEqual([]);
    }
  });

  test('has a recipient that is one', async () => {
    await expect(writerInto(join(makeSite().place, 'file'), 'age1nobody')).rejects.toThrow();
    expect(programs()).toEqual([]);
  });
});

describe('a file that is read while it is written', () => {
  async function growing(): Promise<{ append(piece: Buffer): void; whole: AbortController; stream: Readable }> {
    const site = makeSite();
    fs.mkdirSync(join(site.store, 'nightly'));
    const path = join(site.store, 'nightly', 'file');
    fs.writeFileSync(path, '');
    const whole = new AbortController();
    const { stream } = await storeAt(site.store).open('nightly').read('file', whole.signal);
    return { append: (piece) => fs.appendFileSync(path, piece), whole, stream };
  }

  test('is read to where it ends once nothing follows', async () => {
    const { append, whole, stream } = await growing();
    const read = buffer(stream);
    for (const piece of inPieces(900_000)) {
      append(piece);
      await setTimeout(20);
    }
    whole.abort();
    expect((await read).equals(content)).toBe(true);
  });

  test('holds nobody up: its end is told at once, and so is that nobody wants it', async () => {
    const { whole, stream } = await growing();
    const read = buffer(stream);
    await setTimeout(10);
    whole.abort();
    expect((await read).length).toBe(0);
    const other = await growing();
    other.stream.resume();
    await setTimeout(10);
    other.stream.destroy();
    await until('it is closed', () => other.stream.closed);
  });
});
