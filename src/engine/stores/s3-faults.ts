/**
 * Turns what the SDK and a server of the S3 protocol answer into the engine's errors, with what to do about them.
 */
import type { S3Spec } from '../../domain/deployment.ts';
import { EngineError, GatewayError, type EngineFault } from '../../domain/errors.ts';
import { errnoOf } from '../faults.ts';

/** What is known of a failed request: the error's name, the answer's status, the region that the server asks for. */
export interface Symptoms {
  name: string;
  /** 0 where there was no answer. */
  status: number;
  /** `code` of a system error. */
  errno: string | null;
  /** The error's own text. The SDK puts no credentials into it. */
  text: string;
  region: string | null;
}

/** The properties that errors of the SDK may have. */
interface SdkError {
  name?: unknown;
  cause?: unknown;
  Region?: string;
  $metadata?: { httpStatusCode?: number };
  $response?: { statusCode?: number; headers?: Record<string, string> };
}

/** What a thrown value of the SDK says. */
export function symptomsOf(error: unknown): Symptoms {
  const { name = '', cause, Region: region, $metadata: metadata, $response: response }: SdkError = typeof error === 'object' && error !== null ? error : {};
  return {
    name: String(name),
    status: metadata?.httpStatusCode ?? response?.statusCode ?? 0,
    errno: errnoOf(error) ?? errnoOf(cause),
    text: error instanceof Error && !['', 'UnknownError', 'Error'].includes(error.message) ? error.message.replace(/\.$/, '') : String(name === '' ? error : name),
    region: region ?? response?.headers?.['x-amz-bucket-region'] ?? null,
  };
}

