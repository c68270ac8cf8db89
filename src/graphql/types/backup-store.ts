import { countStores, listStores } from '../../records/deployments.ts';
import { builder } from '../builder.ts';
import { connectionOf, connectionType, pageArguments } from '../connections.ts';
import { BackupStoreStatusEnum, BackupStoreTypeEnum } from '../enums.ts';
import { BackupStore, idOf, Node } from '../refs.ts';
import { neededColumns } from '../selection.ts';

BackupStore.implement({
  description: 'A place where backups are kept.',
  interfaces: [Node],
  fields: (t) => ({
    id: t.id({ description: 'The global id.', resolve: idOf('BackupStore') }),
    name: t.exposeString('name', { description: 'Its name, by which createBackup chooses it.' }),
    type: t.expose('type', { type: BackupStoreTypeEnum, description: 'What kind of place it is.' }),
    isDefault: t.exposeBoolean('isDefault', { description: 'Whether a backup goes there that names no store.' }),
    requiresPasscode: t.exposeBoolean('requiresPasscode', { description: 'Whether it takes encrypted backups only (2002).' }),
    status: t.expose('status', { type: BackupStoreStatusEnum, description: 'Whether it can be used, as the worker last found it; it looks every two seconds, at an object store that is READY every thirty. A backup is started in a READY one only (2005).' }),
    statusDetail: t.exposeString('statusDetail', { nullable: true, description: 'Why it is not READY, in words; null where it is.' }),
  }),
});

const BackupStoreConnection = connectionType(BackupStore, 'BackupStore', 'backup stores');

builder.queryField('backupStores', (t) => t.field({
  type: BackupStoreConnection, args: pageArguments(t.arg),
  description: 'The backup stores of the deployment file.',
  resolve: (_root, args, context, info) => connectionOf(args,
    (page) => listStores(context.db, { page, columns: neededColumns(info, 'BackupStore') }),
    () => countStores(context.db),
  ),
}));
