/** The stock age program, for tests. */
import { spawnSync } from 'node:child_process';
import { expect } from 'vitest';

/** age reads a passphrase from a terminal only; Python has one to lend. */
export function withPasscode(passcode: string, command: string[]): void {
  const script = [
    'import os, pty, sys',
    'pid, terminal = pty.fork()',
    'if pid == 0: os.execvp(sys.argv[2], sys.argv[2:])',
    'seen = b""',
    'try:',
    '    while b"passphrase" not in seen: seen += os.read(terminal, 1000)',
    '    os.write(terminal, sys.argv[1].encode() + b"\\n")',
    '    while os.read(terminal, 1000): pass',
    'except OSError: pass',
    'sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))',
  ].join('\n');
  const done = spawnSync('python3', ['-c', script, passcode, ...command], { encoding: 'utf8', timeout: 30_000 });
  expect(done.status, done.stderr).toBe(0);
}
