/**
 * How much of the machine the child processes may take from others: QRadar's backup priorities, as niceness and I/O
 * class. What is done in this process itself, such as checking what passes, keeps the process's own.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { getPriority, setPriority } from 'node:os';
import { delimiter, join } from 'node:path';
import type { BackupPriority } from '../domain/vocabulary.ts';

/** HIGH is left out: as this process runs. Raising it further would need privileges. */
const NICENESS: Partial<Record<BackupPriority, number>> = { MEDIUM: 10, LOW: 19 };

// Every child that the work starts is meant, however deep in the calls: that is what this follows.
const current = new AsyncLocalStorage<BackupPriority>();

/** Does work whose child processes run at a priority; undefined: as this process runs. */
export const atPriority = <T>(priority: BackupPriority | undefined, work: () => Promise<T>): Promise<T> =>
  (priority === undefined ? work() : current.run(priority, work));

/** Gives a child that has just been started, and all that it starts itself, the priority of the work it is part of. */
export function applyPriority(pid: number | undefined): void {
  const priority = current.getStore();
  const niceness = priority === undefined ? undefined : NICENESS[priority];
  if (pid === undefined || niceness === undefined) return;
  try {
    // Never less than what this process was started with, which would need privileges.
    setPriority(pid, Math.max(niceness, getPriority()));
  } catch {
    // It has ended already.
  }
  // On Linux niceness sets the I/O priority as well, but the idle class is asked for by name. A system without the
  // program, or a child that has ended, stays at what niceness gives.
  if (priority === 'LOW') {
    spawn('ionice', ['--class', '3', '--pid', String(pid)], { stdio: 'ignore', detached: true }).on('error', () => undefined).unref();
  }
}

/** Whether this system can give LOW its I/O class. */
export async function hasIonice(): Promise<boolean> {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');
  const found = await Promise.all(folders.map((folder) => access(join(folder, 'ionice'), constants.X_OK).then(() => true, () => false)));
  return process.platform === 'linux' && found.includes(true);
}
