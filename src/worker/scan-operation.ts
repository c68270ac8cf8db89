/**
 * SCAN jobs: what lies in a store and is not in the catalogue is read back and entered into it.
 *
 * Each backup is entered in a transaction of its own, so that a scan that is killed has lost nothing, and its successor
 * finds what is entered among the known.
 */
import { EngineError, GatewayError } from '../domain/errors.ts';
import type { ScanReport } from '../domain/reports.ts';
import * as engine from '../engine/index.ts';
import { changeBackupStatus, findBackup, insertBackup } from '../records/backups.ts';
import { directoriesOf, findBackupInStore, findJobOfManifest, findStoreById, markStoreScanned, namesLike, noteVerification } from '../records/checks.ts';
import { findDeployment, lockDeployment } from '../records/deployments.ts';
import { changeHeldJob } from '../records/jobs.ts';
import type { BackupRow, DeploymentRow, StoreRow } from '../records/rows.ts';
import { begin, endings } from './checks.ts';
import type { Operation, WorkerContext } from './context.ts';
import { isAnothers, learn, type LearntFacts } from './found-backup.ts';
import { JobLostError, type Run } from './run.ts';
import { requireStore } from './store-marks.ts';
import { storeOf } from './store-of.ts';

/** What a scan works with. */
interface Scan { context: WorkerContext; run: Run; row: StoreRow; store: engine.Store; deployment: DeploymentRow; report: ScanReport }

export const scanOperation: Operation = {
  async run(context, run) {
    await begin(context, run);
    const row = run.job.storeId === null ? undefined : await findStoreById(context.db, run.job.storeId);
    const deployment = await findDeployment(context.db, run.job.deploymentId);
    if (row === undefined || deployment === undefined) throw storeMoved();
    // What an attempt that died has entered counts; what it left out is met again.
    const report: ScanReport = { ...NOTHING, ...run.job.result as ScanReport | null, ignored: 0 };
    const scan: Scan = { context, run, row, store: storeOf(row), deployment, report };

    await requireStore(context, row);
    const names = await scan.store.list();
    const known = await directoriesOf(context.db, row.id);
    const toRead = names.filter((name) => (known.get(name)?.status ?? 'MISSING') === 'MISSING');
    report.known = names.filter((name) => known.has(name)).length - report.found;
    const meter = await meterOf(scan, toRead);
    const unread: string[] = [];
    for (const name of toRead) {
      run.signal.throwIfAborted();
      const backup = known.get(name);
      const reading = backup === undefined ? readUnknown(scan, name, meter.next(name)) : readReturned(scan, backup.id, name, meter.next(name));
      await reading.catch(async (error: unknown) => {
        // One that the disk does not give out must not hide all the others.
        if (!await isOfOneBackup(scan, error)) throw error;
        unread.push(name);
        run.note(`${scan.store.locationOf(name)} could not be read: ${(error as EngineError).message}`);
      });
    }
    const summary = `Looked at ${names.length}: ${report.found} entered (${report.damaged} damaged, ${report.foreign} of another console), ${report.known} known, ${report.ignored} left out.`;
    if (report.found + report.ignored > 0) run.note(summary);
    if (unread.length > 0) throw unreadable(scan, unread);
    await run.end();
    await context.db.transaction(async (tx) => {
      if (!await changeHeldJob(tx, run.hold, ['EXECUTING'], 'COMPLETED', { result: report })) throw new JobLostError();
      await markStoreScanned(tx, row);
    });
    context.log.info({ store: row.name, ...report }, 'a backup store was scanned');
  },
  ...endings,
};

const NOTHING: ScanReport = { found: 0, known: 0, damaged: 0, foreign: 0, ignored: 0 };

const storeMoved = (): GatewayError => new GatewayError('STORE_MOVED', 'The store has been moved or removed meanwhile.', 'Scan it where it is now.');

