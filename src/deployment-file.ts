/**
 * `deployment.yaml`: finding it, reading it, and validating it into a `DeploymentSpec`. The schema shipped beside
 * it (`deployment.schema.json`) says what the parts look like; `deployment-file/checks.ts` how they must agree.
 */
import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { checkAddresses, checkAgreement, wellFormed } from './deployment-file/checks.ts';
import { readDocument } from './deployment-file/document.ts';
import { FaultList } from './deployment-file/faults.ts';
import { checkOverlaps } from './deployment-file/overlaps.ts';
import { copySample } from './deployment-file/sample.ts';
import { checkForm } from './deployment-file/form.ts';
import { type FileContent, toSpec } from './deployment-file/spec.ts';
import type { DeploymentSpec } from './domain/deployment.ts';

export { copySample } from './deployment-file/sample.ts';

/**
 * Reads and validates a deployment file. Relative paths in it start at its folder.
 * @throws ConfigError with every fault as `file:line:column`, what is wrong, and what is allowed.
 */
export async function loadDeploymentFile(path: string): Promise<DeploymentSpec> {
  const file = resolve(path);
  const document = await readDocument(file);
  const faults = new FaultList(file, document);
  checkForm(document.value, faults);
  // What is well formed is checked further even if other parts are not, so that one start shows all there is.
  const sound = wellFormed(document.value, faults);
  checkAgreement(sound, faults);
  checkAddresses(sound, faults);
  await checkOverlaps(sound, dirname(file), faults);
  faults.throwIfAny();
  return toSpec(document.value as FileContent, dirname(file));
}

/**
 * The deployment file to use: the configured one, else `deployment.yaml` of the working directory if it is there,
 * else the bundled sample, copied into DATA_DIR on the first start.
 */
export async function resolveDeploymentFile(
  config: { readonly deploymentFile: string | null; readonly dataDir: string },
  cwd = process.cwd(),
): Promise<string> {
  if (config.deploymentFile !== null) return config.deploymentFile;
  const own = resolve(cwd, 'deployment.yaml');
  const isThere = await stat(own).then((found) => !found.isDirectory(), () => false);
  return isThere ? own : copySample(config.dataDir);
}
