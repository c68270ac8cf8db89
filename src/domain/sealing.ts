/**
 * What SECRET_KEY does: it seals keys on their way to a worker, and signs what must be compared but not kept.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';
import { GatewayError } from './errors.ts';

export interface Sealing {
  /** Encrypts a text so that only a process with the same SECRET_KEY can open it. */
  seal(text: string): string;
  /** @throws GatewayError where it was sealed with another SECRET_KEY, or altered. */
  open(sealed: string): string;
  /** A keyed digest: equal for equal texts, and useless without the key. */
  mac(text: string): string;
  /** A number from 0 to 2^31 - 1 by which processes see whether they have the same SECRET_KEY; it tells nothing else of it. */
  readonly mark: number;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM and HMAC-SHA-256 with keys derived from SECRET_KEY, one for each purpose. */
export function createSealing(secretKey: string): Sealing {
  const derive = (purpose: string) => Buffer.from(hkdfSync('sha256', secretKey, '', `backup-gateway/${purpose}`, 32));
  const [sealingKey, macKey] = [derive('seal'), derive('mac')];
  return {
    seal(text) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', sealingKey, nonce);
      return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
    },
    open(sealed) {
      const bytes = Buffer.from(sealed, 'base64');
      try {
        const decipher = createDecipheriv('aes-256-gcm', sealingKey, bytes.subarray(0, NONCE_BYTES));
        decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
        return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]).toString('utf8');
      } catch (cause) {
        throw new GatewayError('SEAL_BROKEN', 'A key that was sealed for this worker cannot be opened.', 'Give gateways and workers the same SECRET_KEY.', { cause });
      }
    },
    mac: (text) => createHmac('sha256', macKey).update(text).digest('base64'),
    mark: derive('mark').readUInt32BE() >>> 1,
  };
}
