import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { systemClock } from '../../../src/base/clock.ts';
import { checkGrpcHealth } from '../../../src/node-agent/grpc-health.ts';

let server: Http2Server;
let port: number;
/** Path, user agent and bytes of the last call. */
let seen = '';
const longName = 'a'.repeat(200);

/** Frames of the answers by the service that is asked for; the head is a flag and a length. */
const answers: Readonly<Record<string, readonly number[] | undefined>> = {
  '': [0, 0, 0, 0, 2, 0x08, 1],
  [longName]: [0, 0, 0, 0, 2, 0x08, 1],
  drains: [0, 0, 0, 0, 2, 0x08, 2],
  unknown: [0, 0, 0, 0, 0],
};

beforeAll(async () => {
  server = createServer();
  server.on('stream', (stream, headers) => {
    const parts: Buffer[] = [];
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('error', () => undefined);
    stream.on('end', () => {
      const message = Buffer.concat(parts).subarray(5);
      seen = `${headers[':path']} ${headers['user-agent']} ${message.toString('hex')}`;
      const service = message.subarray(message.length > 129 ? 3 : 2).toString();
      if (service === 'hangs') return;
      const answer = answers[service];
      const status = answer === undefined ? { 'grpc-status': '12', 'grpc-message': 'unknown service' } : { 'grpc-status': '0' };
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers(status));
      stream.end(Buffer.from(answer ?? []));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterAll(() => new Promise((resolve) => server.close(resolve)));

const check = (service: string, timeoutMs = 10_000, at = port) =>
  checkGrpcHealth({ host: '127.0.0.1', port: at, service, timeoutMs, clock: systemClock });

it('asks the standard health service for the server, or for one service', async () => {
  await check('');
  expect(seen).toBe('/grpc.health.v1.Health/Check kube-probe/1.36 ');
  await check(longName);
  // The length of a long name takes two bytes.
  expect(seen).toBe(`/grpc.health.v1.Health/Check kube-probe/1.36 0ac801${Buffer.from(longName).toString('hex')}`);
});

it('fails for a service that does not serve, in the words of the kubelet', async () => {
  await expect(check('drains')).rejects.toThrow('service unhealthy (responded with "NOT_SERVING")');
  await expect(check('unknown')).rejects.toThrow('service unhealthy (responded with "UNKNOWN")');
  await expect(check('other')).rejects.toThrow('this server does not implement the grpc health protocol');
});

it('fails for a server that is not there, or takes too long', async () => {
  await expect(check('hangs', 100)).rejects.toThrow(`timeout: failed to connect service "127.0.0.1:${port}" within 0.1s`);
  await expect(check('', 10_000, 1)).rejects.toThrow(/timeout: failed to connect service "127\.0\.0\.1:1" within 10s: .*ECONNREFUSED/);
});
