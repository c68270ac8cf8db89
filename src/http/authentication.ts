/**
 * Who asks: by a token, over HTTP in a header, on the socket in its connection parameters.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Principal } from '../graphql/context.ts';

/** Answers who bears the token, or null. */
export type Authenticate = (token: string | null) => Principal | null;

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** ADMIN_TOKEN may do all. Compared as digests, in a time that tells nothing of where they differ. */
export function adminOnly(adminToken: string): Authenticate {
  const expected = digest(adminToken);
  const admin: Principal = { name: 'admin', tokenId: expected.toString('hex').slice(0, 16) };
  return (token) => (token !== null && timingSafeEqual(digest(token), expected) ? admin : null);
}

const bearer = (value: unknown): string | null => (typeof value === 'string' ? (/^Bearer +(\S+)$/i.exec(value.trim())?.[1] ?? null) : null);

/** `Authorization: Bearer …`, or the vendor's `SEC` header. */
export function tokenOfHeaders(headers: IncomingHttpHeaders): string | null {
  return bearer(headers.authorization) ?? (typeof headers['sec'] === 'string' ? headers['sec'].trim() : null);
}

/** `connectionParams.authorization`, spelled as the header would be, or `connectionParams.SEC`. */
export function tokenOfParams(params: Readonly<Record<string, unknown>> | undefined): string | null {
  const find = (name: string) => Object.entries(params ?? {}).find(([key]) => key.toLowerCase() === name)?.[1];
  const sec = find('sec');
  return bearer(find('authorization')) ?? (typeof sec === 'string' ? sec : null);
}

/** What a request without a good token is told, on both transports. */
export const UNAUTHENTICATED = {
  message: 'A token is needed: send the header "Authorization: Bearer <token>", or connectionParams.authorization on the socket.',
  code: 'UNAUTHENTICATED',
} as const;