/** Words that servers have for "no more room", besides the statuses 413 and 507. */
const FULL = new Set(['QuotaExceeded', 'EntityTooLarge', 'InsufficientStorage', 'InsufficientCapacity', 'XMinioStorageFull', 'XMinioAdminBucketQuotaExceeded', 'StorageFull']);
const WRONG_KEY = new Set(['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'AuthFailure']);
const EXPIRED = new Set(['ExpiredToken', 'ExpiredTokenException', 'TokenRefreshRequired', 'InvalidToken', 'RequestExpired']);
const WRONG_REGION = new Set(['PermanentRedirect', 'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException', 'TemporaryRedirect', 'IncorrectEndpoint']);
const UNREACHABLE = new Set(['ECONNREFUSED', 'ECONNRESET', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'EPIPE', 'ETIMEDOUT', 'EAI_AGAIN']);
/** Failures that another try may not meet: of the network, of a busy server, of bytes that were changed on their way. */
const PASSING = new Set([
  'TimeoutError', 'SlowDown', 'RequestTimeout', 'InternalError', 'ServiceUnavailable', 'Throttling', 'ThrottlingException', 'TooManyRequests',
  'OperationAborted', 'ConditionalRequestConflict', 'BadDigest', 'XAmzContentSHA256Mismatch', 'IncompleteBody', 'RequestTimeTooSkewed',
]);

/** Whether another try may go well. */
export function isPassing({ name, status, errno }: Symptoms): boolean {
  if (FULL.has(name)) return false;
  return PASSING.has(name) || (errno !== null && UNREACHABLE.has(errno)) || [408, 429, 500, 502, 503, 504].includes(status);
}

/** Whether the server does not know a header or an operation at all. */
export const isNotImplemented = (error: unknown): boolean => {
  const { name, status } = symptomsOf(error);
  return name === 'NotImplemented' || name === 'MethodNotAllowed' || status === 501 || status === 405;
};

export const isConditionFailed = (error: unknown): boolean => symptomsOf(error).status === 412 || symptomsOf(error).name === 'PreconditionFailed';

/** The server answers that there is no such key or upload. A missing bucket is none of these. */
export function isNoSuch(error: unknown): boolean {
  const { name, status } = symptomsOf(error);
  return name !== 'NoSuchBucket' && (status === 404 || name === 'NoSuchKey' || name === 'NoSuchUpload' || name === 'NotFound');
}

/** What a failed request to a store means. Errors of the engine pass unchanged. */
export function s3Fault(error: unknown, spec: S3Spec, label: string): GatewayError {
  if (error instanceof GatewayError) return error;
  const [code, what, hint] = diagnose(symptomsOf(error), spec, label);
  return new EngineError(code, what, hint, { cause: error });
}

function diagnose(symptoms: Symptoms, spec: S3Spec, label: string): [EngineFault, string, string] {
  const { name, status, errno, text } = symptoms;
  const server = serverOf(spec);
  const isNameless = ['', 'Error', 'Unknown', 'UnknownError', String(status)].includes(name);
  if (FULL.has(name) || status === 413 || status === 507) {
    return ['STORE_FULL', `The backup store ${label} is full: ${text}.`, 'Delete backups, shorten the retention, or raise the quota of the bucket, then try again.'];
  }
  const [what, hint] = explain();
  return ['STORE_UNREACHABLE', `The backup store ${label} cannot be read or written: ${what}.`, hint];

  function explain(): [string, string] {
    if (/credential/i.test(name) || /could not load credentials|resolved credential/i.test(text)) {
      return ['there are no credentials', 'Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of the worker, or give its machine a role.'];
    }
    if (WRONG_KEY.has(name)) {
      return [`${server} does not accept the access key or its secret (${name})`, 'Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment of the worker, and start it again.'];
    }
    if (EXPIRED.has(name)) return [`the credentials have expired (${name})`, 'Renew them, and start the worker again where they come from its environment.'];
    if (name === 'RequestTimeTooSkewed') return [`the clock of this machine is not the one of ${server}`, 'Set the clock, and keep it right by NTP.'];
    if (WRONG_REGION.has(name) || status === 301 || status === 307) {
      const region = symptoms.region ?? /expecting '([a-z0-9-]+)'/.exec(text)?.[1];
      return [`the bucket is not in the region ${spec.region}`, region === undefined ? 'Correct region in the deployment file.' : `Set region to ${region} in the deployment file.`];
    }
    if (name === 'NoSuchBucket' || status === 404) return [`there is no bucket ${spec.bucket} on ${server}`, 'Create it, or correct bucket and endpoint in the deployment file.'];
    if (name === 'InvalidBucketName') return [`${server} takes ${spec.bucket} for no name of a bucket`, 'Correct bucket in the deployment file.'];
    if (name === 'InvalidObjectState') return ['the object is archived in cold storage', 'Have it restored there first; see that no lifecycle rule of the bucket moves backups away.'];
    if (status === 401 || status === 403) {
      return [`${server} forbids it (${isNameless ? status : name})`,
        'The credentials need s3:ListBucket and s3:ListBucketMultipartUploads on the bucket, and s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on its objects.'];
    }
    if (errno === 'ENOTFOUND') return [`the name of ${server} is not known`, 'Correct endpoint or region in the deployment file, and see that names are resolved.'];
    if (errno !== null && /CERT|SELF_SIGNED|VERIFY|ALTNAME/.test(errno)) {
      return [`the certificate of ${server} is not trusted (${errno})`, 'Name its authority in NODE_EXTRA_CA_CERTS in the environment of the worker.'];
    }
    if (errno === 'EPROTO' || (errno ?? '').startsWith('ERR_SSL')) return [`${server} does not speak TLS (${errno})`, 'Correct endpoint in the deployment file: http:// or https://.'];
    if (name === 'TimeoutError' || name === 'AbortError' || (errno !== null && UNREACHABLE.has(errno))) {
      return [`${server} does not answer (${errno ?? 'no answer in time'})`, 'See that it runs and can be reached from the worker.'];
    }
    if (status >= 500 || status === 429 || PASSING.has(name)) return [`${server} is in trouble (${isNameless ? status : name})`, 'Wait until it is well again, and look at its own log.'];
    if (/deserializ|is not expected|parse/i.test(text)) return [`what ${server} answers is not the S3 protocol`, 'Correct endpoint in the deployment file.'];
    return [text, 'Look at the log of the worker and of the object store.'];
  }
}

/** Host and port of the server, without anything else that an address may hold. */
function serverOf({ endpoint, region }: S3Spec): string {
  return endpoint !== undefined && URL.canParse(endpoint) ? new URL(endpoint).host : `S3 in ${region}`;
}
