/**
 * A backup's own key pair, and the passcode that wraps it: `identity.age`, which the stock age program opens.
 *
 * The age library does the format. Its scrypt would hold the process still, and any scrypt takes memory that this
 * process would keep: a child process derives the key, and goes.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Identity, Recipient, Stanza } from 'age-encryption';
import { EngineError, GatewayError } from '../domain/errors.ts';
import { ioFault } from './faults.ts';
import { start } from './process.ts';

/** 2^17 rounds, the least that OWASP recommends: half a second and 128 MiB for each guess at a passcode. */
const WORK_FACTOR = 17;
/** What a file may ask for. 2^20 takes 1 GiB; more would be an attack on this process, not a key. */
const WORK_FACTOR_LIMIT = 20;
const LABEL = Buffer.from('age-encryption.org/v1/scrypt');
const TAG_LENGTH = 16;
/** Each key wraps one file key only, so the format fixes the nonce. */
const NONCE = Buffer.alloc(12);

const DERIVATION = fileURLToPath(new URL('derive-key.ts', import.meta.url));

let lastDerivation: Promise<unknown> = Promise.resolve();

/** @throws EngineError IO where the child did not answer */
async function deriveKey(passcode: string, salt: Buffer, workFactor: number): Promise<Buffer> {
  // Neither arguments nor the environment, which other users or children could read.
  const child = start(process.execPath, ['--no-warnings', DERIVATION], { stdin: true, stdout: true });
  const answer = buffer(child.stdout!);
  child.stdin!.end(JSON.stringify({ passcode, salt: salt.toString('base64'), workFactor }));
  const [key, exit] = await Promise.all([answer, child.exit]);
  if (exit.code === 0 && key.length === 32) return key;
  // What the child says of it stays out: it had the passcode.
  throw ioFault(new Error(`the process that derives it ended with ${exit.signal ?? `code ${exit.code}`}`), 'The key of a passcode could not be derived');
}

/** One derivation at a time, for the memory that each takes. */
function wrappingKey(passcode: string, salt: Uint8Array, workFactor: number): Promise<Buffer> {
  const derivation = lastDerivation.then(() => deriveKey(passcode.normalize('NFC'), Buffer.concat([LABEL, salt]), workFactor));
  lastDerivation = derivation.catch(() => undefined);
  return derivation;
}

class PasscodeRecipient implements Recipient {
  readonly #passcode: string;

  constructor(passcode: string) {
    this.#passcode = passcode;
  }

  async wrapFileKey(fileKey: Uint8Array): Promise<Stanza[]> {
    const salt = randomBytes(16);
    const cipher = createCipheriv('chacha20-poly1305', await wrappingKey(this.#passcode, salt, WORK_FACTOR), NONCE, { authTagLength: TAG_LENGTH });
    const body = Buffer.concat([cipher.update(fileKey), cipher.final(), cipher.getAuthTag()]);
    const { Stanza } = await import('age-encryption');
    return [new Stanza(['scrypt', salt.toString('base64').replaceAll('=', ''), String(WORK_FACTOR)], body)];
  }
}

class PasscodeIdentity implements Identity {
  /** The file is sound as far as it was read, and the passcode is not its own. */
  refused = false;
  readonly #passcode: string;

  constructor(passcode: string) {
    this.#passcode = passcode;
  }

  async unwrapFileKey(stanzas: Stanza[]): Promise<Uint8Array | null> {
    const [stanza] = stanzas;
    const [type, encodedSalt = '', digits = ''] = stanza?.args ?? [];
    const salt = Buffer.from(encodedSalt, 'base64');
    if (stanza === undefined || stanzas.length !== 1 || type !== 'scrypt' || salt.length !== 16
      || !/^[1-9][0-9]?$/.test(digits) || Number(digits) > WORK_FACTOR_LIMIT || stanza.body.length !== 32) {
      throw new Error('not a file wrapped by a passcode with a bearable work factor');
    }
    const body = Buffer.from(stanza.body);
    const decipher = createDecipheriv('chacha20-poly1305', await wrappingKey(this.#passcode, salt, Number(digits)), NONCE, { authTagLength: TAG_LENGTH });
    decipher.setAuthTag(body.subarray(-TAG_LENGTH));
    const fileKey = decipher.update(body.subarray(0, -TAG_LENGTH));
    try {
      decipher.final();
    } catch {
      this.refused = true;
      return null;
    }
    return fileKey;
  }
}

/**
 * Makes the key pair of one backup. Takes about half a second, beside the event loop; calls wait for each other.
 *
 * @param passcode taken as UTF-8 of its composed form (NFC), which is what keyboards type
 * @returns the public key, and the secret key wrapped by the passcode: the content of `identity.age`
 * @throws EngineError IO
 */
export async function createIdentity(passcode: string): Promise<{ recipient: string; wrapped: Uint8Array }> {
  const { Encrypter, generateX25519Identity, identityToRecipient } = await import('age-encryption');
  const identity = await generateX25519Identity();
  const encrypter = new Encrypter();
  encrypter.addRecipient(new PasscodeRecipient(passcode));
  return { recipient: await identityToRecipient(identity), wrapped: await encrypter.encrypt(`${identity}\n`) };
}

/**
 * Opens `identity.age`.
 *
 * @returns the secret key (`AGE-SECRET-KEY-1…`), or null where the passcode is wrong
 * @throws EngineError DIGEST_MISMATCH where the file is damaged, or asks for more work than any honest one
 */
export async function openIdentity(wrapped: Uint8Array, passcode: string): Promise<string | null> {
  const { Decrypter, identityToRecipient } = await import('age-encryption');
  const identity = new PasscodeIdentity(passcode);
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  try {
    const text = (await decrypter.decrypt(wrapped, 'text')).trim();
    await identityToRecipient(text);
    return text;
  } catch (error) {
    if (identity.refused) return null;
    if (error instanceof GatewayError) throw error;
    // The cause stays out: what a decoder says of a decrypted text may quote it.
    throw new EngineError('DIGEST_MISMATCH', "The backup's key file identity.age is damaged.",
      'Put the file back from a copy of the backup; without it the backup cannot be opened.');
  }
}
