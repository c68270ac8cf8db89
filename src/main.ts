/**
 * The process: reads the environment, starts the gateway, tells where it is, and stops it on a signal.
 */
import { createApp } from './app.ts';
import { readConfig } from './config.ts';
import { GatewayError } from './domain/errors.ts';
import { createLog } from './log.ts';

/** How long a stop may take before the process ends all the same, in milliseconds. What is left is recovered on the next start. */
const STOP_LIMIT = 20_000;

/** Runs the gateway until SIGTERM or SIGINT. */
export async function main(): Promise<void> {
  const config = readConfig(process.env, process.cwd());
  const log = createLog(config.logLevel);

  const stopAsked = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
  const gateway = await createApp(config, log).start();
  const link = `${gateway.publicUrl}/graphql`;
  console.log(gateway.adminTokenIsNew
    ? `Backup Gateway is ready. Open ${link}#token=${encodeURIComponent(gateway.adminToken)}`
    : `Backup Gateway is ready. Open ${link}${config.adminToken === null ? ` (the token is in ${config.dataDir}/admin-token)` : ''}`);

  const signal = await stopAsked;
  log.info({ signal }, 'stopping');
  setTimeout(() => {
    log.error('the stop took too long');
    process.exit(1);
  }, STOP_LIMIT).unref();
  await gateway.stop();
  log.info('stopped');
}

try {
  await main();
} catch (error) {
  console.error(error instanceof GatewayError ? error.advice : error);
  process.exit(1);
}
