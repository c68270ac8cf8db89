/**
 * Trees of files: one with everything that a file system can hold, and an exact description of any.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { join } from 'node:path';

export const isRoot = process.geteuid?.() === 0;

/**
 * Describes a tree, its root included: for each name (as bytes, one character each) all that a restore must bring
 * back. Two trees with the same description are the same.
 */
export function describeTree(root: string): Record<string, string> {
  const description: Record<string, string> = {};
  const firstOfInode = new Map<bigint, string>();
  const visit = (path: Buffer, name: string): void => {
    const stat = fs.lstatSync(path, { bigint: true });
    const common = `mode ${stat.mode.toString(8)} owner ${stat.uid}:${stat.gid} mtime ${stat.mtimeNs}`;
    let content = '';
    if (stat.isSymbolicLink()) content = ` to ${fs.readlinkSync(path, 'buffer').toString('latin1')}`;
    if (stat.isFile()) {
      content = ` size ${stat.size} sha256 ${digest(path)}`;
      if (stat.size > 1_000_000n && stat.blocks * 512n < stat.size / 2n) content += ' with holes';
    }
    if (!stat.isDirectory() && stat.nlink > 1n) {
      if (!firstOfInode.has(stat.ino)) firstOfInode.set(stat.ino, name);
      content += ` linked with ${JSON.stringify(firstOfInode.get(stat.ino))}`;
    }
    description[name] = common + content;
    if (!stat.isDirectory()) return;
    const names = fs.readdirSync(path, { encoding: 'buffer' }).sort(Buffer.compare);
    for (const entry of names) visit(Buffer.concat([path, Buffer.from('/'), entry]), `${name}/${entry.toString('latin1')}`);
  };
  visit(Buffer.from(root), '.');
  return description;
}

function digest(path: Buffer): string {
  const hash = createHash('sha256');
  const file = fs.openSync(path, 'r');
  const piece = Buffer.allocUnsafe(1024 * 1024);
  for (let length = fs.readSync(file, piece); length > 0; length = fs.readSync(file, piece)) hash.update(piece.subarray(0, length));
  fs.closeSync(file);
  return hash.digest('hex');
}

/** The tree as GNU tar sees it, attributes and access control lists included, as one digest. */
export function tarPrint(root: string): string {
  const archive = execFileSync('tar', [
    '-c', '--format=posix', '--sort=name', '--numeric-owner', '--xattrs', '--acls', '--sparse', '--sparse-version=0.0',
    '--pax-option=delete=atime,delete=ctime,exthdr.name=%d/%f', '-C', root, '.',
  ], { maxBuffer: 256 * 1024 * 1024, stdio: ['ignore', 'pipe', 'ignore'] });
  return createHash('sha256').update(archive).digest('hex');
}

