/**
 * What `/metrics` says, as a scraper reads it.
 */
import type { TestGateway } from './gateway.ts';

/** Names with their labels, and values. Fails where a line is not of the format. */
export async function metricsOf(gateway: Pick<TestGateway, 'url' | 'token'>): Promise<[name: string, value: number][]> {
  const response = await fetch(`${gateway.url}/metrics`, { headers: { authorization: `Bearer ${gateway.token}` } });
  if (response.status !== 200 || !response.headers.get('content-type')?.startsWith('text/plain; version=0.0.4')) throw new Error(`no metrics: ${response.status} ${response.headers.get('content-type')}`);
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [, name, value] = /^([a-z_0-9]+(?:\{.*\})?) (\S+)$/.exec(line) ?? [];
    // A mean of nothing yet is no number, in whatever case: the format allows that.
    if (name === undefined || (Number.isNaN(Number(value)) && value?.toLowerCase() !== 'nan')) throw new Error(`not of the format: ${line}`);
    return [name, Number(value)];
  });
}

/** How many clients have been let go since they did not read. */
export const clientsLetGo = async (gateway: Pick<TestGateway, 'url' | 'token'>): Promise<number> =>
  new Map(await metricsOf(gateway)).get('backup_gateway_clients_let_go_total') ?? 0;
