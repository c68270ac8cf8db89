#!/usr/bin/env node
// Starts the gateway; with --check it only looks whether this Node can run it. Written for any Node, so that an
// old one can say what is missing.
import module from 'node:module';
import { fileURLToPath } from 'node:url';

const [major] = process.versions.node.split('.').map(Number);

if (major < 24) {
  console.error([
    `Backup Gateway needs Node 24 or later; this is Node ${process.versions.node}.`,
    'The npm package "node" brings its own (Node 24), which npm scripts then use. Its install script has not run:',
    '  npm ci                            (without --ignore-scripts)',
    '  npm rebuild node                  (where scripts were skipped)',
    'or install Node 24 and try again.',
  ].join('\n'));
  process.exit(1);
}

// What keeps the process small, and can be set only before it starts: left alone, V8 lets the space of young objects grow
// to over 100 MB, and that of old ones to several times what they take; and the C library keeps a pool of memory for
// each thread. docs/decisions/0011-memory.md has figures. And all files are read and written by four threads, if nothing is said:
// a call into a network mount that is dead keeps one, and those that are left must do for all that works.
const YOUNG = '--max-semi-space-size';
const isYoungSet = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((option) => option.includes(YOUNG));
const isPoolSet = process.env.UV_THREADPOOL_SIZE !== undefined;
const POOL = { UV_THREADPOOL_SIZE: '32' };
if (!process.argv.includes('--check') && !(isYoungSet && isPoolSet) && process.execve !== undefined && process.platform === 'linux') {
  const options = isYoungSet ? [] : [`${YOUNG}=4`, '--heap-growing-percent=100'];
  process.execve(process.execPath, [process.execPath, ...options, ...process.execArgv, ...process.argv.slice(1)], { ...isYoungSet ? {} : { MALLOC_ARENA_MAX: '2' }, ...POOL, ...process.env });
}
// Where a process cannot replace itself: soon enough, as far as no file has been read by then.
process.env.UV_THREADPOOL_SIZE ??= POOL.UV_THREADPOOL_SIZE;

if (!process.argv.includes('--check')) {
  // Compiled code, and TypeScript without its types. Where nothing can be written there the start takes somewhat longer.
  module.enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/backup-gateway', import.meta.url)));
  await import('./modules.mjs');
  await import('../src/main.ts');
}
