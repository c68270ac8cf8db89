/**
 * A file system that answers nothing, ever, as a hard mount of a file server that is gone: one of FUSE whose server does not
 * even say hello. Linux, as root. A test must not touch the path itself while it is there, not even by a look.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';

/** Whether such a file system can be mounted here; where not, a CI run fails instead of leaving tests out. */
export function canSilence(): boolean {
  const can = process.platform === 'linux' && process.geteuid?.() === 0 && fs.existsSync('/dev/fuse') && spawnSync('unshare', ['--mount', 'true']).status === 0;
  if (!can && process.env['CI'] !== undefined) throw new Error('The tests of silent stores need root, and /dev/fuse.');
  return can;
}

/** Mounts it over a directory. @returns what takes it away again: whoever waits for an answer gets an error then */
export function silence(path: string): () => void {
  const server = fs.openSync('/dev/fuse', 'r+');
  try {
    execFileSync('mount', ['-i', '-t', 'fuse', '-o', 'fd=3,rootmode=40000,user_id=0,group_id=0,allow_other', 'silent', path], { stdio: ['ignore', 'ignore', 'inherit', server] });
  } catch (error) {
    fs.closeSync(server);
    throw error;
  }
  let isOver = false;
  return () => {
    if (isOver) return;
    isOver = true;
    fs.closeSync(server);
    execFileSync('umount', ['-l', path]);
  };
}
