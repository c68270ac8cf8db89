/**
 * A tree of files as a site has them: many small ones, few large ones, half text, half what does not compress.
 */
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';

/** Numbers from 0 to 1, the same in each run. */
function random(seed: number): () => number {
  return () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed / 2 ** 32;
  };
}

const POOL = 4 * 1024 * 1024;

export async function makeTree(path: string, { files, megabytes }: { files: number; megabytes: number }): Promise<number> {
  const next = random(1);
  const noise = Buffer.from(Uint8Array.from({ length: POOL }, () => next() * 256));
  const lines: string[] = [];
  for (let length = 0; length < POOL;) {
    const line = `2026-01-${String(1 + Math.floor(next() * 28)).padStart(2, '0')} host-${Math.floor(next() * 50)} sshd[${Math.floor(next() * 30000)}]: Accepted publickey for user${Math.floor(next() * 200)} from 10.0.${Math.floor(next() * 256)}.${Math.floor(next() * 256)}\n`;
    lines.push(line);
    length += line.length;
  }
  const text = Buffer.from(lines.join(''));

  const weights = Array.from({ length: files }, () => 1 / (0.002 + next()));
  const scale = (megabytes * 1e6) / weights.reduce((sum, weight) => sum + weight, 0);
  let bytes = 0;
  for (const [n, weight] of weights.entries()) {
    const directory = join(path, `group-${n % 20}`, `part-${n % 400}`);
    if (n < 400) await mkdir(directory, { recursive: true });
    await using file = await open(join(directory, `file-${n}.${n % 2 === 0 ? 'log' : 'bin'}`), 'w');
    const pool = n % 2 === 0 ? text : noise;
    for (let left = Math.round(weight * scale); left > 0;) {
      const from = Math.floor(next() * POOL * 0.9);
      const piece = pool.subarray(from, Math.min(from + left, POOL));
      await file.write(piece);
      left -= piece.length;
      bytes += piece.length;
    }
  }
  return bytes;
}
