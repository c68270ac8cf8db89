/** A TCP way to a gateway, or to several in turn as a balancer has it, in this process, which a test cuts. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Way {
  /** The gateways, by this way. */
  readonly url: string;
  /** How many connections stand at the moment. */
  readonly open: number;
  /** How many were made. */
  readonly made: number;
  /** Ends every connection; new ones work. @returns how many it has ended */
  cut(): number;
  close(): Promise<void>;
}

/** @param urls each connection goes to the next one of them, or to one after that where nobody is there */
export async function startWay(...urls: [string, ...string[]]): Promise<Way> {
  const ports = urls.map((url) => Number(new URL(url).port));
  const pairs = new Set<() => void>();
  let made = 0;
  const server = createServer((outer) => {
    made += 1;
    through(outer, made, ports.length);
  });
  const through = (outer: Socket, turn: number, tries: number) => {
    const inner = connect(ports[turn % ports.length]!, '127.0.0.1');
    const end = () => {
      pairs.delete(end);
      outer.destroy();
      inner.destroy();
    };
    pairs.add(end);
    outer.on('error', end).on('close', end);
    let isJoined = false;
    inner.once('connect', () => {
      isJoined = true;
      inner.on('close', end);
      outer.pipe(inner);
      inner.pipe(outer);
    });
    inner.on('error', () => {
      if (isJoined || tries === 1 || outer.destroyed) return end();
      pairs.delete(end);
      through(outer, turn + 1, tries - 1);
    });
  };
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const cut = () => {
    const { size } = pairs;
    for (const end of pairs) end();
    return size;
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get open() { return pairs.size; },
    get made() { return made; },
    cut,
    async close() {
      server.close();
      cut();
      await once(server, 'close');
    },
  };
}
