/**
 * Which kind of store it is.
 */
import type { S3Spec } from '../../domain/deployment.ts';
import { EngineError } from '../../domain/errors.ts';
import type { StoreType } from '../../domain/vocabulary.ts';
import type { Store } from './contract.ts';
import { DirectoryStore } from './directory.ts';
import { openS3Store } from './s3.ts';

/** Where a store is, as the deployment declares it. */
export interface StoreSpec {
  type: StoreType;
  /** Absolute path of a DIRECTORY store. */
  path: string;
  /** Of an S3 store; null for any other. */
  s3: S3Spec | null;
}

/**
 * The store behind a declaration. Touches nothing yet.
 *
 * @throws EngineError STORE_UNREACHABLE where an S3 store is declared without its bucket
 */
export function openStore({ type, path, s3 }: StoreSpec): Store {
  if (type === 'DIRECTORY') return new DirectoryStore(path);
  if (s3 !== null) return openS3Store(s3);
  throw new EngineError('STORE_UNREACHABLE', 'The store is declared as S3 without saying which bucket.',
    'Declare its bucket and region in the deployment file, and deploy.');
}
