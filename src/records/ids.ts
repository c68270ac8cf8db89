/**
 * How a request names a record: by the gateway's id, or by the vendor's number within the default deployment.
 */
import { sql, type SQL } from 'drizzle-orm';

/** `id` is the gateway's own; `number` the documented one (`host_id`, `configuration_id`) of the default deployment. */
export type RecordRef = { by: 'id'; id: number } | { by: 'number'; number: number };

/** The default deployment's id, as a subquery. */
export const DEFAULT_DEPLOYMENT: SQL = sql`(select d.id from deployments d where d.is_default)`;
