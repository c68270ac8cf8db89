/**
 * Machines on a network of their own: network namespaces of Linux on one switch, whose cables a test pulls. Nothing of
 * it can be reached from outside, and nothing outside from it. Needs root.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Names tell whose they are, so that what a killed test left can be found. */
const NAME = /^bg-net-(\d+)-/;
const RELAY = fileURLToPath(new URL('./relay.ts', import.meta.url));

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });

/** Whether namespaces can be made here; where not, a CI run fails instead of leaving tests out. */
export function canMakeNetworks(): boolean {
  let can = process.geteuid?.() === 0;
  if (can) {
    const probe = `bg-net-${process.pid}-probe`;
    try {
      ip('netns', 'add', probe);
      ip('netns', 'del', probe);
    } catch {
      can = false;
    }
  }
  if (!can && process.env['CI'] !== undefined) throw new Error('The network tests need root, and ip (Debian: iproute2).');
  return can;
}

export interface Machine {
  readonly address: string;
  /** What runs a command on it: to be put in front of the command. */
  readonly prefix: readonly string[];
  /** From now on nothing comes or goes, and nobody is told. */
  pullCable(): void;
  plugCable(): void;
  /** Forwards connections from one end to another, both `tcp:PORT` or `tcp:ADDRESS:PORT`, or `unix:PATH`, seen from this machine. */
  relay(from: string, to: string): Promise<void>;
  /**
   * A way for the test itself, which is on no machine of the network: a URL of loopback that leads to `tcp:PORT` or
   * `tcp:ADDRESS:PORT` as seen from this machine. A pulled cable does not cut it off from the machine's own ports.
   */
  door(to: string): Promise<string>;
}

export interface Network {
  machine(name: string): Machine;
  /** Ends every process on its machines, and removes it. */
  remove(): Promise<void>;
}

/** Makes a switch without machines; first removes what tests left that were killed. */
export function makeNetwork(): Network {
  for (const name of names()) {
    const owner = Number(NAME.exec(name)?.[1]);
    if (!isAlive(owner)) removeNamespace(name);
  }
  const prefix = `bg-net-${process.pid}-`;
  const hub = `${prefix}switch`;
  const made = [hub];
  const relays: ChildProcess[] = [];
  const doors: Server[] = [];
  const directory = mkdtempSync(join(tmpdir(), 'bg-net-'));
  ip('netns', 'add', hub);
  ip('-n', hub, 'link', 'add', 'bridge', 'type', 'bridge');
  ip('-n', hub, 'link', 'set', 'bridge', 'up');
  return {
    machine(name) {
      const namespace = prefix + name;
      const number = made.push(namespace);
      const [port, address] = [`port${number}`, `10.77.0.${number}`];
      ip('netns', 'add', namespace);
      ip('-n', hub, 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
      ip('-n', hub, 'link', 'set', port, 'master', 'bridge', 'up');
      ip('-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      for (const link of ['lo', 'eth0']) ip('-n', namespace, 'link', 'set', link, 'up');
      const machine: Machine = {
        address, prefix: ['ip', 'netns', 'exec', namespace],
        // At the switch: the machine keeps its routes, so that what it sends is lost and not refused.
        pullCable: () => void ip('-n', hub, 'link', 'set', port, 'down'),
        plugCable: () => void ip('-n', hub, 'link', 'set', port, 'up'),
        async relay(from, to) {
          const [command = '', ...rest] = [...machine.prefix, process.execPath, RELAY, from, to];
          const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
          relays.push(child);
          await once(child.stdout, 'data');
        },
        async door(to) {
          // Sockets of the file system are of no network.
          const path = join(directory, `door-${doors.length}`);
          const server = createServer((outer) => {
            const inner = connect(path);
            for (const [socket, other] of [[outer, inner], [inner, outer]] as const) {
              socket.on('error', () => socket.destroy()).on('close', () => other.destroy());
              socket.pipe(other);
            }
          });
          doors.push(server);
          await machine.relay(`unix:${path}`, to);
          await once(server.listen(0, '127.0.0.1'), 'listening');
          return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
        },
      };
      return machine;
    },
    async remove() {
      const gone = relays.filter((relay) => relay.exitCode === null).map((relay) => once(relay, 'exit'));
      for (const namespace of made.toReversed()) removeNamespace(namespace);
      await Promise.all(gone);
      for (const door of doors) door.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function names(): string[] {
  return ip('netns', 'list').split('\n').map((line) => line.split(' ')[0] ?? '').filter((name) => NAME.test(name));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function removeNamespace(name: string): void {
  for (const pid of ip('netns', 'pids', name).split('\n').filter((line) => line !== '')) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // It has ended meanwhile.
    }
  }
  ip('netns', 'del', name);
}
