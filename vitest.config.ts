import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // On two cores: much of the time goes into waiting for disks, timers and other processes; three took 9:23 where two
    // took 11:28. More only make the real Postgres servers and archives wait for each other.
    maxWorkers: 3,
    // Node loads the sources as it does for a gateway: what is tested is what runs, each package is there once, and a file
    // of tests begins a second of processor sooner than with Vite between.
    experimental: { viteModuleRunner: false },
    // The heap begins at the size that it comes to anyway: collections on the way there were an eighth of all work.
    execArgv: ['--initial-old-space-size=256', '--min-semi-space-size=4', '--max-semi-space-size=8', '--import', new URL('bin/modules.mjs', import.meta.url).href],
    // Processes that tests start, some of them dozens of times, need not compile the same sources each time.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/tests', import.meta.url)) },
    globalSetup: 'test/support/database-template.ts',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
