import type { ScanReport as Report } from '../../domain/reports.ts';
import type { BackupOrigin as Origin } from '../../records/checks.ts';
import type { JobRow, StoreRow } from '../../records/rows.ts';
import { scanStore } from '../../services/scan.ts';
import { builder } from '../builder.ts';
import { change, orViolations } from '../errors.ts';
import { Backup, BackupStore, Job, load } from '../refs.ts';
import { reads } from '../selection.ts';

const BackupOrigin = builder.objectRef<Origin>('BackupOrigin').implement({
  description: 'Whose a backup is that another console made, as its manifest has it.',
  fields: (t) => ({
    deployment: t.exposeString('deployment', { description: 'The name of its deployment.' }),
    hostId: t.expose('hostId', { type: 'Long', description: "Its host's host_id there; 0 where its manifest does not say." }),
    hostname: t.exposeString('hostname', { description: "Its host's name there; empty where its manifest does not say." }),
    consoleAddress: t.exposeString('consoleAddress', { nullable: true, description: 'The network address of the console there, where it has one.' }),
    name: t.string({ nullable: true, description: "The backup's name there; it has another here where that was taken.", resolve: ({ name }) => name ?? null }),
  }),
});

builder.objectFields(Backup, (t) => ({
  origin: t.field({ type: BackupOrigin, nullable: true, description: 'Whose it is, where a scan found it and another console made it; null for our own. It can be restored where it is valid and of our version; the restore is marked isCrossDeploymentRestore.', resolve: ({ origin }) => origin }),
}));

const ScanReport = builder.objectRef<Report>('ScanReport').implement({
  description: 'What a scan made of the backups in a store.',
  fields: (t) => ({
    found: t.exposeInt('found', { description: 'How many were entered into the catalogue.' }),
    known: t.exposeInt('known', { description: 'How many the catalogue had before.' }),
    damaged: t.exposeInt('damaged', { description: 'How many of those found are not whole, so that isValid is false.' }),
    foreign: t.exposeInt('foreign', { description: 'How many of those found another console made.' }),
    ignored: t.exposeInt('ignored', { description: "How many were not entered, because nothing can be learnt about them, or they are left over from an attempt that another replaced; the job's messages name them." }),
  }),
});

builder.objectFields(Job, (t) => ({
  store: t.field({ type: BackupStore, nullable: true, extensions: reads('storeId'), description: 'The store that a SCAN looks through; null for other operations.', resolve: ({ storeId }, _args, context, info) => load('BackupStore', storeId, context, info) }),
  scan: t.field({ type: ScanReport, nullable: true, extensions: reads('operation', 'result'), description: 'What a SCAN has found so far; null while that is nothing, and for other operations.', resolve: ({ operation, result }) => (operation === 'SCAN' ? result as Report | null : null) }),
}));

builder.objectFields(BackupStore, (t) => ({
  isScanned: t.exposeBoolean('isScanned', { description: 'Whether all backups in it have been looked for since it was declared. The worker does so by itself when it first reaches the store; scanStore does it again.' }),
}));

const ScanStoreInput = builder.inputType('ScanStoreInput', {
  description: 'What scanStore needs.',
  fields: (t) => ({ storeName: t.string({ description: 'Which store, by its name; the default one where it is left out (2001).' }) }),
});

const ScanStorePayload = builder.objectRef<{ store: StoreRow; job: JobRow }>('ScanStorePayload').implement({
  description: 'The scan was started, or was under way already.',
  fields: (t) => ({
    store: t.field({ type: BackupStore, description: 'The store.', resolve: ({ store }) => store }),
    job: t.field({ type: Job, description: 'The SCAN job; its `scan` tells what was found.', resolve: ({ job }) => job }),
  }),
});

builder.mutationField('scanStore', (t) => t.field({
  type: ScanStorePayload, errors: orViolations('ScanStoreResult'),
  description: 'Looks for every backup in a store, and enters into the catalogue what it does not have: each is read back first, and one that is damaged is entered with its problems. What the catalogue has stays as it is; a MISSING one that is back is SUCCESS again. A store that is being scanned already answers that job.',
  args: { input: t.arg({ type: ScanStoreInput, required: true, description: 'Which store.' }) },
  resolve: (_root, { input }, context) => change('scanStore', context, () => scanStore(context, input.storeName ?? null)),
}));
