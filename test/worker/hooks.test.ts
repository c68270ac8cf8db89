/**
 * Hooks around backups and restores: real programs, run by gateways that may be killed meanwhile.
 */
import * as fs from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { until, type GatewayProcess } from '../support/gateway.ts';
import {
  backupIs, cancelJob, createBackup, createRestore, makeBackup, openSite, requestRestore, restoreIs, showBackup, showJob, showRestore, type Site,
} from '../support/site.ts';
import { describeTree } from '../support/tree.ts';

/** Says that it ran, keeps what it was told, and then does what a file of its name says. */
const HOOK = `#!/bin/sh
echo "$1 $BACKUP_GATEWAY_STATUS" >> "\${0%/*}/ran"
env > "\${0%/*}/env-$1"
if [ -e "\${0%/*}/do-$1" ]; then . "\${0%/*}/do-$1"; fi
`;
const LISTS = { beforeBackup: ['b1', 'b2'], afterBackup: ['a1', 'a2'], beforeRestore: ['rb'], afterRestore: ['ra'] };

let site: Site;
let gateway: GatewayProcess;
const hooks = (...names: string[]) => site.at('hooks', ...names);
/** What the hook of this name does from now on, as a part of a shell script. */
const does = (name: string, script: string) => fs.writeFileSync(hooks(`do-${name}`), script);
/** Which hooks have run, in order, the `after` ones with the status they were told. */
const ran = (): string[] => (fs.existsSync(hooks('ran')) ? fs.readFileSync(hooks('ran'), 'utf8').trim().split('\n').map((line) => line.trim()) : []);
const toldTo = (name: string): Record<string, string> =>
  Object.fromEntries(fs.readFileSync(hooks(`env-${name}`), 'utf8').trim().split('\n').map((line) => [line.split('=')[0], line.slice(line.indexOf('=') + 1)]));
const isRunning = (pid: string): boolean => fs.existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'));
/** A process id that a hook has written down. */
const pidFrom = (file: string): Promise<string> => until(`there is ${file}`, () => (fs.existsSync(hooks(file)) ? fs.readFileSync(hooks(file), 'utf8').trim() || null : null));
/** Stays until it is told to go, and writes down who it is. */
const STAYS = 'echo $$ > "${0%/*}/pid"; while [ ! -e "${0%/*}/go" ]; do sleep 0.05; done';

beforeAll(async () => {
  site = await openSite({ USERS_CONFIG: [{ directory: './site' }] });
  fs.mkdirSync(site.at('site'));
  fs.writeFileSync(site.at('site/file'), 'as it was');
  fs.mkdirSync(hooks());
  fs.writeFileSync(hooks('hook'), HOOK, { mode: 0o755 });
  const file = JSON.parse(fs.readFileSync(site.at('deployment.yaml'), 'utf8')) as { hosts: object[] };
  Object.assign(file.hosts[0] as object, {
    hooks: Object.fromEntries(Object.entries(LISTS).map(([when, names]) => [when, names.map((name) => ({ run: [hooks('hook'), name], timeoutSeconds: name === 'b2' ? 1 : 30 }))])),
  });
  fs.writeFileSync(site.at('deployment.yaml'), JSON.stringify(file));
});
/** With a variable that no hook may see. */
const start = async () => { gateway = await site.start({ SECRET: 'hush', LOG_LEVEL: 'info' }); };
const forget = () => { for (const name of fs.readdirSync(hooks())) if (name !== 'hook') fs.rmSync(hooks(name)); };
beforeAll(start);
beforeEach(forget);
afterEach(async ({ task }) => {
  // A hook that a failed test has left must not make others fail.
  if (task.result?.state !== 'fail') return;
  await site.killAll();
  await site.expireLeases();
  forget();
  await start();
});
afterAll(() => site?.close());

