/**
 * Peak memory of a process and of its largest child, from /proc; Postgres left out.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { basename } from 'node:path';

export interface Peak { ownMegabytes: number; childMegabytes: number; child: string }

const read = (path: string): string => {
  try { return readFileSync(path, 'latin1'); } catch { return ''; }
};
const highWater = (pid: number): number => Number(/VmHWM:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024;
const command = (pid: number): string => read(`/proc/${pid}/cmdline`);

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
  const timer = setInterval(look, 25);
  return () => {
    clearInterval(timer);
    return { ...peak, ownMegabytes: highWater(pid) };
  };
}
