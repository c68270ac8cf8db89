/**
 * Archives and backups made by hand, as nobody honest would make them.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { zstdCompressSync } from 'node:zlib';
import type { Manifest } from '../../src/engine/index.ts';
import { digestList, manifestText } from '../../src/engine/manifest.ts';
import { FACTS } from './engine.ts';

export interface Member {
  name: string;
  /** The type flag: 0 file, 1 hard link, 2 symbolic link, 5 directory, x extended header… */
  type?: string;
  link?: string;
  content?: string;
  /** What the header says, where that is not the content's length. */
  size?: number;
  mode?: number;
  magic?: string;
  /** Records of an extended header in front of the member. */
  pax?: Record<string, string>;
}

const padded = (content: Buffer): Buffer => Buffer.concat([content, Buffer.alloc((512 - (content.length % 512)) % 512)]);

function header({ name, type = '0', link = '', content = '', size, mode = 0o644, magic = 'ustar\x0000' }: Member): Buffer {
  const block = Buffer.alloc(512);
  const put = (text: string, at: number): void => void block.write(text, at, 'latin1');
  put(name.slice(0, 100), 0);
  put(`${mode.toString(8).padStart(7, '0')}\0`, 100);
  put('0000000\x000000000\0', 108);
  put(`${(size ?? content.length).toString(8).padStart(11, '0')}\0`, 124);
  put('14000000000\0', 136);
  put('        ', 148);
  put(type, 156);
  put(link.slice(0, 100), 157);
  put(magic, 257);
  put(`${block.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

function record(keyword: string, value: string): string {
  const rest = ` ${keyword}=${value}\n`;
  let length = rest.length;
  while (`${length}${rest}`.length !== length) length = `${length}${rest}`.length;
  return `${length}${rest}`;
}

/** A tar stream of these members; `end` false leaves the end mark out. */
export function tarOf(members: readonly Member[], end = true): Buffer {
  const parts: Buffer[] = [];
  for (const member of members) {
    if (member.pax !== undefined) {
      const content = Object.entries(member.pax).map(([keyword, value]) => record(keyword, value)).join('');
      parts.push(header({ name: 'PaxHeader', type: 'x', content }), padded(Buffer.from(content, 'latin1')));
    }
    parts.push(header(member), padded(Buffer.from(member.content ?? '', 'latin1')));
  }
  if (end) parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

export const ROOT: Member = { name: './', type: '5', mode: 0o755 };

/** Puts a backup with this one archive and a manifest to match into a directory, which it makes. */
export function forgeBackup(path: string, tar: Buffer, change: { type?: 'DIRECTORY' | 'FILE'; file?: string; files?: number; directories?: number } = {}): Manifest {
  const archive = zstdCompressSync(tar);
  const manifest: Manifest = {
    formatVersion: 1, ...FACTS, groups: ['USERS_CONFIG'], timeCompleted: '2026-01-02T03:04:06.000Z', encryption: null,
    archives: [{
      file: change.file ?? 'USERS_CONFIG.tar.zst', group: 'USERS_CONFIG', source: { type: change.type ?? 'DIRECTORY', path: '/etc' },
      files: change.files ?? 0, directories: change.directories ?? 1, bytes: tar.length, size: archive.length,
      sha256: createHash('sha256').update(archive).digest('hex'), compression: 'zstd', encrypted: false,
    }],
  };
  const text = manifestText(manifest);
  fs.mkdirSync(path, { recursive: true });
  fs.writeFileSync(join(path, manifest.archives[0]?.file ?? ''), archive);
  fs.writeFileSync(join(path, 'manifest.json'), text);
  fs.writeFileSync(join(path, 'manifest.sha256'), digestList(manifest, text));
  return manifest;
}
