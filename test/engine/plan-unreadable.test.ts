/**
 * Plans of restores into targets of which the worker may not read everything.
 */
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeEach, expect, test } from 'vitest';
import type { FilesSource } from '../../src/domain/deployment.ts';
import type { PlannedGroup } from '../../src/domain/reports.ts';
import { directory, file, makeBackup, makeSite, type Site } from '../support/engine.ts';
import { describeTree } from '../support/tree.ts';

const GROUP = 'DEPLOYMENT_CONFIG' as const;
const CHILD = new URL('../support/unprivileged-plan.ts', import.meta.url).pathname;
const WRITTEN = ['closed/deep/file', 'closed/deep/other', 'unsearchable/file', 'open', 'altered', 'forbidden: a\nb', 'forbidden-mode', 'gone'];

let site: Site;
let root: string;
beforeEach(async () => {
  site = makeSite();
  root = join(site.place, 'source');
  for (const name of WRITTEN) {
    fs.mkdirSync(join(root, name, '..'), { recursive: true });
    fs.writeFileSync(join(root, name), 'content');
  }
  // Of the backup the mode is what it is now, so that a missing right is the only difference.
  for (const name of ['closed', 'forbidden: a\nb', 'unsearchable']) fs.chmodSync(join(root, name), name === 'unsearchable' ? 0o744 : name === 'closed' ? 0o700 : 0o600);
  const all = (path: string): void => {
    fs.chownSync(path, name(path) === 'source' || name(path) === 'open' ? 65534 : 0, 65534);
    if (fs.statSync(path).isDirectory()) for (const entry of fs.readdirSync(path)) all(join(path, entry));
  };
  if (process.geteuid?.() === 0) all(root);
});
const name = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const warn = (source: FilesSource): FilesSource => ({ ...source, onUnreadable: 'WARN' });

/** Backs up what there is, alters it, and plans as a user who may not read everything. */
async function plan(source: FilesSource, alter: () => void = () => undefined): Promise<PlannedGroup & { code?: string; message?: string }> {
  await makeBackup(site, [{ group: GROUP, source }]);
  alter();
  // The test's own directory is nobody else's to enter.
  for (const path of [site.place, site.store, join(site.store, 'nightly')]) fs.chmodSync(path, 0o755);
  for (const entry of fs.readdirSync(join(site.store, 'nightly'))) fs.chmodSync(join(site.store, 'nightly', entry), 0o644);
  const before = describeTree(root);
  const { stdout } = await promisify(execFile)(process.execPath, ['--no-warnings', CHILD, JSON.stringify({ store: site.store, source })]);
  expect(describeTree(root)).toEqual(before);
  return JSON.parse(stdout) as PlannedGroup;
}
const below = ({ count, paths }: { count: number; paths: string[] }): string[] => {
  expect(paths).toHaveLength(count);
  return paths.map((path) => path.replace(`${root}/`, '')).toSorted();
};

const story = test.skipIf(process.geteuid?.() !== 0);

story('what cannot be read of a source that lets that pass is listed, and everything else is planned', async () => {
  const group = await plan(warn(directory(root)), () => {
    fs.writeFileSync(join(root, 'altered'), 'another');
    fs.chmodSync(join(root, 'forbidden-mode'), 0o000);
    fs.rmSync(join(root, 'gone'));
    fs.writeFileSync(join(root, 'new'), 'new');
    fs.mkdirSync(join(root, 'new-closed'), { mode: 0o700 });
    fs.writeFileSync(join(root, 'new-closed', 'file'), '');
  });
  expect(group.message).toBeUndefined();
  expect(below(group.unreadable)).toEqual(['closed/', 'closed/deep/', 'closed/deep/file', 'closed/deep/other', 'forbidden: a\nb', 'new-closed', 'unsearchable/file']);
  expect(below(group.added)).toEqual(['gone']);
  // Its mode differs, which is known.
  expect(below(group.changed)).toEqual(['altered', 'forbidden-mode']);
  expect(below(group.removed)).toEqual(['new']);
  // The root, `open`, and the directory whose content is not to be seen.
  expect(group.unchanged).toBe(3);
});

story('so it is with patterns', async () => {
  const group = await plan(warn({ ...directory(root), exclude: ['gone'] }), () => fs.writeFileSync(join(root, 'altered'), 'another'));
  expect(group.message).toBeUndefined();
  expect(below(group.unreadable)).toEqual(['closed/', 'closed/deep/', 'closed/deep/file', 'closed/deep/other', 'forbidden: a\nb', 'unsearchable/file']);
  expect(below(group.changed)).toEqual(['altered']);
  expect(below(group.added)).toEqual([]);
  expect(below(group.removed)).toEqual([]);
});

story('a file by itself that cannot be read is listed', async () => {
  const path = join(root, 'forbidden: a\nb');
  expect(await plan(warn(file(path)))).toMatchObject({ unreadable: { count: 1, paths: [path] }, unchanged: 0, changed: { count: 0 } });
});

story('of a source that does not let it pass, it ends the plan with the name of what cannot be read', async () => {
  fs.chmodSync(join(root, 'closed'), 0o755);
  fs.chmodSync(join(root, 'unsearchable'), 0o755);
  expect(await plan(directory(root))).toMatchObject({ code: 'SOURCE_UNREADABLE', message: expect.stringContaining('forbidden') });
});
