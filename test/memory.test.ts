/**
 * How much memory the process takes: docs/decisions/0011-memory.md.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { startGatewayProcess } from './support/gateway.ts';

const megabytes = (pid: number | undefined): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;

test.skipIf(process.platform !== 'linux')('the gateway starts with less than 250 MB, as the process that was started', async () => {
  const gateway = await startGatewayProcess();
  try {
    const { pid } = gateway.process;
    expect(megabytes(pid)).toBeLessThan(250);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'latin1')).toContain('--max-semi-space-size=4');
    expect(readFileSync(`/proc/${pid}/environ`, 'latin1')).toContain('MALLOC_ARENA_MAX=2');
    expect(readFileSync(`/proc/${pid}/environ`, 'latin1')).toContain('UV_THREADPOOL_SIZE=32');
  } finally {
    await gateway.stop();
  }
});

test.skipIf(process.platform !== 'linux')("an operator's own settings stay as they are", async () => {
  const gateway = await startGatewayProcess({ env: { NODE_OPTIONS: '--max-semi-space-size=16', MALLOC_ARENA_MAX: '7', UV_THREADPOOL_SIZE: '5' } });
  try {
    expect(readFileSync(`/proc/${gateway.process.pid}/cmdline`, 'latin1')).not.toContain('semi-space');
    expect(readFileSync(`/proc/${gateway.process.pid}/environ`, 'latin1')).toContain('MALLOC_ARENA_MAX=7');
    expect(readFileSync(`/proc/${gateway.process.pid}/environ`, 'latin1')).toContain('UV_THREADPOOL_SIZE=5');
  } finally {
    await gateway.stop();
  }
});
