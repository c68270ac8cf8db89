/**
 * Reads the headers of a tar stream as it passes: counts its members, and lets none through that this engine
 * would not have written. Much stricter than tar itself, so that the two cannot read one header differently.
 *
 * A member passes only where its name is relative, without `..`, not yet used, and directly in a directory that came
 * before it as a directory; so no name leads through a link. Hard links obey the same rule for what they point to.
 */
import { Transform } from 'node:stream';
import type { TransformCallback } from 'node:stream';
import { EngineError } from '../domain/errors.ts';

const BLOCK = 512;
/** Extended headers hold names and attributes; the kernel limits both to far less than this. */
const EXTENSION_LIMIT = 4 * 1024 * 1024;
const PADDING = Buffer.alloc(BLOCK);
/**
 * tar's own records, which an archive is a multiple of. This engine has tar write longer ones, for the sake of its speed,
 * and lets pass what is left of the last one no further than this: whoever unpacks by hand reads to the very end, where of
 * a longer record the rest would be left in the pipe, and `zstd -d` end with a broken one.
 */
const RECORD = 20 * BLOCK;

/** A member's kind, by its type flag in the header. */
const KINDS = {
  '0': 'file', '1': 'hard link', '2': 'symbolic link', '3': 'device', '4': 'device', '5': 'directory', '6': 'fifo',
} as const;
type Kind = (typeof KINDS)[keyof typeof KINDS];

/** What GNU tar writes into extended headers with the options that this engine gives it. */
const KEYWORD = /^(path|linkpath|size|uid|gid|mtime|atime|ctime|GNU\.sparse\.(major|minor|name|realsize)|SCHILY\.(xattr|acl)\..+|RHT\.security\.selinux)$/s;

function refuse(reason: string): never {
  throw new EngineError('ARCHIVE_UNSAFE', `The archive is refused: ${reason}.`,
    'It was not made by this program, or was altered. Nothing was replaced; use another backup.');
}

/** Bytes as a string of one character each: a key and a comparison that no encoding can blur. */
const bytesOf = (block: Buffer, from: number, to: number): string => {
  const end = block.indexOf(0, from);
  return block.toString('latin1', from, end < 0 || end > to ? to : end);
};

const shown = (name: string): string => JSON.stringify(Buffer.from(name, 'latin1').toString('utf8').slice(0, 200));

/** What is being read: a directory's tree, or one file alone. */
export type ArchiveShape = 'DIRECTORY' | 'FILE';

export class MemberScanner extends Transform {
  /** Members that are no directories. */
  files = 0;
  directories = 0;
  /** Names of directories that carry extended attributes or access control lists. */
  readonly attributed: string[] = [];
  /** Whether the end mark has passed. */
  ended = false;
  /** Bytes that have passed, to the end of the record that the end mark lies in. */
  bytes = 0;
  #received = 0;
  /** Bytes up to the end of that record. */
  #length = Number.POSITIVE_INFINITY;
  readonly #shape: ArchiveShape;
  readonly #onPass: (bytes: number, files: number) => void;
  readonly #directoryNames = new Set<string>();
  readonly #linkNames = new Set<string>();
  #header = Buffer.allocUnsafe(BLOCK);
  #headerFilled = 0;
  #skip = 0;
  #extension: { parts: Buffer[]; missing: number; padding: number } | null = null;
  #extended: Map<string, string> | null = null;

