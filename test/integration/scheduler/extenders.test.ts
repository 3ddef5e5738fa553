import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { priorityClasses } from '../../../src/api/scheduling/v1/priority-class.ts';
import { systemClock } from '../../../src/base/clock.ts';
import { createMetrics } from '../../../src/base/metrics.ts';
import { openPki } from '../../../src/base/pki.ts';
import { readSchedulerConfiguration } from '../../../src/cli/compose/control-plane-inputs.ts';
import { createScheduler } from '../../../src/scheduler/scheduler.ts';
import { nodeOf, podOf } from '../../support/cluster-objects.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { type ExtenderServer, startExtenderServer } from '../../support/extender-server.ts';
import { until } from '../../support/until.ts';

const namespace = 'default';

let directory: string;
let extender: ExtenderServer;
let plane: ControlPlane | undefined;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'extenders-'));
  extender = await startExtenderServer();
});
afterEach(async () => {
  await plane?.stop();
  plane = undefined;
  await extender.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Runs the scheduler with extenders that have these fields, by a file as `--scheduler-config` names one. */
async function start(...extenders: readonly object[]): Promise<ControlPlane> {
  const file = join(directory, 'scheduler.yaml');
  const configuration = {
    apiVersion: 'kubescheduler.config.k8s.io/v1',
    kind: 'KubeSchedulerConfiguration',
    extenders: extenders.map((fields) => ({ urlPrefix: extender.url, ...fields })),
  };
  await writeFile(file, JSON.stringify(configuration));
  const read = await readSchedulerConfiguration(file);
  plane = await startControlPlane({
    controllers: [(dependencies) => createScheduler({ ...dependencies, metrics: createMetrics(), random: () => 0.5, configuration: read })],
  });
  for (const name of ['n1', 'n2', 'n3']) {
    const { status, ...node } = nodeOf(name);
    const created = await plane.client.create(nodes, node);
    const reported = await plane.client.update(
      nodes,
      { ...created, ...(status === undefined ? {} : { status }) },
      { subresource: 'status' },
    );
    await plane.client.update(nodes, { ...reported, spec: { ...reported.spec, taints: [] } });
  }
  return plane;
}

async function add({ client }: ControlPlane, name: string, spec: Parameters<typeof podOf>[1] = {}): Promise<Pod> {
  const pod = podOf(name, spec, { namespace });
  const { uid: _, ...metadata } = pod.metadata;
  return client.create(pods, { ...pod, metadata });
}

const get = ({ client }: ControlPlane, name: string) => client.get(pods, { namespace, name });
const bound = (cluster: ControlPlane, name: string) =>
  until(async () => (await get(cluster, name)).spec.nodeName, { what: `${name} to be bound`, timeoutMs: 15_000, intervalMs: 5 });
const refused = (cluster: ControlPlane, name: string, words: string) =>
  until(
    async () => {
      const condition = (await get(cluster, name)).status?.conditions?.find(({ type }) => type === 'PodScheduled');
      return condition?.message?.includes(words) && condition;
    },
    { what: `${name} not to be scheduled because of ${words}`, timeoutMs: 15_000, intervalMs: 5 },
  );
const namesOf = (question: { NodeNames: string[] | null; Nodes: { items: { metadata: { name: string } }[] } | null }) =>
  question.NodeNames ?? question.Nodes?.items.map(({ metadata }) => metadata.name) ?? [];

describe('extenders of the scheduler', () => {
  it('get the pod and the nodes that plugins left, and narrow those', async () => {
    extender.answers = {
      filter: ({ Nodes }) => ({
        Nodes: { items: Nodes.items.filter((node: { metadata: { name: string } }) => node.metadata.name === 'n2') },
        FailedNodes: { n1: 'no licence', n3: 'no licence' },
      }),
    };
    const cluster = await start({ filterVerb: 'filter' });
    const n3 = await cluster.client.get(nodes, { name: 'n3' });
    await cluster.client.update(nodes, { ...n3, spec: { ...n3.spec, unschedulable: true } });
    await add(cluster, 'web');
    expect(await bound(cluster, 'web')).toBe('n2');
    const question = extender.asked.at(-1)?.question;
    expect(question).toMatchObject({ Pod: { kind: 'Pod', metadata: { name: 'web' } }, NodeNames: null });
    expect(namesOf(question).sort()).toEqual(['n1', 'n2']);
  });

  it('get names alone when they know the nodes, and their reasons reach the pod', async () => {
    extender.answers = {
      filter: () => ({
        NodeNames: [],
        FailedNodes: { n1: 'no licence' },
        FailedAndUnresolvableNodes: { n2: 'wrong rack', n3: 'wrong rack' },
      }),
    };
    const cluster = await start({ filterVerb: 'filter', nodeCacheCapable: true });
    await add(cluster, 'web');
    const { message } = await refused(cluster, 'web', 'licence');
    expect(message).toContain('0/3 nodes are available: 1 no licence, 2 wrong rack.');
    expect(extender.asked[0]?.question).toMatchObject({ Nodes: null });
    extender.answers = { filter: ({ NodeNames }) => ({ nodenames: NodeNames }) };
    const n1 = await cluster.client.get(nodes, { name: 'n1' });
    await cluster.client.update(nodes, { ...n1, metadata: { ...n1.metadata, labels: { ...n1.metadata.labels, licence: 'yes' } } });
    expect(await bound(cluster, 'web')).toMatch(/^n[123]$/);
  });

  it('add their scores times their weight to those of the plugins', async () => {
    extender.answers = {
      prioritize: ({ NodeNames }) => NodeNames.map((Host: string) => ({ Host, Score: Host === 'n3' ? 10 : 0 })),
      other: ({ NodeNames }) => NodeNames.map((Host: string) => ({ Host, Score: Host === 'n1' ? 10 : 0 })),
    };
    const cluster = await start(
      { prioritizeVerb: 'prioritize', weight: 5, nodeCacheCapable: true },
      { prioritizeVerb: 'other', weight: 4, nodeCacheCapable: true },
    );
    await add(cluster, 'web');
    expect(await bound(cluster, 'web')).toBe('n3');
  });

  it('are asked only about pods that request what they manage, which NodeResourcesFit may ignore', async () => {
    extender.answers = { filter: ({ NodeNames }) => ({ NodeNames: NodeNames.filter((name: string) => name === 'n2') }) };
    const managedResources = [{ name: 'example.com/licence', ignoredByScheduler: true }];
    const cluster = await start({ filterVerb: 'filter', nodeCacheCapable: true, managedResources });
    await add(cluster, 'plain');
    await bound(cluster, 'plain');
    expect(extender.asked).toEqual([]);
    const limits = { 'example.com/licence': '1' };
    await add(cluster, 'licensed', { containers: [{ name: 'main', image: 'host/sh', resources: { limits, requests: limits } }] });
    expect(await bound(cluster, 'licensed')).toBe('n2');
  });

  it('bind pods in place of the API, and an ignorable one that fails leaves it to the API', async () => {
    extender.answers = {
      bind: ({ PodName, PodNamespace, PodUID, Node }, response) => {
        const ref = { name: PodName, namespace: PodNamespace };
        const binding = { apiVersion: 'v1', kind: 'Binding', metadata: { ...ref, uid: PodUID }, target: { kind: 'Node', name: Node } };
        if (PodName === 'web') void plane?.client.createSubresource(pods, ref, 'binding', binding).then(() => response.end('{}'));
        else response.end(JSON.stringify({ Error: 'out of order' }));
        return undefined;
      },
    };
    const cluster = await start({ bindVerb: 'bind', ignorable: true });
    await add(cluster, 'web');
    const nodeName = await bound(cluster, 'web');
    expect(extender.asked.map(({ question }) => question)).toEqual([
      { PodName: 'web', PodNamespace: namespace, PodUID: (await get(cluster, 'web')).metadata.uid, Node: nodeName },
    ]);
    await add(cluster, 'other');
    await bound(cluster, 'other');
    expect(extender.asked).toHaveLength(2);
  });

  it('choose among the nodes and victims of a preemption', async () => {
    extender.answers = {
      preempt: ({ NodeNameToMetaVictims }) => ({ NodeNameToMetaVictims: { n3: NodeNameToMetaVictims.n3 } }),
    };
    const cluster = await start({ preemptVerb: 'preempt', nodeCacheCapable: true });
    const { client } = cluster;
    await client.create(priorityClasses, {
      apiVersion: 'scheduling.k8s.io/v1',
      kind: 'PriorityClass',
      metadata: { name: 'high' },
      value: 9,
    });
    for (const index of [1, 2, 3]) await add(cluster, `low-${index}`, { cpu: '3', terminationGracePeriodSeconds: 0 });
    const homes = new Map(
      await Promise.all([1, 2, 3].map(async (index) => [await bound(cluster, `low-${index}`), `low-${index}`] as const)),
    );
    await add(cluster, 'high', { cpu: '3', priorityClassName: 'high' });
    expect(await bound(cluster, 'high')).toBe('n3');
    const left = (await client.list(pods, { namespace })).items.map(({ metadata }) => metadata.name);
    expect(left.sort()).toEqual(['high', ...[...homes.values()].filter((name) => name !== homes.get('n3')).sort()]);
    expect(Object.keys(extender.asked[0]?.question.NodeNameToMetaVictims).sort()).toEqual(['n1', 'n2', 'n3']);
  });
});

describe('an extender that misbehaves', () => {
  it('delays the pod that it is asked about by its time limit, and others are scheduled afterwards', async () => {
    extender.answers = {
      filter: ({ Pod: pod, NodeNames }, response) => {
        // The answer begins, and never ends.
        if (pod.metadata.name === 'web') response.write('{"NodeNames":');
        else return { NodeNames };
        return undefined;
      },
    };
    const cluster = await start({ filterVerb: 'filter', nodeCacheCapable: true, httpTimeout: '100ms' });
    await add(cluster, 'web');
    await add(cluster, 'next');
    expect(await bound(cluster, 'next')).toMatch(/^n/);
    expect((await refused(cluster, 'web', 'no answer within 0.1 s')).reason).toBe('SchedulerError');
  });

  it('is left out when it is ignorable', async () => {
    extender.answers = { filter: (_, response) => void response.writeHead(500).end('no') };
    const cluster = await start({ filterVerb: 'filter', ignorable: true });
    await add(cluster, 'web');
    expect(await bound(cluster, 'web')).toMatch(/^n/);
    expect(extender.asked).toHaveLength(1);
  });

  it.each([
    ['a node that it was not asked about', 'filter', () => ({ NodeNames: ['elsewhere'] }), 'claims a filtered node "elsewhere"'],
    [
      'an answer that is no JSON',
      'filter',
      (_: unknown, response: { end(text: string): void }) => void response.end('<html>'),
      'is no JSON',
    ],
    ['an answer without an end', 'filter', endless, 'larger than'],
    ['an error of its own', 'filter', () => ({ Error: 'database is down' }), 'database is down'],
  ])('keeps a pod waiting, by an Event with %s', async (_, verb, answer, words) => {
    extender.answers = { [verb]: answer as ExtenderServer['answers'][string] };
    const cluster = await start({ filterVerb: 'filter', nodeCacheCapable: true });
    await add(cluster, 'web');
    expect((await refused(cluster, 'web', words)).reason).toBe('SchedulerError');
    expect((await get(cluster, 'web')).spec.nodeName).toBeUndefined();
  });

  it('may not have pods removed that are as important, or on another node', async () => {
    const cluster = await start({ preemptVerb: 'preempt', nodeCacheCapable: true });
    const { client } = cluster;
    for (const [name, value] of [
      ['high', 9],
      ['higher', 10],
    ] as const) {
      await client.create(priorityClasses, { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name }, value });
    }
    const kept = await add(cluster, 'kept', { cpu: '2', priorityClassName: 'higher' });
    const home = await bound(cluster, 'kept');
    for (const index of [1, 2, 3]) await add(cluster, `low-${index}`, { cpu: '2' });
    for (const index of [1, 2, 3]) await bound(cluster, `low-${index}`);
    extender.answers = {
      preempt: ({ NodeNameToMetaVictims }) => ({
        NodeNameToMetaVictims: { [home]: { ...NodeNameToMetaVictims[home], Pods: [{ UID: kept.metadata.uid }] } },
      }),
    };
    await add(cluster, 'high', { cpu: '3', priorityClassName: 'high' });
    await refused(cluster, 'high', 'extender');
    expect((await get(cluster, 'kept')).metadata.deletionTimestamp).toBeUndefined();
  });
});

describe('an extender behind TLS', () => {
  it('is asked only when its certificate is from the authority of the configuration', async () => {
    const pki = await openPki({ directory: join(directory, 'pki'), clock: systemClock });
    const { certificate, key } = await pki.serverCertificate({ name: 'extender', commonName: 'extender', hosts: ['127.0.0.1'] });
    const secure = await startExtenderServer({ cert: certificate, key });
    try {
      const caFile = join(directory, 'ca.pem');
      await writeFile(caFile, pki.caCertificate);
      secure.answers = { filter: ({ NodeNames }) => ({ NodeNames }) };
      const fields = { urlPrefix: secure.url, filterVerb: 'filter', nodeCacheCapable: true, enableHTTPS: true };
      const strict = await start(fields);
      await add(strict, 'web');
      expect((await refused(strict, 'web', 'certificate')).reason).toBe('SchedulerError');
      expect(secure.asked).toEqual([]);
      await strict.stop();
      const trusting = await start({ ...fields, tlsConfig: { caFile } });
      await add(trusting, 'web');
      expect(await bound(trusting, 'web')).toMatch(/^n/);
    } finally {
      await secure.stop();
    }
  });
});

function endless(
  _: unknown,
  response: { write(text: string): boolean; destroyed: boolean; once(event: string, next: () => void): void },
): void {
  const more = () => {
    while (!response.destroyed && response.write('x'.repeat(65_536)));
    if (!response.destroyed) response.once('drain', more);
  };
  more();
}
