/**
 * Peak memory of a process and of its largest child, from /proc; Postgres left out.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

export interface Peak { ownMegabytes: number; childMegabytes: number; child: string }

/** How often is looked for children, in milliseconds. What a child had at its peak is known as long as it lives. */
const INTERVAL = 100;

const read = (path: string): string => {
  try { return readFileSync(path, 'latin1'); } catch { return ''; }
};
const highWater = (pid: number): number => Number(/VmHWM:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
const command = (pid: number): string => read(`/proc/${pid}/cmdline`);

/** All that the main threads of a process and of its children have started: to look through all processes would slow down what is measured. */
function descendants(pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`).split(' ').filter((child) => child !== '').map(Number);
  return children.flatMap((child) => [child, ...descendants(child)]);
}

/** Measures from now until it is called. */
export function watchPeak(pid: number): () => Peak {
  // 5: forget the peak so far.
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
  const peak: Peak = { ownMegabytes: 0, childMegabytes: 0, child: '' };
  const own = command(pid);
  const look = () => {
    for (const child of descendants(pid)) {
      const started = command(child);
      // A child that has not become its program yet is a copy of its parent.
      if (started === '' || started === own || started.startsWith('postgres')) continue;
      const megabytes = highWater(child);
      if (megabytes <= peak.childMegabytes || /postgres/.test(read(`/proc/${child}/comm`))) continue;
      const [program = '', ...rest] = started.split('\0').filter((part) => !part.startsWith('--'));
      Object.assign(peak, { childMegabytes: megabytes, child: basename(program === process.execPath ? rest[0] ?? program : program) });
    }
  };
  const timer = setInterval(look, INTERVAL);
  return () => {
    clearInterval(timer);
    return { ...peak, ownMegabytes: highWater(pid) };
  };
}
