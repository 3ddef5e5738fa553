import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Container, Probe } from '../../../src/api/core/v1/pod.ts';
import type { ContainerRuntime } from '../../../src/node-agent/container-runtime.ts';
import { type ContainerProbes, startProbes } from '../../../src/node-agent/probes.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

let server: Server;
let port: number;
let clock: ManualClock;
let probes: ContainerProbes;
/** Status of the next answers, and exit code of the next commands. */
let status: number;
let exitCode: number;
/** The error of a runtime that is asked for a command; undefined while it answers. */
let away: string | undefined;
/** `TYPE: MESSAGE` of each failure that is reported. */
let failures: string[];
let results: number;

beforeEach(async () => {
  clock = createManualClock();
  status = 200;
  exitCode = 0;
  away = undefined;
  failures = [];
  results = 0;
  server = createServer((_, answer) => answer.writeHead(status).end());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ({ port } = server.address() as AddressInfo);
});
afterEach(() => {
  probes.stop();
  server.closeAllConnections();
  server.close();
});

/** Commands end as the test says; a container of a runtime would need seconds for the same. */
const exec: ContainerRuntime['exec'] = async () => {
  if (away !== undefined) throw new Error(away);
  return { exitCode, timedOut: false, stdout: Buffer.from('looked'), stderr: Buffer.alloc(0) };
};

function start(container: Partial<Container>): void {
  probes = startProbes({
    pod: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: 'default' }, spec: { containers: [] } },
    container: { name: 'main', ...container },
    containerId: 'c',
    podIP: '127.0.0.1',
    startedAt: clock.now(),
    runtime: { exec } as ContainerRuntime,
    clock,
    onChange: () => undefined,
    onFailure: (type, result, message) => failures.push(result === 'failure' ? `${type}: ${message}` : `${type}, ${result}: ${message}`),
    onResult: () => {
      results += 1;
    },
  });
}

/** Moves time until one more probe has a result that counts. */
async function nextResult(stepMs = 1_000): Promise<void> {
  const before = results;
  await until(
    () => {
      if (results === before) clock.advance(stepMs);
      return results > before;
    },
    { what: 'the result of a probe' },
  );
}

/** Time moves while a real connection is under way, which must not be its deadline. */
const every: Partial<Probe> = { periodSeconds: 1, failureThreshold: 3, timeoutSeconds: 3_600 };

it.each([
  ['http', () => ({ httpGet: { port, path: '/healthz' } }), 'HTTP probe failed with statuscode: 500'],
  ['exec', () => ({ exec: { command: ['cat', '/tmp/health'] } }), 'looked'],
  ['tcp', () => ({ tcpSocket: { port } }), undefined],
] as const)('a liveness probe by %s restarts after its threshold of failures in a row, and never before', async (way, handler, message) => {
  start({ livenessProbe: { ...every, ...handler() } as Probe });
  await nextResult();
  await nextResult();
  expect([probes.results.unhealthy, failures]).toEqual([undefined, []]);
  status = 500;
  exitCode = 1;
  if (way === 'tcp') {
    // Errors of a program that listens are not those of its port.
    await nextResult();
    expect([probes.results.unhealthy, failures]).toEqual([undefined, []]);
    server.closeAllConnections();
    server.close();
  }
  await nextResult();
  await nextResult();
  expect(probes.results.unhealthy).toBeUndefined();
  if (way !== 'tcp') {
    status = 200;
    exitCode = 0;
    await nextResult();
    status = 500;
    exitCode = 1;
    await nextResult();
    await nextResult();
    expect(probes.results.unhealthy).toBeUndefined();
  }
  await nextResult();
  expect(probes.results.unhealthy).toBe('liveness');
  expect(failures.at(-1)).toBe(`liveness: ${message ?? `dial tcp 127.0.0.1:${port}: connect: connection refused`}`);
});

it('a readiness probe makes ready after its initial delay, and not before', async () => {
  start({ readinessProbe: { ...every, initialDelaySeconds: 30, exec: { command: ['true'] } } });
  clock.advance(29_000);
  expect([probes.results.ready, results]).toEqual([false, 0]);
  clock.advance(1_000);
  await until(() => probes.results.ready, { what: 'ready' });
});

it('a readiness probe that fails never makes ready, and never restarts', async () => {
  exitCode = 1;
  start({ readinessProbe: { ...every, exec: { command: ['false'] } } });
  for (let n = 0; n < 5; n += 1) await nextResult();
  expect(probes.results).toEqual({ started: true, ready: false, unhealthy: undefined });
});

it('a startup probe holds the others back, and restarts a program that does not start', async () => {
  exitCode = 1;
  const others: Probe = { ...every, httpGet: { port } };
  start({ startupProbe: { ...every, exec: { command: ['false'] } }, livenessProbe: others, readinessProbe: others });
  status = 500;
  await nextResult();
  await nextResult();
  expect(probes.results).toEqual({ started: false, ready: false, unhealthy: undefined });
  await nextResult();
  expect(probes.results.unhealthy).toBe('startup');
  expect(failures.every((failure) => failure.startsWith('startup: '))).toBe(true);
});

it('a runtime that cannot be asked neither restarts a container nor makes it unready, and failures around that add up', async () => {
  const handler = { ...every, failureThreshold: 2, exec: { command: ['true'] } };
  start({ livenessProbe: handler, readinessProbe: handler });
  await until(() => probes.results.ready || clock.advance(50) === undefined, { what: 'readiness' });
  const count = async (wanted: number): Promise<void> => {
    for (let end = results + wanted; results < end; ) await nextResult();
  };
  away = 'the connection broke';
  await count(8);
  expect(probes.results).toEqual({ started: true, ready: true, unhealthy: undefined });
  expect(new Set(failures)).toEqual(new Set(['liveness, unknown: the connection broke', 'readiness, unknown: the connection broke']));
  away = undefined;
  exitCode = 1;
  await count(6);
  expect(probes.results).toEqual({ started: true, ready: false, unhealthy: 'liveness' });
});
