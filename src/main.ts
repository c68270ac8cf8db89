/**
 * The process: reads the command line and the environment, starts its part, tells that it is ready, and stops it on a
 * signal.
 */
import type { Logger } from 'pino';
import { createApp, createWorkerApp, type RunningPart } from './app.ts';
import { readCommand, readConfig, requireShared, USAGE, type Command, type Config } from './config.ts';
import { GatewayError } from './domain/errors.ts';
import { createLog, errorWithoutParameters } from './log.ts';

/** How long a stop may take before the process ends all the same, in milliseconds. What is left is recovered on the next start. */
const STOP_LIMIT = 20_000;
/** How long what was stopped may keep the process: a connection whose network has gone would for minutes. */
const LINGER = 1_000;

/** Runs this process's part until SIGTERM or SIGINT. */
export async function main(args: readonly string[]): Promise<void> {
  const command = readCommand(args);
  if (command.part === 'help') return console.log(USAGE);
  const config = readConfig(process.env, process.cwd());
  if (command.part !== 'all') requireShared(config, command.part);
  const log = createLog(config.logLevel);
  // Node would print the error whole, a failed statement's parameters included.
  process.on('uncaughtException', (error) => {
    log.fatal({ error }, 'an error that nobody caught');
    process.exit(1);
  });

  const stopping = new AbortController();
  const stopAsked = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        stopping.abort();
        resolve(signal);
      });
    }
  });
  let part: RunningPart;
  try {
    part = await start(command, config, log, stopping.signal);
  } catch (error) {
    // A worker that was still waiting for something to do.
    if (stopping.signal.aborted) return log.info('stopped');
    throw error;
  }

  const signal = await stopAsked;
  log.info({ signal }, 'stopping');
  setTimeout(() => {
    log.error('the stop took too long');
    end(1, log);
  }, STOP_LIMIT).unref();
  await part.stop();
  log.info('stopped');
  setTimeout(() => end(0, log), LINGER).unref();
}

/**
 * Ends the process. An exit waits for all threads, also for one that the kernel keeps since a file system does not answer:
 * then only a kill ends it, and whatever there was to stop has been stopped.
 */
function end(code: number, log: Logger): void {
  if (process.getActiveResourcesInfo().some((what) => what.startsWith('FSReq'))) {
    log.warn('a file system still does not answer: the process ends itself by SIGKILL');
    process.kill(process.pid, 'SIGKILL');
  }
  process.exit(code);
}

/** Starts the part, and prints one line once it is ready. */
async function start(command: Exclude<Command, { part: 'help' }>, config: Config, log: Logger, signal: AbortSignal): Promise<RunningPart> {
  if (command.part === 'worker') {
    const worker = await createWorkerApp(config, log, command.hosts, signal).start();
    console.log(`Backup Gateway's worker of ${command.hosts?.join(', ') ?? 'every host'} is ready.`);
    return worker;
  }
  const gateway = await createApp(config, log, { withoutWorker: command.part === 'gateway' }).start();
  const link = `${gateway.publicUrl}/graphql`;
  console.log(gateway.adminTokenIsNew
    ? `Backup Gateway is ready. Open ${link}#token=${encodeURIComponent(gateway.adminToken)}`
    : `Backup Gateway is ready. Open ${link}${config.adminToken === null ? ` (the token is in ${config.dataDir}/admin-token)` : ''}`);
  if (command.part === 'gateway' && config.adminToken === null) log.info('further gateways of this installation need the same token: give each of them ADMIN_TOKEN');
  return gateway;
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof GatewayError ? error.advice : errorWithoutParameters(error));
  process.exit(1);
}
