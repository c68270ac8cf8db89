/**
 * What a request asks for, read so that no client can make it fail.
 */
import type { IncomingMessage } from 'node:http';

/** Path and query of a request; null where its target or its Host header is none. The host that it names does not matter. */
export function targetOf({ url = '/', headers }: IncomingMessage): URL | null {
  if (headers.host !== undefined && headers.host !== '' && !URL.canParse(`http://${headers.host}/`)) return null;
  // Not as relative to a base: `//name/path` would name another host, and `//` is no URL at all.
  return URL.parse(url.startsWith('/') ? `http://gateway${url}` : url);
}
