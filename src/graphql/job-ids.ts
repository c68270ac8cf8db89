/**
 * Jobs have a third name: the documented jobId.
 */
import { findIdOfJob } from '../records/jobs.ts';
import { ownId } from '../services/context.ts';
import type { RequestContext } from './context.ts';
import { readId } from './ids.ts';

const JOB_ID = /^j[0-9a-f]{8}-[0-9a-f-]{27}$/;

/** Reads a job's global id, jobId or number; null where there can't be such a job. */
export async function readJobId(id: string, context: RequestContext): Promise<number | null> {
  return JOB_ID.test(id) ? await findIdOfJob(context.db, id) ?? null : ownId(readId('Job', id));
}
