/**
 * Peak memory of a process and of its largest child, from /proc; Postgres left out.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';

export interface Peak { ownMegabytes: number; childMegabytes: number; child: string }

const read = (path: string): string => {
  try { return readFileSync(path, 'latin1'); } catch { return ''; }
};
const highWater = (pid: number): number => Number(/VmHWM:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;

function descendants(pid: number): number[] {
  const children = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
    .map((name) => [Number(name), Number(/\) \S (\d+)/.exec(read(`/proc/${name}/stat`))?.[1])] as const);
  const below = (parent: number): number[] => children.filter(([, of]) => of === parent).flatMap(([child]) => [child, ...below(child)]);
  return below(pid);
}

/** Measures from now until it is called. */
export function watchPeak(pid: number): () => Peak {
  // 5: forget the peak so far.
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const peak: Peak = { ownMegabytes: 0, childMegabytes: 0, child: '' };
  // A child that has not become its program yet is a copy of its parent.
  const left = new Set(['postgres', read(`/proc/${pid}/comm`).trim()]);
  const look = () => {
    for (const child of descendants(pid)) {
      const name = read(`/proc/${child}/comm`).trim();
      const megabytes = highWater(child);
      if (!left.has(name) && megabytes > peak.childMegabytes) Object.assign(peak, { childMegabytes: megabytes, child: name });
    }
  };
  const timer = setInterval(look, 50);
  return () => {
    clearInterval(timer);
    return { ...peak, ownMegabytes: highWater(pid) };
  };
}
