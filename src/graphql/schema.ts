/**
 * The schema: each noun's file adds its own part.
 */
import './scalars.ts';
import './types/node.ts';
import './types/deployment.ts';
import './types/host.ts';
import './types/backup-configuration.ts';
import './types/backup-store.ts';
import './types/backup.ts';
import './types/backup-list.ts';
import './types/backup-mutations.ts';
import './types/restore.ts';
import './types/job.ts';
import './types/feed.ts';
import { builder } from './builder.ts';

export const schema = builder.toSchema({});
