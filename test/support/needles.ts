/**
 * Looks for secrets in everything that a program leaves: files, output, answers, the environment of processes. Each is
 * looked for in the forms in which it could get there.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * One secret, under a name that says where a test sent it. `mark`: what it begins with, as many others do, so that most
 * places can be passed over at one look.
 */
export interface Needle { name: string; secret: string; mark?: string }

/** Where a secret was found, and in which form. */
export interface Find { needle: string; form: string; where: string }

const latin = (bytes: Buffer): string => bytes.toString('latin1');

/** The forms of a text, as bytes. Base64 depends on what stands before: the middle that does not is looked for. */
function formsOf(secret: string): [form: string, bytes: Buffer][] {
  const bytes = Buffer.from(secret, 'utf8');
  const hex = bytes.toString('hex');
  const base64 = [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64').replace(/=+$/, '');
    return encoded.slice(shift === 0 ? 0 : shift + 1, (bytes.length + shift) % 3 === 0 ? undefined : -1);
  });
  const texts: [string, string][] = [
    ['UTF-8', secret], ['NFD', secret.normalize('NFD')], ['JSON', JSON.stringify(secret).slice(1, -1)], ['JSON twice', JSON.stringify(JSON.stringify(secret)).slice(3, -3)],
    ['JSON, ASCII', JSON.stringify(secret).slice(1, -1).replaceAll(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)],
    ['URL', encodeURIComponent(secret)], ['form', new URLSearchParams({ a: secret }).toString().slice(2)], ['SQL', secret.replaceAll("'", "''")],
    ['hex', hex], ['HEX', hex.toUpperCase()],
    ...base64.flatMap((text): [string, string][] => [['base64', text], ['base64url', text.replaceAll('+', '-').replaceAll('/', '_')]]),
  ];
  return [...texts.map(([form, text]): [string, Buffer] => [form, Buffer.from(text, 'utf8')]),
    ['UTF-16LE', Buffer.from(secret, 'utf16le')], ['UTF-16BE', Buffer.from(secret, 'utf16le').swap16()], ['Latin-1', Buffer.from(secret, 'latin1')]];
}

export class Haystack {
  readonly #needles: { name: string; form: string; text: string }[];
  /** Where none of these is, no needle is. */
  readonly #marks: string[];
  readonly #finds = new Map<string, Find>();
  readonly #overlap: number;
  /** Bytes that were looked through, so that a test can show that it looked. */
  bytes = 0;

  constructor(needles: readonly Needle[]) {
    const known = new Set<string>();
    this.#needles = needles.flatMap(({ name, secret }) => formsOf(secret).map(([form, bytes]) => ({ name, form, text: latin(bytes) })))
      .filter(({ name, text }) => !known.has(`${name} ${text}`) && known.add(`${name} ${text}`));
    this.#marks = [...new Set(needles.map(({ secret, mark }) => mark ?? secret))].flatMap((mark) => formsOf(mark).map(([, bytes]) => latin(bytes)));
    this.#overlap = Math.max(...this.#needles.map(({ text }) => text.length)) - 1;
  }

  /** Each secret that was found, once for each place. */
  get finds(): Find[] {
    return [...this.#finds.values()];
  }

  look(where: string, content: Buffer | string): void {
    this.bytes += content.length;
    // Much of a database's files is nothing at all.
    if (typeof content !== 'string' && content.every((byte) => byte === 0)) return;
    const text = typeof content === 'string' ? latin(Buffer.from(content, 'utf8')) : latin(content);
    if (!this.#marks.some((mark) => text.includes(mark))) return;
    for (const { name, form, text: needle } of this.#needles) {
      if (text.includes(needle)) this.#finds.set(`${name} ${where}`, { needle: name, form, where });
    }
  }

  /** Every file of a tree, and every name in it. */
  lookIn(directory: string): void {
    for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      this.look(`the name ${path}`, path);
      if (entry.isFile()) this.#lookAtFile(path);
    }
  }

  #lookAtFile(path: string): void {
    let file: number;
    try {
      file = openSync(path, 'r');
    } catch {
      // Gone since it was listed.
      return;
    }
    try {
      const piece = Buffer.alloc(Math.min(256 * 1024, statSync(path).size + 1) + this.#overlap);
      let kept = 0;
      for (let read = readSync(file, piece, kept, piece.length - kept, null); read > 0; read = readSync(file, piece, kept, piece.length - kept, null)) {
        const end = kept + read;
        this.look(path, piece.subarray(0, end));
        kept = Math.min(this.#overlap, end);
        piece.copyWithin(0, end - kept, end);
      }
    } finally {
      closeSync(file);
    }
  }

  /** What the system shows of a process and of all that it has started: command lines and environments. */
  lookAtProcesses(pid: number): void {
    for (const file of ['cmdline', 'environ']) {
      try {
        this.look(`/proc/${pid}/${file}`, readFileSync(`/proc/${pid}/${file}`));
      } catch {
        return;
      }
    }
    for (const task of safely(() => readdirSync(`/proc/${pid}/task`)) ?? []) {
      const children = safely(() => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8')) ?? '';
      for (const child of children.split(' ')) if (child !== '') this.lookAtProcesses(Number(child));
    }
  }
}

function safely<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
