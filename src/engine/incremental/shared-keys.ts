/**
 * `keys.age`: the identities that open layers which a backup shares with earlier ones, encrypted to its own recipient.
 * So its own passcode opens all of it, and no identity is ever written in clear.
 */
import { EngineError } from '../../domain/errors.ts';
import type { Manifest, ManifestArchive } from '../contract.ts';
import { openIdentity } from '../keys.ts';
import { KEYS_FILE, readSmall } from '../manifest.ts';
import type { BackupFiles } from '../stores/contract.ts';

async function encrypt(identities: readonly string[], recipient: string): Promise<Uint8Array> {
  const { Encrypter } = await import('age-encryption');
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  return await encrypter.encrypt(identities.map((identity) => `${identity}\n`).join(''));
}

/** @throws EngineError DIGEST_MISMATCH; nothing of the content is in the message */
async function decrypt(keys: Uint8Array, identity: string): Promise<string[]> {
  const { Decrypter } = await import('age-encryption');
  const decrypter = new Decrypter();
  decrypter.addIdentity(identity);
  const text = await decrypter.decrypt(keys, 'text').catch(() => null);
  if (text === null) {
    throw new EngineError('DIGEST_MISMATCH', `${KEYS_FILE} is damaged.`, 'Put the file back from a copy of the backup; without it the layers that it shares cannot be opened.');
  }
  return text.split('\n').filter((line) => line !== '');
}

/**
 * Makes the `keys.age` of a backup that is to be based on an encrypted one. Takes about a second, beside the event loop.
 *
 * @param wrapped the base's `identity.age`
 * @param sharedKeys its own `keys.age`; null: it has none
 * @param recipient of the new backup
 * @returns null where the passcode does not open the base, so that it cannot be one
 * @throws EngineError DIGEST_MISMATCH where a key file of the base is damaged
 */
export async function passOnKeys(
  wrapped: Uint8Array, sharedKeys: Uint8Array | null, passcode: string, recipient: string,
): Promise<Uint8Array | null> {
  const identity = await openIdentity(wrapped, passcode);
  if (identity === null) return null;
  const older = sharedKeys === null ? [] : await decrypt(sharedKeys, identity);
  return await encrypt([...new Set([identity, ...older])], recipient);
}

/** Finds the identity that opens an archive; null for one in clear. */
export type IdentityOf = (archive: ManifestArchive) => string | null;

/**
 * Opens what a backup needs beside its own identity.
 *
 * @param identity the backup's own; null where it is not encrypted
 * @throws EngineError KEY_REQUIRED where the keys of a layer are missing; DIGEST_MISMATCH, STORE_UNREACHABLE
 */
export async function identitiesOf(files: BackupFiles, manifest: Manifest, identity: string | null): Promise<IdentityOf> {
  const { encryption } = manifest;
  if (encryption === null || identity === null) return () => null;
  const byRecipient = new Map([[encryption.recipient, identity]]);
  if (encryption.keysSha256 !== undefined) {
    const { identityToRecipient } = await import('age-encryption');
    for (const other of await decrypt(await readSmall(files, KEYS_FILE) ?? new Uint8Array(), identity)) {
      byRecipient.set(await identityToRecipient(other).catch(() => ''), other);
    }
  }
  return (archive) => {
    if (!archive.encrypted) return null;
    const found = byRecipient.get(archive.recipient ?? encryption.recipient);
    if (found !== undefined) return found;
    throw new EngineError('KEY_REQUIRED', `${KEYS_FILE} holds no key for ${archive.file}.`, 'Put the file back from a copy of the backup.');
  };
}
