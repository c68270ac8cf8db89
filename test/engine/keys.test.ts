import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Encrypter } from 'age-encryption';
import { describe, expect, test } from 'vitest';
import { decryptWith, encryptTo } from '../../src/engine/age.ts';
import { createIdentity, openIdentity } from '../../src/engine/index.ts';
import { withPasscode } from '../support/age.ts';
import { directory, has, leftovers, makeBackup, makePlace, makeRestore, makeSite } from '../support/engine.ts';
import { describeTree, makeOddTree, spoilOddTree } from '../support/tree.ts';

const PASSCODE = 'correct horse é battery';
const { recipient, wrapped } = await createIdentity(PASSCODE);
const identity = await openIdentity(wrapped, PASSCODE) ?? '';

describe('a passcode', () => {
  test('opens what it wrapped', () => {
    expect(identity).toMatch(/^AGE-SECRET-KEY-1[0-9A-Z]{58}$/);
  });

  test('opens it however its accents are composed', async () => {
    expect(await openIdentity(wrapped, PASSCODE.normalize('NFD'))).toBe(identity);
  });

  test('that is wrong opens nothing', async () => {
    expect(await openIdentity(wrapped, 'incorrect horse')).toBeNull();
  });

  test('leaves the event loop free while it is worked on', async () => {
    let ticks = 0;
    const timer = setInterval(() => {
      ticks += 1;
    }, 10);
    await openIdentity(wrapped, 'incorrect horse');
    clearInterval(timer);
    expect(ticks).toBeGreaterThan(10);
  });

  test('opens what an earlier version wrapped, with twice the work', async () => {
    const encrypter = new Encrypter();
    encrypter.setPassphrase(PASSCODE.normalize('NFC'));
    encrypter.setScryptWorkFactor(18);
    expect(await openIdentity(await encrypter.encrypt(`${identity}\n`), PASSCODE)).toBe(identity);
  });

  test('is worked on with memory that this process does not keep', async () => {
    fs.writeFileSync('/proc/self/clear_refs', '5');
    const peak = () => Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1]) / 1024;
    const before = peak();
    await openIdentity(wrapped, PASSCODE);
    // The derivation alone takes 128.
    expect(peak() - before).toBeLessThan(64);
  });

  test('is not asked of a file that would take too much memory, or that is damaged', async () => {
    const text = Buffer.from(wrapped).toString('latin1');
    for (const bad of [text.replace(/ 17\n/, ' 21\n'), text.replace(/ 17\n/, ' 99\n'), text.slice(0, 40), '', text.replace('scrypt', 'script'), text.slice(0, -1)]) {
      await expect(openIdentity(Buffer.from(bad, 'latin1'), PASSCODE)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    }
  });

  test('and the key stay out of errors', async () => {
    const error: unknown = await openIdentity(wrapped.slice(0, -1), PASSCODE).catch((reason: unknown) => reason);
    expect(JSON.stringify([error, String(error), (error as Error).stack, (error as Error).cause])).not.toMatch(/horse|AGE-SECRET/);
  });
});

