/**
 * How a Postgres database is reached: the declared address, with what it takes from the environment, in the form in which
 * Postgres's own programs find it. The password goes through their environment and appears nowhere else.
 */
import { EngineError } from '../../domain/errors.ts';
import type { PostgresSource } from '../../domain/deployment.ts';

export interface PostgresAccess {
  /** How messages name the database. */
  path: string;
  /** For the environment of a program. */
  env: Record<string, string>;
  /** For the argument `--dbname`: what has no place in the environment, and is no secret. */
  conninfo: string;
  /** Takes the password out of a text, should a program ever repeat it. */
  hide(text: string): string;
}

/** Parameters of the address, and the variable by which libpq takes each. Source: its documentation, "Environment Variables". */
const VARIABLES: Record<string, string> = {
  sslmode: 'PGSSLMODE', sslnegotiation: 'PGSSLNEGOTIATION', sslcert: 'PGSSLCERT', sslkey: 'PGSSLKEY', sslrootcert: 'PGSSLROOTCERT',
  sslcrl: 'PGSSLCRL', sslcrldir: 'PGSSLCRLDIR', sslsni: 'PGSSLSNI', ssl_min_protocol_version: 'PGSSLMINPROTOCOLVERSION',
  ssl_max_protocol_version: 'PGSSLMAXPROTOCOLVERSION', channel_binding: 'PGCHANNELBINDING', require_auth: 'PGREQUIREAUTH',
  requirepeer: 'PGREQUIREPEER', gssencmode: 'PGGSSENCMODE', krbsrvname: 'PGKRBSRVNAME', target_session_attrs: 'PGTARGETSESSIONATTRS',
  connect_timeout: 'PGCONNECT_TIMEOUT', options: 'PGOPTIONS', application_name: 'PGAPPNAME',
};

/** A server that is switched off must not hold a backup for ever. */
const CONNECT_TIMEOUT_SECONDS = '10';
/** Nor one that vanishes in the middle: a silent connection is tried, and given up after about two minutes. */
const KEEPALIVES = { keepalives_idle: '60', keepalives_interval: '15', keepalives_count: '4' };

/**
 * @param environment where `${NAME}` comes from
 * @throws EngineError DATABASE_UNREACHABLE where a variable is not set, or a parameter cannot be handed on
 */
export function accessTo(source: PostgresSource, environment: Readonly<NodeJS.ProcessEnv> = process.env): PostgresAccess {
  const { path, database } = source;
  const parts = /^postgres(?:ql)?:\/\/(?:(?<user>[^:@/?#]*)(?::(?<password>[^@/?#]*))?@)?(?<host>[^@/?#]*)\/?(?:\?(?<query>[^#]*))?$/.exec(source.url)?.groups;
  if (parts === undefined) throw unusable(path, 'its address cannot be read', 'Write it as postgres://user:${PASSWORD}@host:port into the deployment file.');
  const value = (text: string): string => filledIn(text, path, environment);
  const [, host = '', port = '5432'] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(parts['host'] ?? '') ?? [];
  const env: Record<string, string> = {
    PGHOST: host.replace(/^\[(.*)\]$/, '$1'), PGPORT: port, PGDATABASE: database,
    PGCONNECT_TIMEOUT: CONNECT_TIMEOUT_SECONDS, PGAPPNAME: 'backup-gateway',
    // Where a person keeps .pgpass and certificates.
    ...(environment['HOME'] === undefined ? {} : { HOME: environment['HOME'] }),
  };
  const [user, password] = [value(parts['user'] ?? ''), value(parts['password'] ?? '')];
  if (user !== '') env['PGUSER'] = user;
  if (password !== '') env['PGPASSWORD'] = password;
  const keepalives: Record<string, string> = { ...KEEPALIVES };
  for (const parameter of (parts['query'] ?? '').split('&').filter((text) => text !== '')) {
    const at = parameter.indexOf('=');
    const [key, given] = at < 0 ? [parameter, ''] : [parameter.slice(0, at), value(parameter.slice(at + 1).replaceAll('+', ' '))];
    const variable = key === 'host' ? 'PGHOST' : key === 'port' ? 'PGPORT' : VARIABLES[key];
    if (variable !== undefined) env[variable] = given;
    else if (/^(keepalives\w*|tcp_user_timeout)$/.test(key) && /^\d{1,9}$/.test(given)) keepalives[key] = given;
    else throw unusable(path, `its address has the parameter ${key}, which cannot be handed to pg_dump`, `Take it out; ${Object.keys(VARIABLES).join(', ')} and keepalives are known.`);
  }
  return {
    path, env,
    conninfo: Object.entries(keepalives).map(([key, given]) => `${key}=${given}`).join(' '),
    hide: (text) => (password.length < 4 ? text : text.replaceAll(password, '***')),
  };
}

/** Decodes a part of the address; what comes from the environment is taken as it is. */
function filledIn(text: string, path: string, environment: Readonly<NodeJS.ProcessEnv>): string {
  return text.split(/(\$\{[A-Za-z_]\w*\})/).map((part) => {
    const name = /^\$\{(.*)\}$/.exec(part)?.[1];
    if (name === undefined) return decoded(part, path);
    const given = environment[name];
    if (given === undefined) {
      throw unusable(path, `its address takes ${name} from the environment, where it is not set`, `Set ${name} for the process that runs the worker, and start it again.`);
    }
    return given;
  }).join('');
}

function decoded(text: string, path: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw unusable(path, 'its address has a % that stands for nothing', 'Write %25 for a %.');
  }
}

function unusable(path: string, reason: string, hint: string): EngineError {
  return new EngineError('DATABASE_UNREACHABLE', `The database ${path} cannot be reached: ${reason}.`, hint);
}
