import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startGateway, type TestGateway } from './support/gateway.ts';

let gateway: TestGateway;
beforeAll(async () => { gateway = await startGateway(); });
afterAll(() => gateway?.stop());

const EXAMPLE = fileURLToPath(new URL('../examples/watch-backups/main.ts', import.meta.url));

interface Outcome { code: number | null; out: string[]; err: string }

async function run(name: string, env: Record<string, string> = {}, command: string[] = [process.execPath, EXAMPLE, name]): Promise<Outcome> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, {
    env: { PATH: process.env['PATH'], TERM: 'xterm', BACKUP_GATEWAY_URL: gateway.url, TOKEN: gateway.token, ...env }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [outs, errs]: [string[], string[]] = [[], []];
  child.stdout.setEncoding('utf8').on('data', (text: string) => { outs.push(text); });
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errs.push(text); });
  const [code] = await once(child, 'close') as [number | null];
  return { code, out: outs.join('').split('\n'), err: errs.join('') };
}

const STATUSES = ['INITIALIZING', 'IN_PROGRESS', 'SUCCESS'];
/** What the script writes to a terminal before it writes a line anew. */
const CLEAR = '\r\u001B[K';
const statuses = ({ out }: Outcome): string[] => out.map((line) => line.split(CLEAR).at(-1)?.trim() ?? '').filter((line) => /^[A-Z_]+$/.test(line));

describe('examples/watch-backups', () => {
  test('lists, makes and watches a backup, in plain lines where there is no terminal', async () => {
    const first = await run('first');
    expect(first).toMatchObject({ code: 0, err: '' });
    expect(first.out.slice(0, 2)).toEqual(['Backups: 0', 'Making first']);
    expect(statuses(first)).toEqual(STATUSES);
    expect(first.out.join('\n')).toMatch(/MB in \/.*\/backups\//);
    expect(first.out.join('')).not.toContain('\r');

    const second = await run('second');
    expect(second.out.slice(0, 2)).toEqual(['Backups: 1, the newest:', expect.stringMatching(/^ {2}first {2}SUCCESS {2}\d+\.\d MB$/)]);
  });

  test.skipIf(spawnSync('script', ['--version']).status !== 0)('shows a progress bar on a terminal', async () => {
    const shown = await run('on-a-terminal', {}, ['script', '-qec', `'${process.execPath}' '${EXAMPLE}' on-a-terminal`, '/dev/null']);
    expect(shown.code).toBe(0);
    expect(shown.out.flatMap((line) => line.split(CLEAR))).toContainEqual(expect.stringMatching(/^\[#*-*\] +\d+ % {2}\d+\.\d MB/));
    expect(statuses(shown)).toEqual(STATUSES);
  });

  test('tells which rules a request has broken', async () => {
    const { code, err } = await run('not/allowed');
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining('NAME_INVALID_CHARACTERS (1004): ') });
  });

  test('tells of a refused token', async () => {
    expect(await run('x', { TOKEN: 'wrong' })).toMatchObject({ code: 3, err: expect.stringContaining('refuses the token. Set TOKEN') });
    expect(await run('x', { TOKEN: '' })).toMatchObject({ code: 3 });
  });

  test('tells where no gateway answers', async () => {
    expect(await run('x', { BACKUP_GATEWAY_URL: 'http://127.0.0.1:1/' })).toMatchObject({ code: 4, err: expect.stringContaining('No gateway answers at http://127.0.0.1:1/graphql (') });
    expect(await run('x', { BACKUP_GATEWAY_URL: 'nonsense' })).toMatchObject({ code: 4 });
  });

  test('resumes after a dropped connection with its last cursor: every status once', async () => {
    const route = await startCutter(gateway.url, ['"INITIALIZING"', '"IN_PROGRESS"']);
    try {
      const dropped = await run('dropped', { BACKUP_GATEWAY_URL: route.url });
      expect(dropped).toMatchObject({ code: 0, err: '' });
      expect(route.cuts()).toBe(2);
      expect(statuses(dropped)).toEqual(STATUSES);
      expect(dropped.out).toContain('The connection is lost; resuming where it broke off.');
    } finally {
      await route.close();
    }
  });
});

/** The first byte of a WebSocket's message that is a text; no byte of such a text in ASCII. */
const TEXT_FRAME = 0x81;

/** A way to the gateway that cuts a socket once it has passed on a status, for each of these once. */
async function startCutter(url: string, cutAfter: string[]): Promise<{ url: string; cuts(): number; close(): Promise<unknown> }> {
  const left = new Set(cutAfter.map((status) => `"to":${status}`));
  const open = new Set<Socket>();
  const server: Server = createServer((outer) => {
    const inner = connect(Number(new URL(url).port), '127.0.0.1');
    for (const socket of [outer, inner]) {
      open.add(socket);
      socket.on('error', () => undefined).on('close', () => {
        open.delete(socket);
        outer.destroy();
        inner.destroy();
      });
    }
    outer.pipe(inner);
    inner.on('data', (chunk) => {
      const found = [...left].find((text) => chunk.includes(text));
      if (found === undefined) return void outer.write(chunk);
      left.delete(found);
      // What comes later on this socket is lost; the next message too, which begins with the mark of a text frame.
      inner.removeAllListeners('data').pause();
      const next = chunk.indexOf(TEXT_FRAME, chunk.indexOf(found));
      outer.end(next === -1 ? chunk : chunk.subarray(0, next));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`, cuts: () => cutAfter.length - left.size,
    close() {
      server.close();
      for (const socket of open) socket.destroy();
      return once(server, 'close');
    },
  };
}
