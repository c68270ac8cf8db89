/** A process that forwards connections: `relay.ts FROM TO`, each `unix:PATH`, `tcp:PORT` or `tcp:ADDRESS:PORT`. */
import { connect, createServer, type Socket } from 'node:net';

/** As Node's `listen` and `connect` understand an end. */
function endOf(text = ''): { path: string } | { host: string; port: number } {
  if (text.startsWith('unix:')) return { path: text.slice('unix:'.length) };
  const [, address, port] = /^tcp:(?:(.+):)?(\d+)$/.exec(text) ?? [];
  return { host: address ?? '127.0.0.1', port: Number(port) };
}

const [from, to] = [endOf(process.argv[2]), endOf(process.argv[3])];
createServer((outer: Socket) => {
  const inner = connect(to);
  for (const [socket, other] of [[outer, inner], [inner, outer]] as const) {
    socket.on('error', () => socket.destroy()).on('close', () => other.destroy());
    socket.pipe(other);
  }
}).listen(from, () => console.log('ready'));