/** Whether the store can be used although this cannot be read of it. */
const isOfOneBackup = async ({ store, run }: Scan, error: unknown): Promise<boolean> =>
  !run.signal.aborted && error instanceof EngineError && error.code === 'STORE_UNREACHABLE' && (await store.check()).isReadable;

const unreadable = ({ store }: Scan, names: readonly string[]): GatewayError => new GatewayError('BACKUPS_UNREADABLE',
  `${names.length === 1 ? '1 backup' : `${names.length} backups`} could not be read, such as ${store.locationOf(names[0] ?? '')}; everything else was looked at.`,
  'Look at the job\'s messages and at the health of the disk, then scan the store again.');

/** One verification's progress as part of the whole scan's. */
type OnProgress = (progress: engine.Progress) => void;

/** Adds up what there is to read, as far as manifests tell. */
async function meterOf({ store, run }: Scan, names: readonly string[]): Promise<{ next(name: string): OnProgress }> {
  const sizes = new Map<string, { bytes: number; files: number }>();
  const total = { bytes: 0, files: 0 };
  for (const name of names) {
    run.signal.throwIfAborted();
    const archives = await engine.readManifest(store.open(name)).then((manifest) => manifest.archives, (error: unknown) => {
      // What is wrong with it is found when it is read.
      if (error instanceof EngineError) return [];
      throw error;
    });
    const size = { bytes: archives.reduce((sum, { bytes }) => sum + bytes, 0), files: archives.reduce((sum, { files }) => sum + files, 0) };
    sizes.set(name, size);
    total.bytes += size.bytes;
    total.files += size.files;
  }
  const past = { bytes: 0, files: 0 };
  return {
    next(name) {
      const [bytesBefore, filesBefore] = [past.bytes, past.files];
      past.bytes += sizes.get(name)?.bytes ?? 0;
      past.files += sizes.get(name)?.files ?? 0;
      return ({ bytesDone, filesDone }) => run.progress({
        bytesDone: bytesBefore + bytesDone, bytesTotal: total.bytes, filesDone: filesBefore + filesDone, filesTotal: total.files,
      });
    },
  };
}

/** A backup of the catalogue that was MISSING and is there: SUCCESS again where it is whole. */
async function readReturned({ context, run, store }: Scan, id: number, name: string, onProgress: OnProgress): Promise<void> {
  const { problems, details } = await engine.verifyBackup(store.open(name), { signal: run.signal, onProgress });
  // One that is not may still be being copied: whoever looks after the stores looks again.
  if (problems.length > 0) return;
  await context.db.transaction(async (tx) => {
    const backup = await findBackup(tx, id, 'lock');
    if (!await changeHeldJob(tx, run.hold, ['EXECUTING'], 'EXECUTING')) throw new JobLostError();
    if (backup === undefined || backup.status !== 'MISSING') return;
    await noteVerification(tx, id, { fileProblems: problems, problemDetails: details, timeVerified: new Date() });
    await changeBackupStatus(tx, id, ['MISSING'], 'SUCCESS');
  });
}

async function readUnknown(scan: Scan, name: string, onProgress: OnProgress): Promise<void> {
  const { context, run, store, deployment, report } = scan;
  const files = store.open(name);
  const reading = await engine.verifyBackup(files, { signal: run.signal, onProgress });
  // Removed since it was listed.
  if (!await store.has(name)) return;
  const leftover = await leftoverOf(scan, name, reading.manifest);
  if (leftover === 'being made') return;
  if (leftover !== null) {
    report.ignored += 1;
    await removeLeftover(scan, name, leftover);
    return;
  }
  const found = await learn(context.db, deployment, name, files, reading);
  if (found === null) {
    report.ignored += 1;
    run.note(`${store.locationOf(name)} was left out: nothing can be learnt about it (${reading.details.join('; ')}).`);
    return;
  }
  const isDamaged = found.fileProblems.length > 0;
  const next = { ...report, found: report.found + 1, foreign: report.foreign + Number(found.origin !== null), damaged: report.damaged + Number(isDamaged) };
  const entered = await enter(scan, name, found, next);
  if (entered === null) return;
  Object.assign(report, next);
  if (isDamaged) {
    run.note(`${entered} in ${store.locationOf(name)} is damaged: ${found.problemDetails.join('; ')}.`);
  }
  if (entered !== found.name) run.note(`${store.locationOf(name)} is called ${found.name} in its manifest; that name is taken, so that it was entered as ${entered}.`);
}

