/**
 * PLAN jobs: what a restore would change, found out on the console, where the targets are.
 */
import { GatewayError } from '../domain/errors.ts';
import type { RestorePlanReport } from '../domain/reports.ts';
import * as engine from '../engine/index.ts';
import { backupOf, begin, complete, endings } from './checks.ts';
import type { Operation } from './context.ts';
import { storeOf } from './store-of.ts';

export const planOperation: Operation = {
  async run(context, run) {
    await begin(context, run);
    const { backup, store: row, deployment } = await backupOf(context, run);
    const store = storeOf(row);
    const content = deployment.deployed.hosts.find((host) => host.console)?.content ?? {};
    const targets = (run.job.groups ?? []).flatMap((group) => {
      const sources = content[group];
      if (sources === undefined) throw new GatewayError('TARGET_UNKNOWN', `The deployment does not say where ${group} belongs.`, 'Declare the group under the console\'s content in the deployment file, and deploy.');
      return sources.map((source) => ({ group, source }));
    });
    const identity = run.job.sealedIdentity === null ? null : context.sealing.open(run.job.sealedIdentity);
    const report: RestorePlanReport = {
      groups: await engine.planRestore({ backup: store.open(backup.directory), groups: run.job.groups ?? [], targets, identity, storePath: store.localPath }, {
        signal: run.signal, onProgress: (progress) => run.progress(progress),
      }),
    };
    await complete(context, run, { result: report }, async () => undefined);
  },
  ...endings,
};
