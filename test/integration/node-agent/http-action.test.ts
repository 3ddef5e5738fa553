import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { type HttpActionOptions, isHttpSuccess, runHttpAction } from '../../../src/node-agent/http-action.ts';

let server: Server;
let port: number;
const seen: string[] = [];

beforeAll(async () => {
  server = createServer(({ url = '', headers }, response) => {
    seen.push(`${url} ${headers['user-agent']} ${headers['x-probe']}`);
    // Nothing is answered, as by a program that hangs.
    if (url === '/hangs') return;
    response.writeHead(url === '/fails' ? 500 : 204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const run = (action: HttpActionOptions['action'], timeoutMs = 10_000) =>
  runHttpAction({
    action,
    container: { name: 'main', ports: [{ name: 'web', containerPort: port }] },
    podIP: '127.0.0.1',
    timeoutMs,
    clock: systemClock,
  });

it('asks the port of the pod by number or name, with the headers of the action', async () => {
  expect(await run({ port, path: 'ready', httpHeaders: [{ name: 'X-Probe', value: 'yes' }] })).toEqual({
    url: `http://127.0.0.1:${port}/ready`,
    status: 204,
  });
  expect(seen.at(-1)).toBe('/ready kube-probe/1.36 yes');
  expect((await run({ port: 'web' })).url).toBe(`http://127.0.0.1:${port}/`);
  await expect(run({ port: 'other' })).rejects.toThrow("couldn't find port: other in container main");
});

it('counts answers from 200 to 399 as a success', async () => {
  const { status } = await run({ port, path: '/fails' });
  expect(status).toBe(500);
  expect([199, 200, 399, 400].map(isHttpSuccess)).toEqual([false, true, true, false]);
});

it('says why there was no answer', async () => {
  await expect(run({ port, path: '/hangs' }, 100)).rejects.toThrow('context deadline exceeded');
  await expect(run({ port: 1 })).rejects.toThrow('connect: connection refused');
});