  /** @param onPass called for each piece, with its length and the files that began in it */
  constructor(shape: ArchiveShape, onPass: (bytes: number, files: number) => void = () => undefined) {
    super({ readableHighWaterMark: 256 * 1024, writableHighWaterMark: 256 * 1024 });
    this.#shape = shape;
    this.#onPass = onPass;
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const filesBefore = this.files;
    try {
      this.#scan(data);
    } catch (error) {
      done(error as Error);
      return;
    }
    this.#received += data.length;
    const passed = data.subarray(0, Math.max(0, this.#length - this.bytes));
    this.bytes += passed.length;
    this.#onPass(passed.length, this.files - filesBefore);
    if (passed.length > 0) this.push(passed);
    done();
  }

  override _flush(done: TransformCallback): void {
    try {
      if (!this.ended) refuse('it is cut off');
      if (this.#shape === 'FILE' && this.files !== 1) refuse('it should hold one file');
      if (this.#shape === 'DIRECTORY' && this.directories === 0) refuse('it should hold a directory');
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  #scan(data: Buffer): void {
    let at = 0;
    while (at < data.length) {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, data.length - at);
        this.#skip -= step;
        at += step;
      } else if (this.#extension !== null && this.#extension.missing > 0) {
        const step = Math.min(this.#extension.missing, data.length - at);
        this.#extension.parts.push(Buffer.from(data.subarray(at, at + step)));
        this.#extension.missing -= step;
        at += step;
        if (this.#extension.missing === 0) this.#endExtension();
      } else {
        const step = Math.min(BLOCK - this.#headerFilled, data.length - at);
        data.copy(this.#header, this.#headerFilled, at, at + step);
        this.#headerFilled += step;
        at += step;
        if (this.#headerFilled === BLOCK) {
          this.#headerFilled = 0;
          this.#readHeader(this.#header);
          // The end mark is two blocks long.
          if (this.ended && this.#length === Number.POSITIVE_INFINITY) this.#length = Math.ceil((this.#received + at + BLOCK) / RECORD) * RECORD;
        }
      }
    }
  }

  #readHeader(block: Buffer): void {
    const isEnd = block.equals(PADDING);
    if (this.ended && !isEnd) refuse('there is something after its end');
    if (isEnd) {
      if (this.#extended !== null) refuse('it ends in an extended header');
      this.ended = true;
      return;
    }
    checkSum(block);
    if (block.toString('latin1', 257, 265) !== 'ustar\x0000') refuse('a header is not of the POSIX format');
    const type = String.fromCharCode(block[156] ?? 0);
    const size = octal(block, 124, 136);
    if (type === 'x') {
      if (this.#extended !== null) refuse('two extended headers follow each other');
      if (size === 0 || size > EXTENSION_LIMIT) refuse('an extended header has an impossible length');
      this.#extension = { parts: [], missing: size, padding: (BLOCK - (size % BLOCK)) % BLOCK };
      return;
    }
    if (!(type in KINDS)) refuse(`it holds a member of the unknown kind ${JSON.stringify(type)}`);
    const extended = this.#extended ?? new Map<string, string>();
    this.#extended = null;
    this.#readMember(KINDS[type as keyof typeof KINDS], block, size, extended);
  }

  #endExtension(): void {
    if (this.#extension === null) return;
    this.#extended = parseExtension(Buffer.concat(this.#extension.parts));
    this.#skip = this.#extension.padding;
    this.#extension = null;
  }

  #readMember(kind: Kind, block: Buffer, headerSize: number, extended: Map<string, string>): void {
    const prefix = bytesOf(block, 345, 500);
    const ownName = (prefix === '' ? '' : `${prefix}/`) + bytesOf(block, 0, 100);
    const raw = extended.get('GNU.sparse.name') ?? extended.get('path') ?? ownName;
    const given = extended.get('size');
    if (given !== undefined && !/^\d{1,15}$/.test(given)) refuse('a length is no number');
    const size = given === undefined ? headerSize : Number(given);
    if (kind !== 'file') {
      if (size !== 0) refuse(`${shown(raw)} should have no content`);
      if ([...extended.keys()].some((key) => key.startsWith('GNU.sparse.'))) refuse(`${shown(raw)} cannot have holes`);
    } else if (extended.has('GNU.sparse.major') && `${extended.get('GNU.sparse.major')}.${extended.get('GNU.sparse.minor')}` !== '1.0') {
      refuse(`the holes of ${shown(raw)} are written in an unknown way`);
    }
    const name = this.#checkName(raw, kind);
    if (kind === 'hard link') {
      const target = plainPath(extended.get('linkpath') ?? bytesOf(block, 157, 257));
      this.#checkParent(target, raw);
      if (this.#directoryNames.has(target)) refuse(`${shown(raw)} is a hard link to a directory`);
      if (this.#linkNames.has(target)) this.#linkNames.add(name);
    }
    if (kind === 'symbolic link') this.#linkNames.add(name);
    if (kind === 'directory') {
      this.#directoryNames.add(name);
      this.directories += 1;
      if ([...extended.keys()].some((key) => /^(SCHILY|RHT)\./.test(key))) this.attributed.push(name);
    } else {
      this.files += 1;
    }
    this.#skip = size + ((BLOCK - (size % BLOCK)) % BLOCK);
  }

  /** The member's name without `./` and a directory's final slash; '' is the root of a directory's tree. */
  #checkName(raw: string, kind: Kind): string {
    if (raw.endsWith('/') !== (kind === 'directory')) refuse(`${shown(raw)} is named like another kind of member`);
    const name = plainPath(kind === 'directory' ? raw.slice(0, -1) : raw);
    if (this.#shape === 'FILE') {
      if (kind !== 'file' || this.files > 0 || name === '' || name.includes('/')) refuse('it should hold one file and nothing else');
      return name;
    }
    const isFirst = this.files + this.directories === 0;
    if (isFirst !== (name === '') || (isFirst && kind !== 'directory')) refuse('it should begin with its root directory');
    if (this.#directoryNames.has(name) || this.#linkNames.has(name)) refuse(`${shown(raw)} comes twice`);
    if (!isFirst) this.#checkParent(name, raw);
    return name;
  }

  #checkParent(name: string, raw: string): void {
    const slash = name.lastIndexOf('/');
    if (name === '' || !this.#directoryNames.has(slash < 0 ? '' : name.slice(0, slash))) {
      refuse(`${shown(raw)} does not lie in a directory of the archive`);
    }
  }
}

/** A relative path without its leading `.`; refuses everything that leads elsewhere. */
function plainPath(raw: string): string {
  const parts = raw.split('/');
  if (parts[0] === '.') parts.shift();
  if (parts.some((part) => part === '' || part === '.' || part === '..') || raw.includes('\0')) {
    refuse(`${shown(raw)} leads out of it`);
  }
  return parts.join('/');
}

function checkSum(block: Buffer): void {
  let sum = 0;
  for (let index = 0; index < BLOCK; index += 1) sum += index >= 148 && index < 156 ? 32 : (block[index] ?? 0);
  if (octal(block, 148, 156) !== sum) refuse('a header is damaged');
}

function octal(block: Buffer, from: number, to: number): number {
  const match = /^ *([0-7]+)[ \0]*$/.exec(block.toString('latin1', from, to));
  if (match?.[1] === undefined) refuse('a number in a header is not octal');
  return Number.parseInt(match[1], 8);
}

/** Records of the form `length keyword=value\n`, each keyword once. */
function parseExtension(content: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < content.length;) {
    const space = content.indexOf(0x20, at);
    const digits = content.toString('latin1', at, Math.max(at, space));
    const end = at + Number(digits);
    const equals = content.indexOf(0x3d, space);
    if (!/^[1-9]\d{0,7}$/.test(digits) || end > content.length || content[end - 1] !== 0x0a || equals < 0 || equals >= end) {
      refuse('an extended header is damaged');
    }
    const keyword = content.toString('latin1', space + 1, equals);
    if (!KEYWORD.test(keyword) || records.has(keyword)) refuse(`an extended header says ${shown(keyword)}`);
    records.set(keyword, content.toString('latin1', equals + 1, end - 1));
    at = end;
  }
  return records;
}
