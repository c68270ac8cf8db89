/** A TCP way to a gateway, in this process, which a test cuts. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Way {
  /** The gateway, by this way. */
  readonly url: string;
  /** How many connections stand at the moment. */
  readonly open: number;
  /** How many were made. */
  readonly made: number;
  /** Ends every connection; new ones work. @returns how many it has ended */
  cut(): number;
  close(): Promise<void>;
}

export async function startWay(url: string): Promise<Way> {
  const pairs = new Set<() => void>();
  let made = 0;
  const server = createServer((outer) => {
    made += 1;
    const inner = connect(Number(new URL(url).port), '127.0.0.1');
    const end = () => {
      pairs.delete(end);
      outer.destroy();
      inner.destroy();
    };
    pairs.add(end);
    const join = (from: Socket, to: Socket) => from.on('error', end).on('close', end).pipe(to);
    join(outer, inner);
    join(inner, outer);
  });
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