describe('the hooks of a backup', () => {
  test('run in order around it, with a small environment that tells what is going on, and are noted', async () => {
    does('b1', 'echo stopping; echo loudly >&2');
    const { id, jobId } = await createBackup(gateway, { name: 'ordered' });
    await backupIs(gateway, id, ['SUCCESS']);
    expect(ran()).toEqual(['b1', 'b2', 'a1 SUCCESS', 'a2 SUCCESS']);
    const before = toldTo('b1');
    expect(Object.keys(before).filter((name) => !name.startsWith('BACKUP_GATEWAY_')).toSorted()).toEqual(['LC_ALL', 'PATH', 'PWD']);
    expect(before).toMatchObject({
      BACKUP_GATEWAY_HOOK: 'beforeBackup', BACKUP_GATEWAY_OPERATION: 'BACKUP', BACKUP_GATEWAY_BACKUP_NAME: 'ordered', BACKUP_GATEWAY_BACKUP_TYPE: 'CONFIG',
      BACKUP_GATEWAY_HOST_ID: '1', BACKUP_GATEWAY_HOSTNAME: 'console', BACKUP_GATEWAY_DEPLOYMENT: 'local', BACKUP_GATEWAY_ATTEMPT: '1', PWD: '/',
      BACKUP_GATEWAY_JOB_ID: expect.stringMatching(/^j[0-9a-f-]{36}$/),
    });
    const { messages } = await showJob(gateway, jobId);
    expect(messages).toEqual([
      expect.stringMatching(/^Hook beforeBackup\[0\] \/.*\/hook: ended with code 0 after \d+\.\d s; it wrote: (stopping\nloudly|loudly\nstopping)$/),
      expect.stringMatching(/^Hook beforeBackup\[1\] .*: ended with code 0 after \d+\.\d s\.$/),
      expect.stringMatching(/^Hook afterBackup\[0\] /), expect.stringMatching(/^Hook afterBackup\[1\] /),
    ]);
  });

  test('keep it from beginning where one before it fails, and those after it run all the same', async () => {
    does('b1', 'echo "the service does not stop" >&2; exit 5');
    const { id } = await createBackup(gateway, { name: 'unbegun' });
    const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
    expect(backup.status).toBe('FAILED');
    expect(backup.job.error).toMatch(/^The hook beforeBackup\[0\] \/.*\/hook ended with code 5 after \d\.\d s \(the service does not stop\), so the backup was not begun\. Run the program/);
    expect(ran()).toEqual(['b1', 'a1 FAILED', 'a2 FAILED']);
    expect(toldTo('a1')['BACKUP_GATEWAY_ERROR']).toContain('ended with code 5');
    expect(await site.oddities()).toEqual([]);
  });

  test('take nothing from it where one after it fails: that is noted, and the others run', async () => {
    does('a1', 'exit 9');
    const { id, jobId } = await createBackup(gateway, { name: 'complete' });
    await backupIs(gateway, id, ['SUCCESS']);
    expect(ran()).toEqual(['b1', 'b2', 'a1 SUCCESS', 'a2 SUCCESS']);
    const job = await showJob(gateway, jobId);
    expect(job).toMatchObject({ status: 'COMPLETED', error: null });
    expect(job.messages.at(-2)).toContain('ended with code 9');
  });

  test('are ended with all that they started where they take too long', async () => {
    does('b2', 'trap "" TERM; (trap "" TERM; sleep 100) & echo $! > "${0%/*}/pid"; while :; do sleep 100; done');
    const { id } = await createBackup(gateway, { name: 'overdue' });
    const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
    expect(backup.job.error).toContain('did not end in its time and was ended after');
    const pid = await pidFrom('pid');
    await until('what it started is gone', () => !isRunning(pid));
    expect(ran()).toEqual(['b1', 'b2', 'a1 FAILED', 'a2 FAILED']);
  });

  test('may start a service that holds their output open, and that service lives on', async () => {
    does('a1', 'echo begun; (while sleep 0.05; do echo tick; done) & echo $! > "${0%/*}/pid"');
    const { id, jobId } = await createBackup(gateway, { name: 'serviced' });
    await backupIs(gateway, id, ['SUCCESS'], 10_000);
    expect((await showJob(gateway, jobId)).messages[2]).toContain('ended with code 0');
    const pid = await pidFrom('pid');
    // A pipe that nobody reads would end it with the next thing that it says.
    const ticks = (): number => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    const then = ticks();
    await until('it has said more', () => ticks() > then + 5);
    process.kill(Number(pid));
  });

  test('are quoted by the end of what they wrote alone, as text, whatever it was', async () => {
    does('b1', "head -c 1000000 /dev/zero | tr '\\0' x; printf 'bad \\377\\000\\033[31m caf\\303\\251 end\\n'");
    const { id, jobId } = await createBackup(gateway, { name: 'loud' });
    await backupIs(gateway, id, ['SUCCESS']);
    const message: string = (await showJob(gateway, jobId)).messages[0];
    expect(message).toContain('it wrote: …xxx');
    expect(message.endsWith('xbad \ufffd\ufffd\ufffd[31m café end')).toBe(true);
    expect(message.length).toBeLessThan(4_400);
  });

  test('that are not there fail it with the reason', async () => {
    fs.renameSync(hooks('hook'), hooks('moved'));
    const { id } = await createBackup(gateway, { name: 'without' });
    const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
    fs.renameSync(hooks('moved'), hooks('hook'));
    expect(backup.job.error).toMatch(/could not be started: there is no such program, or none on the PATH, so the backup was not begun/);
  });

  test('are ended by a cancellation before it, and those after it run before it is gone', async () => {
    does('b1', STAYS);
    const { id, jobId } = await createBackup(gateway, { name: 'cancelled' });
    const pid = await pidFrom('pid');
    await cancelJob(gateway, jobId);
    await until('the backup is gone', async () => await showBackup(gateway, id) === null, 10_000);
    expect(isRunning(pid)).toBe(false);
    expect(ran()).toEqual(['b1', 'a1 CANCELLED', 'a2 CANCELLED']);
    expect((await showJob(gateway, jobId)).messages[0]).toContain('ended, because: The job was cancelled.');
  });

  test('after it are not ended by a cancellation, and run once', async () => {
    does('a1', STAYS);
    const { id, jobId } = await createBackup(gateway, { name: 'late' });
    await pidFrom('pid');
    await cancelJob(gateway, jobId);
    await until('it is being cancelled', async () => (await showBackup(gateway, id)).status === 'CANCELLING');
    fs.writeFileSync(hooks('go'), '');
    await until('the backup is gone', async () => await showBackup(gateway, id) === null, 10_000);
    expect(ran()).toEqual(['b1', 'b2', 'a1 SUCCESS', 'a2 SUCCESS']);
    expect(await site.oddities()).toEqual([]);
  });

  test('do not run where it is cancelled before it began', async () => {
    // As though a worker held it that never comes to begin it.
    await site.sql.unsafe(`create function hold() returns trigger language plpgsql as $$ begin new.lease_until := now() + interval '15 seconds'; return new; end $$;
      create trigger hold before insert on jobs for each row when (new.operation = 'BACKUP') execute function hold()`);
    const { id, jobId } = await createBackup(gateway, { name: 'unclaimed' });
    await cancelJob(gateway, jobId);
    await site.sql.unsafe('drop function hold() cascade');
    await site.expireLeases();
    await until('the backup is gone', async () => await showBackup(gateway, id) === null, 10_000);
    expect((await showJob(gateway, jobId)).status).toBe('CANCELLED');
    expect(ran()).toEqual([]);
  });

  test('run again with the next attempt where the gateway is killed', async () => {
    does('b1', STAYS);
    const { id } = await createBackup(gateway, { name: 'killed' });
    const pid = await pidFrom('pid');
    await gateway.kill();
    process.kill(-Number(pid), 'SIGKILL');
    does('b1', '');
    await site.expireLeases();
    await start();
    await backupIs(gateway, id, ['SUCCESS']);
    expect(ran()).toEqual(['b1', 'b1', 'b2', 'a1 SUCCESS', 'a2 SUCCESS']);
    expect(toldTo('b1')['BACKUP_GATEWAY_ATTEMPT']).toBe('2');
  });

  test('are ended where the gateway stops in order, and run again after its next start', async () => {
    does('b1', STAYS);
    const { id } = await createBackup(gateway, { name: 'stopped' });
    const pid = await pidFrom('pid');
    const begun = performance.now();
    await gateway.stop();
    expect(performance.now() - begun).toBeLessThan(15_000);
    expect(isRunning(pid)).toBe(false);
    does('b1', '');
    await start();
    await backupIs(gateway, id, ['SUCCESS']);
    expect(ran()).toEqual(['b1', 'b1', 'b2', 'a1 SUCCESS', 'a2 SUCCESS']);
  });

  test('after it may end in peace where the gateway stops meanwhile, and then it has succeeded', async () => {
    does('a1', STAYS);
    const { id } = await createBackup(gateway, { name: 'settled' });
    await pidFrom('pid');
    const stopped = gateway.stop();
    await until('it stops', () => gateway.log().includes('stopping'));
    fs.writeFileSync(hooks('go'), '');
    await stopped;
    await start();
    expect((await showBackup(gateway, id)).status).toBe('SUCCESS');
    expect(ran()).toEqual(['b1', 'b2', 'a1 SUCCESS', 'a2 SUCCESS']);
  });

  test('after it run where it is given up for good', async () => {
    does('b1', STAYS);
    const { id } = await createBackup(gateway, { name: 'exhausted' });
    const pid = await pidFrom('pid');
    await gateway.kill();
    process.kill(-Number(pid), 'SIGKILL');
    await site.sql`update jobs set attempt = 3, lease_until = now() - interval '1 second' where status = 'EXECUTING'`;
    await start();
    const backup = await backupIs(gateway, id, ['SUCCESS', 'FAILED']);
    expect(backup).toMatchObject({ status: 'FAILED', job: { error: expect.stringContaining('The worker died 3 times') } });
    expect(ran()).toEqual(['b1', 'a1 FAILED', 'a2 FAILED']);
  });
});