/** Fills a directory, which it makes, with one of each kind. */
export function makeOddTree(root: string): void {
  const at = (...names: string[]): string => join(root, ...names);
  const bytes = (...codes: number[]): Buffer => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(codes)]);
  fs.mkdirSync(root, { recursive: true });
  fs.writeFileSync(at('plain'), 'plain content\n');
  fs.writeFileSync(at('empty'), '');
  fs.writeFileSync(at('large'), Buffer.alloc(3_000_000, 'not very compressible? '));
  fs.writeFileSync(at('-rf'), 'leading dash');
  fs.writeFileSync(at('--checkpoint-action=exec=false'), 'an option?');
  fs.writeFileSync(at('line\nbreak \\ "quoted" \t\x07'), 'odd name');
  fs.writeFileSync(at('tar: .: Cannot open: Permission denied'), 'looks like a message');
  fs.writeFileSync(at('*?[a-z]'), 'a pattern');
  fs.writeFileSync(at('é ü 漢字 😀'), 'letters');
  fs.writeFileSync(bytes(0x62, 0x61, 0x64, 0xff, 0xfe, 0x80), 'no UTF-8');
  fs.mkdirSync(bytes(0x64, 0x69, 0x72, 0xff));
  fs.writeFileSync(bytes(0x64, 0x69, 0x72, 0xff, 0x2f, 0xc3), 'no UTF-8 below no UTF-8');
  fs.writeFileSync(at('n'.repeat(255)), 'longest name');
  const deep = at(...Array.from({ length: 12 }, (_, depth) => `${depth}-${'d'.repeat(60)}`));
  fs.mkdirSync(deep, { recursive: true });
  fs.writeFileSync(join(deep, 'deep'), 'at the end of a long path');
  fs.symlinkSync(join(deep, 'deep'), at('link to a long path'));
  fs.mkdirSync(at('empty directory'));
  fs.mkdirSync(at('sub', 'sub'), { recursive: true });
  fs.writeFileSync(at('sub', 'sub', 'file'), 'below');
  fs.linkSync(at('plain'), at('sub', 'hard link'));
  fs.linkSync(at('plain'), at('a hard link that sorts first'));
  fs.symlinkSync('plain', at('relative link'));
  fs.symlinkSync('/etc/hostname', at('absolute link'));
  fs.symlinkSync('../../../outside', at('sub', 'link out'));
  fs.symlinkSync('nowhere', at('dangling link'));
  fs.symlinkSync('sub', at('link to directory'));
  fs.linkSync(at('dangling link'), at('sub', 'hard link to a link'));
  const holes = fs.openSync(at('holes'), 'w');
  fs.writeSync(holes, 'begin', 0);
  fs.writeSync(holes, 'middle', 4_000_000);
  fs.ftruncateSync(holes, 10_000_000);
  fs.closeSync(holes);
  fs.writeFileSync(at('setuid'), '#!/bin/true\n');
  fs.mkdirSync(at('sticky'));
  fs.mkdirSync(at('closed'));
  fs.writeFileSync(at('closed', 'inside'), 'in a directory without write permission');
  execFileSync('mkfifo', [at('fifo')]);
  if (isRoot) {
    fs.chownSync(at('empty'), 1234, 5678);
    fs.lchownSync(at('relative link'), 1234, 5678);
    fs.chownSync(at('sticky'), 1234, 5678);
    fs.chownSync(at('holes'), 3_000_000, 3_000_000);
    execFileSync('mknod', [at('device'), 'c', '1', '3']);
  }
  fs.chmodSync(at('setuid'), 0o4755);
  fs.chmodSync(at('empty'), isRoot ? 0o000 : 0o400);
  fs.chmodSync(at('sticky'), 0o1777);
  const touch = (time: string, ...names: string[]): void =>
    void execFileSync('touch', ['-h', '-d', time, '--', ...names.map((name) => at(name))]);
  touch('@1000000000.123456789', 'plain', 'sub/sub', 'relative link');
  touch('@-86400.5', 'sticky');
  touch('2200-01-01T00:00:00.000000001Z', 'large');
  touch('@1234567890.987654321', 'sub', 'closed', '.');
  fs.chmodSync(at('closed'), 0o555);
  // Its owner may not write in it: all the same, the restore has to move it.
  fs.chmodSync(root, 0o2551);
}

/** Changes what `makeOddTree` made in every way: altered, removed, added, other kinds, other modes. */
export function spoilOddTree(root: string): void {
  const at = (...names: string[]): string => join(root, ...names);
  fs.chmodSync(root, 0o700);
  fs.writeFileSync(at('plain'), 'altered');
  fs.rmSync(at('large'));
  fs.rmSync(at('sub'), { recursive: true });
  fs.writeFileSync(at('sub'), 'a file where a directory was');
  fs.rmSync(at('setuid'));
  fs.mkdirSync(at('setuid'));
  fs.mkdirSync(at('added', 'deeper'), { recursive: true });
  fs.writeFileSync(at('added', 'deeper', 'file'), 'added');
  fs.writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from([0xfe])]), 'added, no UTF-8');
  fs.chmodSync(at('sticky'), 0o700);
  fs.utimesSync(at('empty directory'), 1, 1);
}

/** Removes a tree whatever its modes. */
export function removeTree(path: string): void {
  spawnSync('chmod', ['-R', 'u+rwX', '--', path], { stdio: 'ignore' });
  execFileSync('rm', ['-rf', '--one-file-system', '--', path]);
}
