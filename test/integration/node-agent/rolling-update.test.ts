import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Deployment, deployments } from '../../../src/api/apps/v1/deployment.ts';
import { services } from '../../../src/api/core/v1/service.ts';
import { systemClock } from '../../../src/base/clock.ts';
import type { Component } from '../../../src/base/component.ts';
import { createLog } from '../../../src/base/log.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { createInformerSet } from '../../../src/client/informer-set.ts';
import { createDeploymentController } from '../../../src/controllers/deployment/deployment-controller.ts';
import { createEndpointSliceController } from '../../../src/controllers/endpoint-slice/endpoint-slice-controller.ts';
import { createNodeLifecycleController } from '../../../src/controllers/node-lifecycle/node-lifecycle-controller.ts';
import { createReplicaSetController } from '../../../src/controllers/replica-set/replica-set-controller.ts';
import { createServiceProxy } from '../../../src/proxy/service-proxy.ts';
import { createControllerMetrics } from '../../../src/reconcile/controller-metrics.ts';
import { createEventQueue } from '../../../src/reconcile/event-recorder.ts';
import { createStepLog } from '../../../src/reconcile/step-log.ts';
import { createScheduler } from '../../../src/scheduler/scheduler.ts';
import { startTestNode, type TestNode } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

let node: TestNode;
const parts: Component[] = [];
const abort = new AbortController();

beforeAll(async () => {
  node = await startTestNode();
  const { client } = node;
  const clock = systemClock;
  const log = createLog({ level: 'silent' });
  const metrics = createMetrics();
  const informers = createInformerSet({ client, clock, log });
  const events = createEventQueue({ client, clock, log, metrics });
  const steps = createStepLog({ clock, log, metrics });
  const recorder = events.recorder('test');
  const dependencies = { client, informers, clock, log, recorder, steps, metrics: createControllerMetrics({ metrics, clock }) };
  parts.push(
    events,
    createDeploymentController(dependencies),
    createReplicaSetController(dependencies),
    createNodeLifecycleController(dependencies),
    createEndpointSliceController(dependencies),
    createScheduler({ ...dependencies, metrics: createMetrics(), random: Math.random }),
    createServiceProxy({ informers, nodeAddresses: [], clock, log, recorder, metrics: createMetrics() }),
  );
  informers.start({ signal: abort.signal });
  for (const part of parts) await part.start({ signal: abort.signal });
});
afterAll(async () => {
  for (const part of parts.reverse()) await part.stop();
  abort.abort(new Error('test ends'));
  await node.stop();
});

const port = 28_480;
/** Answers with its version; knows nothing of signals, as many programs do. */
const server = `require('http').createServer((q, s) => setTimeout(() => s.end(process.env.VERSION), 5)).listen(${port}, process.env.POD_IP)`;
/** A pod that asks through the Service all the time, one connection a request, and prints what went wrong and how often it asked. */
const asker = `
const http = require('http');
let count = 0;
const ask = () => http.get({ host: process.env.WEB_SERVICE_HOST, port: process.env.WEB_SERVICE_PORT, agent: false }, (answer) => {
  answer.resume();
  answer.on('end', () => { count += 1; next(); });
  answer.on('error', fail);
}).on('error', fail);
const fail = (err) => { console.log('failed ' + err.code); next(); };
const next = () => setTimeout(ask, 1);
for (let i = 0; i < 4; i += 1) ask();
setInterval(() => console.log('asked ' + count), 100);
`;

const deploymentOf = (version: string): Deployment => ({
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas: 3,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        terminationGracePeriodSeconds: 2,
        containers: [
          {
            name: 'web',
            image: 'host/node',
            command: ['node', '-e', server],
            env: [{ name: 'VERSION', value: version }],
            readinessProbe: { tcpSocket: { port }, periodSeconds: 1 },
          },
        ],
      },
    },
  },
});

it('a rolling update loses no request that another pod sends through the Service', async () => {
  const { client } = node;
  const meta = (name: string) => ({ name, namespace: 'default' });
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: meta('web'),
    spec: { selector: { app: 'web' }, ports: [{ port: 28_481, targetPort: port }] },
  };
  await client.create(services, service);
  await client.create(deployments, deploymentOf('v1'));
  const rolledOut = (generation: number) =>
    until(
      async () => {
        const { metadata, status } = await client.get(deployments, meta('web'));
        return (
          (metadata.generation ?? 0) >= generation &&
          status?.observedGeneration === metadata.generation &&
          status?.updatedReplicas === 3 &&
          status?.readyReplicas === 3 &&
          status?.replicas === 3
        );
      },
      { what: `rollout ${generation}`, intervalMs: 10 },
    );
  await rolledOut(1);

  await node.run({
    name: 'asker',
    containers: [{ name: 'main', image: 'host/node', command: ['node', '-e', asker] }],
    terminationGracePeriodSeconds: 0,
  });
  const output = async (): Promise<string> => {
    const id = node.agent.podNamed('default', 'asker')?.sandbox?.containers[0]?.id;
    const log = id === undefined ? undefined : node.runtime.logOf(id);
    return log === undefined ? '' : readFile(log.path, 'utf8');
  };
  const asked = async (): Promise<number> => Number(/asked (\d+)\n$/.exec(await output())?.[1] ?? 0);
  await until(async () => (await asked()) > 100, { what: 'requests' });
  for (let version = 2; version <= 7; version += 1) {
    // A patch, since the controller may write the status between a read and an update.
    await client.patch(deployments, meta('web'), { type: 'merge', body: { spec: deploymentOf(`v${version}`).spec } });
    await rolledOut(version);
  }
  // A hundred for each version: a busy machine answers fewer, and their number is not the point.
  await until(async () => (await asked()) > 700, { what: async () => `700 requests; ${await asked()} were made` });
  expect((await output()).split('\n').filter((line) => line.startsWith('failed'))).toEqual([]);
});
