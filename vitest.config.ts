import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // graphql refuses values of a second copy of itself: take the one that Node gives to every package.
  resolve: { alias: [{ find: /^graphql$/, replacement: createRequire(import.meta.url).resolve('graphql') }] },
  test: {
    include: ['test/**/*.test.ts'],
    // On two cores: much of the time goes into waiting for disks, timers and other processes; three took 9:23 where two
    // took 11:28. More only make the real Postgres servers and archives wait for each other.
    maxWorkers: 3,
    // Processes that tests start, some of them dozens of times, need not compile the same sources each time.
    env: { NODE_COMPILE_CACHE: fileURLToPath(new URL('node_modules/.cache/tests', import.meta.url)) },
    globalSetup: 'test/support/database-template.ts',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
