/**
 * The command line: which part of the program this process is.
 */
import { ConfigError } from '../domain/errors.ts';

/** All in one, or one part of an installation whose parts run apart. */
export type Command =
  | { readonly part: 'all' | 'gateway' }
  /** `hosts`: host names or host_ids as given; null: every host. */
  | { readonly part: 'worker'; readonly hosts: readonly string[] | null }
  | { readonly part: 'help' };

/** What `--help` prints. */
export const USAGE = `Usage: backup-gateway [part]

  (no part)                all in one process
  gateway                  the GraphQL endpoint alone; backups and restores wait for workers
  worker --host NAME       the worker of one host: its hostname, or its id in the deployment. Give --host once more for
                           each further host; the console's worker also looks after the stores
  worker --all-hosts       one worker for every host

  --help                   prints this
  --check                  looks whether this Node can run the program, and does nothing else

Gateways and workers that run apart need the same DATABASE_URL and SECRET_KEY; see docs/split-installation.md.
All settings are environment variables; see docs/CONFIGURATION.md.`;

const HINT = 'See backup-gateway --help.';

/**
 * Reads the arguments behind the program's name.
 * @throws ConfigError listing what cannot be understood
 */
export function readCommand(args: readonly string[]): Command {
  if (args.includes('--help') || args.includes('-h')) return { part: 'help' };
  const [part, ...rest] = args;
  if (part === undefined) return { part: 'all' };
  if (part === 'gateway') {
    if (rest.length > 0) throw unknown(rest);
    return { part };
  }
  if (part === 'worker') return { part, hosts: readHosts(rest) };
  throw unknown([part]);
}

function readHosts(args: readonly string[]): readonly string[] | null {
  const hosts: string[] = [];
  const odd: string[] = [];
  let isForAll = false;
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at] ?? '';
    if (arg === '--all-hosts') isForAll = true;
    else if (arg.startsWith('--host=')) hosts.push(arg.slice('--host='.length));
    else if (arg === '--host') hosts.push(args[at += 1] ?? '');
    else odd.push(arg);
  }
  if (odd.length > 0) throw unknown(odd);
  if (hosts.some((host) => host === '' || host.startsWith('--'))) throw new ConfigError('--host needs the name of a host behind it.', [], HINT);
  // A worker that takes whatever there is would back up this machine's files as another host's.
  if (isForAll === hosts.length > 0) throw new ConfigError('A worker must know whose jobs to do: give --host NAME, or --all-hosts.', [], HINT);
  return isForAll ? null : [...new Set(hosts)];
}

const unknown = (args: readonly string[]): ConfigError =>
  new ConfigError('The command line cannot be understood:', args.map((arg) => `unknown: ${arg}`), HINT);
