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
import './types/verification.ts';
import './types/scan.ts';
import './types/drill.ts';
import './types/restore-plan.ts';
import './types/schedule.ts';
import './types/schedule-mutations.ts';
import './types/schedule-retention.ts';
import './types/feed.ts';
import { builder } from './builder.ts';

export const schema = builder.toSchema({});
