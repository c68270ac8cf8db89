#!/usr/bin/env node
// Starts the gateway; with --check it only looks whether this Node can run it. Written for any Node, so that an
// old one can say what is missing.
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

if (!process.argv.includes('--check')) await import('../src/main.ts');
