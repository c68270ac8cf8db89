/**
 * Ariel data for the sample's event processor: a few megabytes of event records, the same on every machine.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const MINUTES = 60;
const EVENTS_PER_MINUTE = 60;

const KINDS = [
  { source: 'Firewall @ edge-fw1', event: 'Firewall Permit', severity: 1, ports: [443, 80, 53] },
  { source: 'Firewall @ edge-fw1', event: 'Firewall Deny', severity: 4, ports: [22, 445, 3389, 23] },
  { source: 'Linux OS @ app-03', event: 'SSH Session Opened', severity: 2, ports: [22] },
  { source: 'Linux OS @ app-03', event: 'Authentication Failure', severity: 5, ports: [22] },
  { source: 'Windows @ dc01', event: 'Kerberos Ticket Granted', severity: 1, ports: [88] },
  { source: 'Web Proxy @ proxy-1', event: 'Web Request Blocked', severity: 3, ports: [80, 443] },
] as const;

/** Writes three hours of events below `directory`, a file for each minute: `events/records/2026/3/14/8/events~0`. */
export async function writeSampleEvents(directory: string): Promise<void> {
  const next = pseudoRandom(3199);
  for (const hour of [8, 9, 10]) {
    const folder = join(directory, `events/records/2026/3/14/${hour}`);
    await mkdir(folder, { recursive: true });
    for (let minute = 0; minute < MINUTES; minute++) {
      const start = Date.UTC(2026, 2, 14, hour, minute);
      const lines = Array.from({ length: EVENTS_PER_MINUTE }, (_, second) => record(start + second * 1000 + next(1000), next));
      await writeFile(join(folder, `events~${minute}`), `${lines.join('\n')}\n`);
    }
  }
}

function record(time: number, next: (below: number) => number): string {
  const kind = KINDS[next(KINDS.length)] as (typeof KINDS)[number];
  return JSON.stringify({
    startTime: new Date(time).toISOString(),
    logSource: kind.source,
    eventName: kind.event,
    severity: kind.severity,
    sourceIp: `10.20.${next(8)}.${1 + next(254)}`,
    sourcePort: 32768 + next(28000),
    destinationIp: `192.0.2.${1 + next(254)}`,
    destinationPort: kind.ports[next(kind.ports.length)],
    username: next(3) === 0 ? `user${String(next(40)).padStart(2, '0')}` : null,
    payloadDigest: Array.from({ length: 8 }, () => next(0x10000).toString(16).padStart(4, '0')).join(''),
  });
}

/** A small linear congruential generator: seeded, so that two sample sites hold the same bytes. */
function pseudoRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 0x100000000) * below);
  };
}