/**
 * What an attempt has left that lost its job: the job is known here, and its backup has another directory of this store.
 * Nothing else counts, be it a copy that somebody has made, or a backup whose record was deleted and that was put back.
 *
 * @returns the backup that counts; null where it is no leftover
 */
async function leftoverOf({ context, row }: Scan, name: string, manifest: engine.Manifest | null): Promise<BackupRow | 'being made' | null> {
  if (manifest?.job === undefined) return null;
  const known = await findJobOfManifest(context.db, manifest.job.id);
  if (known === undefined) return null;
  if (['SUBMITTED', 'EXECUTING', 'CANCELLING'].includes(known.job.status)) return 'being made';
  const { backup } = known;
  if (backup === undefined || backup.storeId !== row.id || backup.directory === name) return null;
  const base = (directory: string): string => directory.replace(/(\.\d{13})\.\d+$/, '$1');
  const own = manifest.job.attempt === 1 ? base(backup.directory) : `${base(backup.directory)}.${manifest.job.attempt}`;
  return name === own ? backup : null;
}

/** Removes a leftover of which nothing is needed: the backup that counts is whole, or failed and has no files. */
async function removeLeftover(scan: Scan, name: string, backup: BackupRow): Promise<void> {
  const { run, store } = scan;
  const isNeeded = backup.status !== 'FAILED' && (backup.status !== 'SUCCESS' || backup.fileProblems.length > 0);
  const what = `${store.locationOf(name)} was left by an attempt at ${backup.name} that another replaced`;
  if (isNeeded) return run.note(`${what}. It was left out, since that backup is not whole; keep it or remove it by hand.`);
  await run.mustStillHold();
  const resisted = await store.remove(name).then(() => null, (error: unknown) => error);
  // One that is write-protected is looked through all the same.
  if (resisted !== null && !await isOfOneBackup(scan, resisted)) throw resisted;
  run.note(resisted === null ? `${what}; it was removed.` : `${what}; it could not be removed: ${(resisted as EngineError).message}`);
}

/** Enters a backup into the catalogue, under another name where its own is taken. @returns its name; null where it is known by now */
async function enter({ context, run, row, store, deployment }: Scan, directory: string, found: LearntFacts, report: ScanReport): Promise<string | null> {
  return context.db.transaction(async (tx) => {
    // Whoever gives a name to a backup holds this lock; the unique indexes on name and directory stand behind it.
    await lockDeployment(tx, deployment.id);
    if ((await findStoreById(tx, row.id))?.path !== row.path) throw storeMoved();
    const isKnown = await findBackupInStore(tx, row.id, directory) !== undefined;
    const name = isKnown ? '' : freeName(found.name, await namesLike(tx, deployment.id, found.name));
    if (!isKnown) {
      await insertBackup(tx, {
        ...found, name, deploymentId: deployment.id, storeId: row.id, status: 'SUCCESS', directory, contentFilePath: store.locationOf(directory),
        isKept: isAnothers(found),
      });
    }
    if (!await changeHeldJob(tx, run.hold, ['EXECUTING'], 'EXECUTING', isKnown ? {} : { result: report })) throw new JobLostError();
    return isKnown ? null : name;
  });
}

function freeName(name: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name;
  let number = 2;
  while (taken.has(`${name}.${number}`)) number += 1;
  return `${name}.${number}`;
}