describe('the hooks of a restore', () => {
  let backupId: string;
  beforeEach(async () => {
    backupId = await makeBackup(gateway, { name: `source-${performance.now()}` });
    forget();
    fs.writeFileSync(site.at('site/file'), 'altered');
  });
  afterEach(() => fs.writeFileSync(site.at('site/file'), 'as it was'));

  test('are told what is restored, and the restore site', async () => {
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id, { restoreSiteHostId: '1', restoreSiteEventCollectorId: '1' });
    await restoreIs(gateway, id, ['SUCCESS']);
    expect(ran()).toEqual(['rb', 'ra SUCCESS']);
    for (const name of ['rb', 'ra']) {
      expect(toldTo(name)).toMatchObject({
        BACKUP_GATEWAY_OPERATION: 'RESTORE', BACKUP_GATEWAY_GROUPS: 'USERS_CONFIG', BACKUP_GATEWAY_BACKUP_TYPE: 'CONFIG', BACKUP_GATEWAY_BACKUP_NAME: expect.stringMatching(/^source-/),
        BACKUP_GATEWAY_RESTORE_SITE_HOST_ID: '1', BACKUP_GATEWAY_RESTORE_SITE_HOSTNAME: 'console',
        BACKUP_GATEWAY_RESTORE_SITE_EVENT_COLLECTOR_ID: '1', BACKUP_GATEWAY_RESTORE_SITE_EVENT_COLLECTOR_HOSTNAME: 'console',
      });
    }
    expect(fs.readFileSync(site.at('site/file'), 'utf8')).toBe('as it was');
  });

  test('leave everything as it is where one before it fails', async () => {
    does('rb', 'exit 1');
    const old = describeTree(site.at('site'));
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    const restore = await restoreIs(gateway, id, ['SUCCESS', 'FAILED']);
    expect(restore).toMatchObject({ status: 'FAILED', job: { error: expect.stringContaining('so the restore was not begun. Nothing was touched.') } });
    expect(describeTree(site.at('site'))).toEqual(old);
    expect(ran()).toEqual(['rb', 'ra FAILED']);
    expect(toldTo('ra')['BACKUP_GATEWAY_RESTORE_SITE_HOST_ID']).toBe('');
  });

  test('are ended by a cancellation, after which it can be requested again', async () => {
    does('rb', STAYS);
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    const jobId = await requestRestore(gateway, id);
    const pid = await pidFrom('pid');
    await cancelJob(gateway, jobId);
    await until('it is PENDING', async () => (await showRestore(gateway, id)).status === 'PENDING', 10_000);
    expect(isRunning(pid)).toBe(false);
    expect(ran()).toEqual(['rb', 'ra CANCELLED']);
    fs.writeFileSync(hooks('go'), '');
    await requestRestore(gateway, id);
    await restoreIs(gateway, id, ['SUCCESS']);
  });

  test('run again where the gateway is killed during one after it, and the restore has succeeded once', async () => {
    does('ra', STAYS);
    const id = await createRestore(gateway, backupId, ['USERS_CONFIG']);
    await requestRestore(gateway, id);
    const pid = await pidFrom('pid');
    expect((await showRestore(gateway, id)).status).toBe('IN_PROGRESS');
    await gateway.kill();
    process.kill(-Number(pid), 'SIGKILL');
    does('ra', '');
    await site.expireLeases();
    await start();
    await restoreIs(gateway, id, ['SUCCESS']);
    expect(ran()).toEqual(['rb', 'ra SUCCESS', 'rb', 'ra SUCCESS']);
    expect(fs.readFileSync(site.at('site/file'), 'utf8')).toBe('as it was');
    expect(site.restoreLeftovers()).toEqual([]);
  });
});
