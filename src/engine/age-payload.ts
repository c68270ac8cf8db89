/**
 * How the payload of an age file is sealed, piece by piece. Apart from the format's headers, so that a process that does
 * nothing else need not load the age library.
 * Source of the layout: https://c2sp.org/age, "Payload".
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { release } from './memory.ts';

/** Length of a chunk of the content, but for the last. */
export const CHUNK = 64 * 1024;
export const TAG_LENGTH = 16;
const CIPHER = 'chacha20-poly1305';

/** Nonces count the chunks and mark the last, so that a cut or reordered payload does not decrypt. */
export class ChunkNonce {
  #count = 0;

  next(isLast: boolean): Buffer {
    const nonce = Buffer.alloc(12);
    nonce.writeUIntBE(this.#count, 5, 6);
    nonce[11] = isLast ? 1 : 0;
    this.#count += 1;
    return nonce;
  }
}

/** Collects bytes into chunks, each in the same memory. */
export class Chunks {
  readonly #memory: Buffer;
  #filled = 0;

  constructor(length: number) {
    this.#memory = Buffer.allocUnsafeSlow(length);
  }

  /** What has been collected since the last chunk. To be used before anything else is added. */
  get rest(): Buffer {
    return this.#memory.subarray(0, this.#filled);
  }

  /** Adds bytes, and frees them. `onChunk` is told each full chunk of which it is known that something follows it. */
  add(data: Buffer, onChunk: (chunk: Buffer) => void): void {
    for (let at = 0; at < data.length;) {
      if (this.#filled === this.#memory.length) {
        onChunk(this.#memory);
        this.#filled = 0;
      }
      const copied = data.copy(this.#memory, this.#filled, at);
      at += copied;
      this.#filled += copied;
    }
    release(data);
  }
}

/** A chunk encrypted: pieces that follow each other, the first of them in memory of its own. */
export function sealChunk(key: KeyObject, nonce: Buffer, chunk: Buffer): [Buffer, ...Buffer[]] {
  const cipher = createCipheriv(CIPHER, key, nonce, { authTagLength: TAG_LENGTH });
  return [cipher.update(chunk), cipher.final(), cipher.getAuthTag()];
}

/** A sealed chunk in clear, in memory of its own. @throws where it is not what was written */
export function openChunk(key: KeyObject, nonce: Buffer, chunk: Buffer): Buffer {
  if (chunk.length < TAG_LENGTH) throw new Error('the age payload is cut off');
  const decipher = createDecipheriv(CIPHER, key, nonce, { authTagLength: TAG_LENGTH });
  decipher.setAuthTag(chunk.subarray(-TAG_LENGTH));
  const plain = decipher.update(chunk.subarray(0, -TAG_LENGTH));
  decipher.final(); // before the plain text goes on: it throws where the chunk is not what was written
  return plain;
}
