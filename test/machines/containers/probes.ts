import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { busyboxImage } from '../../support/containerd.ts';
import { until } from '../../support/until.ts';
import { type ContainerWorld, onMachine } from './world.ts';

/** A server of the standard health service. It serves unless the file is there, which its next run removes. */
const healthServer = `
  const { existsSync, rmSync } = require("node:fs");
  const [sick] = process.argv.slice(1);
  rmSync(sick, { force: true });
  require("node:http2").createServer().on("stream", (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(Buffer.from([0, 0, 0, 0, 2, 8, existsSync(sick) ? 2 : 1]));
  }).listen(9000);`;

/** Probes of every kind, and what follows the end of a program: both looked at inside containers. */
export function probeTests(world: ContainerWorld): void {
  const { kubectl, apply, fieldOf, eventsOf } = world;
  /** A directory of the machine, which the containers have as `/state`. */
  const stateOf = async (name: string): Promise<{ readonly directory: string; readonly spec: object }> => {
    const directory = join(world.hostDirectory, name);
    await mkdir(directory, { recursive: true });
    return { directory, spec: { terminationGracePeriodSeconds: 0, volumes: [{ name: 'state', hostPath: { path: directory } }] } };
  };
  const sh = (name: string, script: string, changes: object = {}) => ({
    name,
    image: busyboxImage,
    command: ['sh', '-c', script],
    volumeMounts: [{ name: 'state', mountPath: '/state' }],
    ...changes,
  });
  const pod = (name: string, spec: object) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec });
  const command = (script: string) => ({ exec: { command: ['sh', '-c', script] } });
  const statusOf = (name: string, container: string, path: string): Promise<string> =>
    fieldOf(name, `.status.containerStatuses[?(@.name=="${container}")].${path}`);

  it('are probed by commands, requests, connections and calls, and only those restart that fail', async () => {
    const { directory, spec } = await stateOf('probed');
    const often = { periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 1 };
    /** A program takes a while to listen, or to remove its file. Tries that fail meanwhile do not count. */
    const slowly = { ...often, failureThreshold: 20 };
    const forever = 'while :; do sleep 0.1; done';
    await apply(
      pod('probed', {
        ...spec,
        volumes: [
          { name: 'state', hostPath: { path: directory } },
          { name: 'machine', hostPath: { path: '/' } },
        ],
        containers: [
          sh('command', `rm -f /state/command; ${forever}`, {
            startupProbe: { ...slowly, ...command('test ! -e /state/command') },
            livenessProbe: { ...often, ...command('test ! -e /state/command') },
          }),
          sh(
            'request',
            'rm -f /state/request; mkdir -p /www && echo well > /www/health; httpd -p 8080 -h /www; until [ -e /state/request ]; do sleep 0.1; done; rm /www/health; sleep 1000',
            {
              startupProbe: { ...slowly, httpGet: { port: 8080, path: '/health' } },
              livenessProbe: { ...often, httpGet: { port: 8080, path: '/health' } },
            },
          ),
          sh(
            'connection',
            'rm -f /state/connection; nc -ll -p 8081 -e true & until [ -e /state/connection ]; do sleep 0.1; done; kill $!; sleep 1000',
            {
              startupProbe: { ...slowly, tcpSocket: { port: 8081 } },
              livenessProbe: { ...often, tcpSocket: { port: 8081 } },
            },
          ),
          {
            ...onMachine('call', healthServer, join(directory, 'call')),
            startupProbe: { ...slowly, grpc: { port: 9000 } },
            livenessProbe: { ...often, grpc: { port: 9000 } },
          },
          sh('late', forever, {
            startupProbe: { ...often, failureThreshold: 60, ...command('test -e /state/late') },
            livenessProbe: { ...often, ...command('touch /state/late-asked; test -e /state/late') },
          }),
          sh('unready', forever, { readinessProbe: { ...often, ...command('test ! -e /state/unready') } }),
        ],
      }),
      pod('stuck', {
        ...spec,
        restartPolicy: 'Never',
        containers: [sh('main', forever, { startupProbe: { ...often, ...command('echo not yet; false') } })],
      }),
    );
    const sick = ['command', 'request', 'connection', 'call'];
    const namesOf = (field: string, value: string): Promise<string> =>
      fieldOf('probed', `.status.containerStatuses[?(@.${field}==${value})].name`);
    const isReady = async (wanted: string): Promise<boolean> =>
      (await fieldOf('probed', '.status.conditions[?(@.type=="Ready")].status')) === wanted;
    const restarts = async (): Promise<Readonly<Record<string, number>>> =>
      Object.fromEntries(
        (await fieldOf('probed', '.status.containerStatuses[*].restartCount')).split(' ').map((count, index) => {
          const name = ['call', 'command', 'connection', 'late', 'request', 'unready'][index] ?? '';
          return [name, Number(count)];
        }),
      );
    const untilReady = (wanted: string, what: string) => until(() => isReady(wanted), { what, timeoutMs: 20_000 });

    // A startup probe holds the liveness probe back, which would have ended the program after a second.
    await until(async () => (await namesOf('started', 'true')).split(' ').length === 5, { what: 'all but one have started' });
    await until(async () => (await fieldOf('stuck', '.status.phase')) === 'Failed', { what: 'the end of a program that does not start' });
    expect([await namesOf('started', 'false'), existsSync(join(directory, 'late-asked'))]).toEqual(['late', false]);
    await writeFile(join(directory, 'late'), '');
    await untilReady('True', 'all are ready');
    await until(() => existsSync(join(directory, 'late-asked')), { what: 'the liveness probe, after the startup probe' });

    await writeFile(join(directory, 'unready'), '');
    await untilReady('False', 'one is not ready');
    expect(await namesOf('ready', 'false')).toBe('unready');
    await rm(join(directory, 'unready'));
    await untilReady('True', 'all are ready again');
    const none = { call: 0, command: 0, connection: 0, late: 0, request: 0, unready: 0 };
    expect(await restarts()).toEqual(none);

    for (const name of sick) await writeFile(join(directory, name), '');
    await until(async () => sick.every((name) => !existsSync(join(directory, name))), { what: 'each has run again' });
    await untilReady('True', 'all run and are ready');
    expect(await restarts()).toEqual({ ...none, call: 1, command: 1, connection: 1, request: 1 });
    for (const name of sick) expect([name, await statusOf('probed', name, 'lastState.terminated.exitCode')]).toEqual([name, '137']);

    const seen = await eventsOf('probed');
    for (const name of sick) expect(seen).toContain(`Killing: Container ${name} failed liveness probe, will be restarted`);
    expect(seen).toContain('Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 404');
    expect(seen).toMatch(/Unhealthy: Liveness probe failed: dial tcp \S+:8081: connect: connection refused/);
    expect(seen).toContain('Unhealthy: Liveness probe failed: service unhealthy (responded with "NOT_SERVING")');
    expect(await eventsOf('stuck')).toContain('Unhealthy: Startup probe failed: not yet');
    expect(await statusOf('stuck', 'main', 'restartCount')).toBe('0');
    await kubectl('delete', 'pod', 'probed', 'stuck', '--wait=false');
  });

  it('run again as the policy of their pod says, after init containers one by one and beside sidecars', async () => {
    const { directory, spec } = await stateOf('runs');
    const counted = (name: string, then: string) => sh(name, `echo run >> /state/${name}; ${then}`);
    const linesOf = async (name: string): Promise<readonly string[]> =>
      (await readFile(join(directory, name), 'utf8').catch(() => '')).trim().split('\n');
    const step = (word: string) => `echo ${word} >> /state/steps`;
    await apply(
      pod('on-failure', {
        ...spec,
        restartPolicy: 'OnFailure',
        containers: [counted('fails-once', '[ $(wc -l < /state/fails-once) -gt 1 ] || exit 3'), counted('succeeds', 'true')],
      }),
      pod('never', { ...spec, restartPolicy: 'Never', containers: [counted('fails', 'exit 3'), counted('succeeds-too', 'true')] }),
      pod('always', { ...spec, containers: [counted('ends', '[ $(wc -l < /state/ends) -lt 2 ] || sleep 1000')] }),
      pod('in-order', {
        ...spec,
        terminationGracePeriodSeconds: 10,
        restartPolicy: 'Never',
        initContainers: [
          sh('first', `sleep 0.5; ${step('first')}`),
          sh('beside', `trap '${step('beside-ends')}; exit 0' TERM; ${step('beside')}; while :; do sleep 0.1; done`, {
            restartPolicy: 'Always',
            startupProbe: { periodSeconds: 1, ...command('grep -q beside /state/steps') },
          }),
          sh('second', step('second')),
        ],
        containers: [sh('main', `sleep 0.5; ${step('main')}`)],
      }),
    );
    const ended = async (name: string): Promise<string> =>
      until(async () => [await fieldOf(name, '.status.phase')].find((phase) => /Succeeded|Failed/.test(phase)), {
        what: `the end of ${name}`,
        timeoutMs: 40_000,
      });
    expect([await ended('on-failure'), await ended('never'), await ended('in-order')]).toEqual(['Succeeded', 'Failed', 'Succeeded']);
    await until(async () => (await statusOf('always', 'ends', 'restartCount')) === '1', { what: 'a restart after a success' });
    const runs = await Promise.all(['fails-once', 'succeeds', 'fails', 'succeeds-too', 'ends'].map(linesOf));
    expect(runs.map(({ length }) => length)).toEqual([2, 1, 1, 1, 2]);
    expect(await fieldOf('on-failure', '.status.containerStatuses[*].restartCount')).toBe('1 0');
    expect(await statusOf('on-failure', 'fails-once', 'lastState.terminated.exitCode')).toBe('3');
    expect(await fieldOf('never', '.status.containerStatuses[*].restartCount')).toBe('0 0');
    expect(await statusOf('never', 'fails', 'state.terminated.exitCode')).toBe('3');
    expect(await statusOf('always', 'ends', 'lastState.terminated.exitCode')).toBe('0');
    expect(await linesOf('steps')).toEqual(['first', 'beside', 'second', 'main', 'beside-ends']);
    await kubectl('delete', 'pod', 'on-failure', 'never', 'always', 'in-order', '--wait=false');
  });
}