describe('the age format', () => {
  const lengths = [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_003];

  test.each(lengths)('is written and read back for %i bytes', async (length) => {
    const [plain, parts]: [Buffer, Buffer[]] = [randomBytes(length), []];
    await pipeline([plain], await encryptTo(recipient), decryptWith(identity), async (pieces: AsyncIterable<Buffer>) => {
      for await (const piece of pieces) parts.push(piece);
    });
    expect(Buffer.concat(parts).equals(plain)).toBe(true);
  });

  test.skipIf(!has('age'))('is what the age program writes and reads (install age to run this)', async () => {
    const place = makePlace();
    fs.writeFileSync(join(place, 'key'), `${identity}\n`);
    for (const length of lengths) {
      const plain = randomBytes(length);
      await pipeline([plain], await encryptTo(recipient), fs.createWriteStream(join(place, 'file.age')));
      expect(execFileSync('age', ['-d', '-i', join(place, 'key'), join(place, 'file.age')], { maxBuffer: 1e8 }).equals(plain)).toBe(true);
      const theirs = execFileSync('age', ['-r', recipient], { input: plain, maxBuffer: 1e8 });
      expect((await decrypted(theirs)).equals(plain)).toBe(true);
    }
  });

  const decrypted = async (file: Buffer, step = 50_000): Promise<Buffer> => {
    const parts: Buffer[] = [];
    const pieces = function* (): Generator<Buffer> {
      for (let at = 0; at < file.length; at += step) yield file.subarray(at, at + step);
    };
    await pipeline(pieces, decryptWith(identity), async (result: AsyncIterable<Buffer>) => {
      for await (const piece of result) parts.push(piece);
    });
    return Buffer.concat(parts);
  };

  test('is read however it is cut into pieces', async () => {
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const plain = randomBytes(200_000);
    const file = Buffer.from(await encrypter.encrypt(plain));
    for (const step of [61, 4096, 65_552, 1_000_000]) expect((await decrypted(file, step)).equals(plain)).toBe(true);
  });

  test('does not decrypt where it was cut off, changed, reordered or extended', async () => {
    const encrypter = new Encrypter();
    encrypter.addRecipient(recipient);
    const file = Buffer.from(await encrypter.encrypt(randomBytes(200_000)));
    const begin = file.length - 200_000 - 4 * 16;
    const chunk = 65_552;
    const bad = {
      cut: file.subarray(0, -1), 'cut at a chunk': file.subarray(0, begin + chunk), 'cut in the header': file.subarray(0, 50),
      changed: Buffer.from(file).fill(file[begin + 9]! ^ 1, begin + 9, begin + 10),
      reordered: Buffer.concat([file.subarray(0, begin), file.subarray(begin + chunk, begin + 2 * chunk), file.subarray(begin, begin + chunk), file.subarray(begin + 2 * chunk)]),
      extended: Buffer.concat([file, Buffer.alloc(16)]),
      'without a header': file.subarray(begin),
    };
    for (const [what, bytes] of Object.entries(bad)) await expect(decrypted(bytes), what).rejects.toThrow();
  });
});

describe('an encrypted backup', () => {
  test('restores what was backed up, with its key and no other', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    const before = describeTree(source);
    const { manifest } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }], { key: { recipient, wrappedIdentity: wrapped } });
    expect(manifest.encryption).toMatchObject({ format: 'age', recipient, identityFile: 'identity.age' });
    spoilOddTree(source);
    const spoiled = describeTree(source);
    const plan = { groups: ['USERS_CONFIG' as const], targets: [{ group: 'USERS_CONFIG' as const, source: directory(source) }] };
    const other = await createIdentity('another passcode');
    for (const wrong of [null, 'AGE-SECRET-KEY-1NONSENSE', await openIdentity(other.wrapped, 'another passcode')]) {
      await expect(makeRestore(site, { ...plan, identity: wrong })).rejects.toMatchObject({ code: 'KEY_REQUIRED' });
    }
    expect(describeTree(source)).toEqual(spoiled);
    await makeRestore(site, { ...plan, identity });
    expect(describeTree(source)).toEqual(before);
    expect(leftovers(site.place)).toEqual([]);
  });

  test.skipIf(!has('age') || !has('zstd') || !has('python3'))('is opened with the passcode by age, zstd and tar alone (install age, zstd and python3 to run this)', async () => {
    const site = makeSite();
    const source = join(site.place, 'odd');
    makeOddTree(source);
    const { location: path } = await makeBackup(site, [{ group: 'USERS_CONFIG', source: directory(source) }], { key: { recipient, wrappedIdentity: wrapped } });
    const key = join(site.place, 'key.txt');
    withPasscode(PASSCODE, ['age', '-d', '-o', key, join(path, 'identity.age')]);
    expect(fs.readFileSync(key, 'utf8').trim()).toBe(identity);

    const archive = join(path, 'USERS_CONFIG.tar.zst.age');
    const target = join(site.place, 'by hand');
    fs.mkdirSync(target);
    const script = 'age -d -i "$1" "$2" | zstd -d | tar -xp --numeric-owner --warning=no-timestamp -C "$3"';
    execFileSync('bash', ['-o', 'pipefail', '-ec', script, 'bash', key, archive, target]);
    expect(describeTree(target)).toEqual(describeTree(source));

    const direct = join(site.place, 'direct.tar.zst');
    withPasscode(PASSCODE, ['age', '-d', '-i', join(path, 'identity.age'), '-o', direct, archive]);
    expect(execFileSync('age', ['-d', '-i', key, archive], { maxBuffer: 1e8 }).equals(fs.readFileSync(direct))).toBe(true);
  });
});
