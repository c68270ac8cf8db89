/**
 * The address of a Postgres server in a deployment file: what it says, and what is wrong with it. No message from
 * here shows any of it: it may hold a password.
 */

/** Where a server is; what messages and manifests may show. */
export interface PostgresPlace {
  /** Host name, address in brackets where it is of version 6, or the directory of a socket. */
  host: string;
  port: number;
}

const DEFAULT_PORT = 5432;

/** `${NAME}`, replaced from the environment of the worker. */
const REFERENCE = /\$\{[A-Za-z_][A-Za-z0-9_]*\}/g;

/** Parameters that would lead elsewhere than what the source says, or hold what belongs before the host. */
const REFUSED = ['dbname', 'hostaddr', 'user', 'password', 'passfile', 'service', 'servicefile'];

/** Reads the address of a server. @returns the fault in words where it is not one. */
export function readPostgresUrl(text: string): PostgresPlace | { fault: string } {
  const parts = /^postgres(?:ql)?:\/\/(?:(?<user>[^@/?#\s]*)@)?(?<host>[^@/?#\s]*)(?<path>\/[^@?#]*)?(?:\?(?<query>[^@#\s]*))?$/.exec(text)?.groups;
  if (parts === undefined) {
    return { fault: 'cannot be read; in user and password, write @ : / ? # and blanks as %40 %3A %2F %3F %23 %20, or take them from the environment with ${NAME}' };
  }
  const { user = '', host = '', path = '', query = '' } = parts;
  if (path.length > 1) return { fault: 'names a database; that belongs into the key database' };
  if (host.includes('$') || path.includes('$')) return { fault: 'takes its host from the environment; ${NAME} may stand in user, password and parameters alone' };
  if (/\$|%(?![0-9A-Fa-f]{2})/.test(`${user}?${query}`.replaceAll(REFERENCE, ''))) {
    return { fault: 'has a $ or % that stands for nothing; write ${NAME} for a variable of the environment, %24 for a $, %25 for a %' };
  }
  const parameters = new URLSearchParams(query);
  const refused = [...parameters.keys()].find((key) => REFUSED.includes(key));
  if (refused !== undefined) return { fault: `has the parameter ${refused}, which is not allowed here` };
  const socket = parameters.get('host');
  if (socket !== null) {
    if (host !== '' || !/^\/[^\s$]*$/.test(socket)) return { fault: 'has the parameter host, which is for the absolute directory of a socket alone, without another host' };
    return withPort(socket.replace(/\/+$/, ''), parameters.get('port'));
  }
  if (parameters.has('port')) return { fault: 'has the parameter port; write it behind the host' };
  const [, name = '', port] = /^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?$/.exec(host) ?? [];
  if (name === '') return { fault: host === '' ? 'names no host' : 'names no single host, with or without a port' };
  return withPort(name.toLowerCase(), port);
}

function withPort(host: string, port: string | null = null): PostgresPlace | { fault: string } {
  if (port === null) return { host, port: DEFAULT_PORT };
  const isPort = /^[0-9]{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65535;
  return isPort ? { host, port: Number(port) } : { fault: 'has a port that is not from 1 to 65535' };
}

/** How a database is named wherever it is shown. */
export const postgresPath = ({ host, port }: PostgresPlace, database: string): string => `${host}:${port}/${database}`;

/** Which server it is, as far as names tell: all ways to this machine are one. */
export function serverOf({ host, port }: PostgresPlace): { name: string; /** Another one on each host. */ isLocal: boolean } {
  const isLocal = host.startsWith('/') || host === 'localhost' || host === '[::1]' || host.startsWith('127.');
  return { name: `${isLocal ? '' : host}:${port}`, isLocal };
}
