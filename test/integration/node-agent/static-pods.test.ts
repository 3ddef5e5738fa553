import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { events } from '../../../src/api/core/v1/event.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import type { New } from '../../../src/client/client.ts';
import { startSeededApi } from '../../support/api.ts';
import { startTestNode, type TestNode, testNodeName } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

const manifest = (text: string): string => `apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - { name: web, image: host/sh, command: [sh, -c, 'trap "exit 0" TERM; echo ${text}; while :; do sleep 0.05; done'] }
`;

describe('static pods', { shuffle: false }, () => {
  let directory: string;
  let node: TestNode;
  const write = (name: string, text: string): Promise<void> => writeFile(join(directory, name), text);
  const running = (what: string, condition: (pod: Pod) => boolean = () => true): Promise<Pod> =>
    node.pod(`web-${testNodeName}`, what, (pod) => pod.status?.phase === 'Running' && condition(pod));
  const containerOf = ({ status }: Pod): string | undefined => status?.containerStatuses?.[0]?.containerID;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'midship-manifests-'));
    await write('web.yaml', manifest('first'));
    node = await startTestNode({ manifests: directory });
  });
  afterAll(async () => {
    await node.stop();
    await rm(directory, { recursive: true, force: true });
  });

  it('run, and the API shows a mirror that belongs to the Node', async () => {
    const { metadata } = await running('a pod of a file runs');
    expect(metadata).toMatchObject({
      labels: { app: 'web' },
      annotations: { 'kubernetes.io/config.source': 'file' },
      ownerReferences: [{ kind: 'Node', name: testNodeName, controller: true }],
    });
    const { annotations = {}, uid } = metadata;
    expect(annotations['kubernetes.io/config.mirror']).toBe(annotations['kubernetes.io/config.hash']);
    expect(annotations['kubernetes.io/config.mirror']).not.toBe(uid);
  });

  it('run on when somebody deletes the mirror', async () => {
    const before = await running('a pod of a file runs');
    await node.client.delete(pods, { namespace: 'default', name: before.metadata.name });
    const after = await running('the mirror is made again', ({ metadata }) => metadata.uid !== before.metadata.uid);
    expect(containerOf(after)).toBe(containerOf(before));
    expect(after.status?.containerStatuses?.[0]?.restartCount).toBe(0);
  });

  it('are adopted after a crash of the agent', async () => {
    const before = await running('a pod of a file runs');
    await node.crash();
    expect(containerOf(await running('it runs on'))).toBe(containerOf(before));
  });

  it('run on beside a bad file, which an Event of the Node names with its line', async () => {
    const before = await running('a pod of a file runs');
    await write('bad.yaml', 'apiVersion: v1\nkind: Pod\nmetadata: { name: bad }\nspec: { contaners: [] }\n');
    await write('web.yaml', `${manifest('second')}  bogus: 1\n`);
    const messages = await until(
      async () => {
        const { items } = await node.client.list(events, { namespace: 'default' });
        const found = items.filter(({ reason }) => reason === 'InvalidStaticPod').map(({ message }) => message);
        return found.length === 2 ? found.sort() : undefined;
      },
      { what: 'two Events', timeoutMs: 15_000 },
    );
    expect(messages).toEqual([
      expect.stringMatching(/^bad\.yaml:1: unknown field "spec\.contaners"/),
      expect.stringMatching(/^web\.yaml:1: unknown field "spec\.bogus"/),
    ]);
    expect(containerOf(await running('it runs on'))).toBe(containerOf(before));
  });

  it('start again when their file changes, and end with it', async () => {
    const before = await running('a pod of a file runs');
    await write('web.yaml', manifest('third'));
    const after = await running('the new one runs', (pod) => containerOf(pod) !== containerOf(before));
    expect(after.metadata.annotations?.['kubernetes.io/config.hash']).not.toBe(before.metadata.annotations?.['kubernetes.io/config.hash']);
    expect((await node.runtime.list()).filter(({ ready }) => ready)).toHaveLength(1);
    await rm(join(directory, 'web.yaml'));
    await node.gone(after.metadata.name);
    await until(async () => (await node.runtime.list()).length === 0, { what: 'nothing of it is left', timeoutMs: 15_000 });
  });
});

it('a node creates mirrors of its own pods, and no pod by which it would get at more', async () => {
  const api = await startSeededApi(['default']);
  const client = api.clientFor({ name: 'system:node:first', groups: ['system:nodes', 'system:authenticated'] });
  const mirror: New<Pod> = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web-first',
      namespace: 'default',
      annotations: { 'kubernetes.io/config.mirror': 'abc' },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'first', uid: '1', controller: true }],
    },
    spec: { nodeName: 'first', containers: [{ name: 'web', image: 'host/sh' }] },
  };
  const spec = (changes: Partial<Pod['spec']>): New<Pod> => ({ ...mirror, spec: { ...mirror.spec, ...changes } });
  const metadata = (changes: Partial<New<Pod>['metadata']>): New<Pod> => ({ ...mirror, metadata: { ...mirror.metadata, ...changes } });
  for (const [pod, why] of [
    [metadata({ annotations: {} }), 'can only create mirror pods'],
    [spec({ nodeName: 'second' }), 'spec.nodeName set to itself'],
    [metadata({ ownerReferences: [] }), 'a single owner reference, set to itself'],
    [metadata({ ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: 'second', uid: '1' }] }), 'set to itself'],
    [spec({ serviceAccountName: 'default' }), 'a mirror pod may not reference service accounts'],
    [spec({ imagePullSecrets: [{ name: 'a' }] }), 'can not create pods that reference secrets'],
    [spec({ volumes: [{ name: 'a', configMap: { name: 'a' } }] }), 'can not create pods that reference configmaps'],
    [spec({ volumes: [{ name: 'a', projected: { sources: [{ serviceAccountToken: { path: 'a' } }] } }] }), 'ask for tokens'],
    [spec({ volumes: [{ name: 'a', persistentVolumeClaim: { claimName: 'a' } }] }), 'reference persistentvolumeclaims'],
  ] as const) {
    await expect(client.create(pods, pod)).rejects.toMatchObject({ reason: 'Forbidden', message: expect.stringContaining(why) });
  }
  const { spec: made } = await client.create(pods, mirror);
  expect(made.serviceAccountName).toBeUndefined();
  expect(made.volumes).toBeUndefined();
  await api.stop();
});
