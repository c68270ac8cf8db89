/**
 * Archives that other processes write into an open file: the zstd program, and a process that encrypts behind it. Whatever
 * this process need not touch costs it nothing.
 */
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { envelopeTo } from './age.ts';
import type { EncryptionJob, EncryptionResult } from './encrypt-payload.ts';
import { ioFault } from './faults.ts';
import { feed, start } from './process.ts';
import type { Child, Exit } from './process.ts';
import type { FileDigest } from './read-back.ts';
import { failureOf, hasProgram, startCompressing } from './zstd.ts';

const ENCRYPTION = fileURLToPath(new URL('encrypt-payload.ts', import.meta.url));

type Done = (error?: Error | null) => void;

/**
 * Compresses what it is given into one frame with a check sum, and encrypts it where there is a recipient. It finishes when
 * its processes have ended, before the file is lasting. Closed, it has no child process any more. It fails with a system
 * error, `code` and all, where the file could not be written.
 */
export class DirectWriter extends Writable {
  /** Of the file, once finished; null: the zstd program wrote it, and only reading it tells. */
  stored: FileDigest | null = null;
  readonly #zstd: Child;
  readonly #encryption: Child | null;
  readonly #failure: Promise<Error | null>;

  constructor(zstd: Child, encryption: Child | null) {
    super({ highWaterMark: 256 * 1024 });
    this.#zstd = zstd;
    this.#encryption = encryption;
    this.#failure = this.#judge();
    // What ends by itself before its input does has failed.
    void this.#failure.then((failure) => {
      if (failure !== null) this.destroy(failure);
    });
  }

  override _write(data: Buffer, _encoding: BufferEncoding, done: Done): void {
    feed(this.#zstd.stdin!, data, () => this.#failure, done);
  }

  override _final(done: Done): void {
    this.#zstd.stdin!.end();
    void this.#failure.then(done);
  }

  override _destroy(reason: Error | null, done: Done): void {
    this.#zstd.kill();
    this.#encryption?.kill();
    this.#zstd.stdin!.destroy();
    void this.#failure.then(() => done(reason));
  }

  /** Why the file is not what it should be, once all have ended. Whoever comes last knows the cause: it broke the others' pipes. */
  async #judge(): Promise<Error | null> {
    const [encryption, zstd] = await Promise.allSettled([this.#encryption?.exit, this.#zstd.exit]);
    if (encryption.status === 'rejected') return encryption.reason as Error;
    const result = encryption.value === undefined ? null : resultOf(encryption.value);
    if (result instanceof Error) return result;
    const failure = zstd.status === 'rejected' ? zstd.reason as Error : failureOf(zstd.value);
    // Where zstd broke off, the rest was encrypted all the same.
    if (failure === null) this.stored = result;
    return failure;
  }
}

/**
 * Starts what writes an archive into an open file. Null where there is no zstd program.
 *
 * @param recipient `age1…`, or null for an archive in clear
 * @throws where the recipient is malformed; EngineError IO
 */
export async function archiveInto(file: number, recipient: string | null): Promise<DirectWriter | null> {
  if (!await hasProgram()) return null;
  if (recipient === null) return new DirectWriter(startCompressing(file), null);
  const { encryption, input } = await startEncrypting(file, recipient);
  try {
    return new DirectWriter(startCompressing(input), encryption);
  } catch (error) {
    encryption.kill();
    await encryption.exit;
    throw error;
  } finally {
    // zstd has its own hold of it: with this one, the end of the content would not be the end of the input.
    input.destroy();
  }
}

async function startEncrypting(file: number, recipient: string): Promise<{ encryption: Child; input: Writable }> {
  const { key, prefix } = await envelopeTo(recipient);
  const encryption = start(process.execPath, ['--no-warnings', ENCRYPTION], { stdin: true, stdout: file });
  const job: EncryptionJob = { key: key.export().toString('base64'), prefix: prefix.toString('base64') };
  const input = encryption.stdin!;
  // Neither arguments nor the environment, which other users or children could read.
  const isTold = await new Promise<boolean>((resolve) => { input.write(`${JSON.stringify(job)}\n`, (error) => resolve(error == null)); });
  if (!isTold) throw resultOf(await encryption.exit);
  return { encryption, input };
}

function resultOf({ code, signal, stderr }: Exit): FileDigest | Error {
  if (signal !== null) return ioFault(new Error(`the process that encrypts was ended by ${signal}`), 'The work was cut short');
  let result: EncryptionResult;
  try {
    result = JSON.parse(stderr) as EncryptionResult;
  } catch {
    return ioFault(new Error(`the process that encrypts ended with code ${code}`), 'The work was cut short');
  }
  return 'sha256' in result ? result : Object.assign(new Error(result.message), result.code === null ? {} : { code: result.code });
}
