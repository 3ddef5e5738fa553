import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { leases } from '../../../src/api/coordination/v1/lease.ts';
import { configMaps } from '../../../src/api/core/v1/config-map.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { type PriorityClass, priorityClasses } from '../../../src/api/scheduling/v1/priority-class.ts';
import { hasNamespaces } from '../../support/isolation.ts';
import { startTestNode, type TestNode, testNodeName } from '../../support/node-agent.ts';
import { until } from '../../support/until.ts';

let node: TestNode;
/** A directory of the machine that pods may mount. */
let machineDirectory: string;
beforeAll(async () => {
  machineDirectory = await mkdtemp(join(tmpdir(), 'midship-machine-'));
  await chmod(machineDirectory, 0o777);
  node = await startTestNode({ allowedHostPaths: [machineDirectory] });
});
afterAll(async () => {
  await node.stop();
  await rm(machineDirectory, { recursive: true, force: true });
});

const sh = (script: string, changes: Partial<Pod['spec']['containers'][number]> = {}): Pod['spec']['containers'][number] => ({
  name: 'main',
  image: 'host/sh',
  command: ['sh', '-c', script],
  ...changes,
});
const forever = 'while :; do sleep 0.1; done';
const isReady = (pod: Pod): boolean => pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
const main = (pod: Pod) => pod.status?.containerStatuses?.[0];
const remove = (name: string) => node.client.delete(pods, { namespace: 'default', name });
const outputOf = async (name: string): Promise<string> => {
  const found = node.agent.podNamed('default', name);
  const id = found?.sandbox?.containers.at(-1)?.id;
  return readFile(node.runtime.logOf(id ?? '')?.path ?? '', 'utf8');
};

it('registers its node and keeps it alive', async () => {
  const found = await node.client.get(nodes, { name: testNodeName });
  expect(found.metadata.labels).toMatchObject({ 'kubernetes.io/hostname': testNodeName, 'kubernetes.io/os': 'linux' });
  expect(found.status?.conditions?.map(({ type, status }) => `${type}=${status}`)).toEqual([
    'MemoryPressure=False',
    'DiskPressure=False',
    'PIDPressure=False',
    'Ready=True',
    `midship.dev/PodLimits=${node.host.cgroups.version === undefined ? 'False' : 'True'}`,
    `midship.dev/PodIsolation=${hasNamespaces ? 'True' : 'False'}`,
  ]);
  const lease = await node.client.get(leases, { namespace: 'kube-node-lease', name: testNodeName });
  expect(lease.spec).toMatchObject({ holderIdentity: testNodeName, leaseDurationSeconds: 40 });
});

it('says on its node that disk and memory are nearly full', async () => {
  const space = async () => ({ sizeBytes: 1_000, availableBytes: 99 });
  const full = await startTestNode({ agent: { measures: { nodefs: space, memory: space } } });
  const found = await full.client.get(nodes, { name: testNodeName });
  expect(found.status?.conditions?.find(({ type }) => type === 'DiskPressure')).toMatchObject({
    status: 'True',
    reason: 'KubeletHasDiskPressure',
    message: 'kubelet has disk pressure',
  });
  expect(found.status?.conditions?.find(({ type }) => type === 'MemoryPressure')).toMatchObject({
    status: 'True',
    reason: 'KubeletHasInsufficientMemory',
  });
  const event = 'NodeHasDiskPressure: Node node-a status is now: NodeHasDiskPressure';
  await until(async () => (await full.client.list(events, {})).items.some(({ reason, message }) => `${reason}: ${message}` === event), {
    what: 'the event',
  });
  await full.stop();
});

it('ends its pods when the machine goes down, the critical ones last, and takes no others', async () => {
  // The API is slow, and the last statuses must arrive nevertheless.
  const down = await startTestNode({
    guard: async (act, { signal, isWrite }) => {
      if (isWrite) await new Promise((resolve) => setTimeout(resolve, 100));
      return act(signal);
    },
  });
  const { client } = down;
  const classes = { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata: { name: 'system-cluster-critical' } };
  await client.create(priorityClasses, { ...classes, value: 2_000_000_000 } as PriorityClass).catch(() => undefined);
  // Each says when it was asked to end.
  const script = 'trap "date +%s%N >/dev/termination-log; exit 0" TERM; echo 0 >/dev/termination-log; while :; do sleep 0.05; done';
  // A shell that gets the signal before it has its trap says nothing.
  const readinessProbe = { exec: { command: ['/bin/sh', '-c', '[ -s /dev/termination-log ]'] }, periodSeconds: 1 };
  const containers = [{ name: 'main', image: 'host/sh', command: ['/bin/sh', '-c', script], readinessProbe }];
  await down.run({ name: 'usual', containers });
  await down.run({ name: 'critical', containers, priorityClassName: 'system-cluster-critical' });
  for (const name of ['usual', 'critical']) await down.pod(name, `pod ${name} is ready`, isReady);
  await down.agent.shutDown({ allMs: 20_000, criticalMs: 10_000 });
  const statusOf = async (name: string) => (await down.get(name))?.status;
  for (const name of ['usual', 'critical']) {
    expect(await statusOf(name)).toMatchObject({
      phase: 'Failed',
      reason: 'Terminated',
      message: 'Pod was terminated in response to imminent node shutdown.',
      conditions: expect.arrayContaining([expect.objectContaining({ type: 'DisruptionTarget', reason: 'TerminationByKubelet' })]),
      containerStatuses: [{ ready: false, state: { terminated: { exitCode: 0 } } }],
    });
  }
  const endOf = async (name: string) => BigInt((await statusOf(name))?.containerStatuses?.[0]?.state?.terminated?.message?.trim() ?? '0');
  if (hasNamespaces) expect(await endOf('critical')).toBeGreaterThan(await endOf('usual'));
  const { status } = await client.get(nodes, { name: testNodeName });
  expect(status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({ status: 'False', message: 'node is shutting down' });
  await down.run({ name: 'late', containers });
  await down.pod('late', 'pod late is refused', (pod) => pod.status?.phase === 'Failed');
  // As a kubelet leaves a pod that it never took: no containers, no conditions.
  expect(await statusOf('late')).toEqual({
    observedGeneration: 1,
    phase: 'Failed',
    reason: 'NodeShutdown',
    message: 'Pod was rejected: Pod was rejected as the node is shutting down.',
    qosClass: 'BestEffort',
    startTime: expect.any(String),
  });
  await down.stop();
});

describe(`a pod${hasNamespaces ? '' : ' (skipping what needs user namespaces)'}`, () => {
  it('runs, gets its address, and is removed with its files', async () => {
    await node.run({ name: 'simple', containers: [sh(`echo "at $POD_IP"; ${forever}`)] });
    const pod = await node.pod('simple', 'ready', isReady);
    expect(pod.status).toMatchObject({
      phase: 'Running',
      podIP: expect.stringMatching(/^127\.64\.16\.\d+$/),
      hostIP: '127.64.16.1',
      qosClass: 'BestEffort',
      containerStatuses: [{ name: 'main', ready: true, started: true, restartCount: 0, image: 'host/sh', state: { running: {} } }],
    });
    await until(async () => (await outputOf('simple')) === `at ${pod.status?.podIP}\n`, { what: 'output' });
    await until(async () => (await node.messagesOf('simple')).length === 3, { what: 'events' });
    expect(await node.messagesOf('simple')).toEqual([
      'Pulled: Container image "host/sh" already present on machine and can be accessed by the pod',
      'Created: Container created',
      'Started: Container started',
    ]);
    await remove('simple');
    await node.gone('simple');
    await until(async () => (await node.runtime.list({ podUid: pod.metadata.uid ?? '' })).length === 0, { what: 'removal of the sandbox' });
  });

  it('is back in under two seconds when its program is killed', async () => {
    // No other process of this machine sleeps as long.
    const length = `86400.${process.pid}5`;
    await node.run({ name: 'killed', containers: [sh(`echo $$; exec sleep ${length}`)] });
    await node.pod('killed', 'ready', isReady);
    // The pod is ready when its first program begins, a moment before that becomes the one that is looked for.
    await until(() => killByCommandLine(`sleep\0${length}\0`), { what: 'the program' });
    const killedAt = Date.now();
    const pod = await node.pod('killed', 'restarted', (found) => main(found)?.restartCount === 1 && isReady(found));
    expect(Date.now() - killedAt).toBeLessThan(2_000);
    expect(main(pod)).toMatchObject({ state: { running: {} }, lastState: { terminated: { exitCode: 137, reason: 'Error' } } });
    await remove('killed');
    await node.gone('killed');
  });

  it('waits longer for each restart of a program that fails', async () => {
    await node.run({ name: 'crashing', containers: [sh('exit 3')] });
    const pod = await node.pod('crashing', 'back-off', (found) => main(found)?.state?.waiting?.reason === 'CrashLoopBackOff');
    expect(main(pod)).toMatchObject({
      restartCount: 1,
      state: { waiting: { message: `back-off 10s restarting failed container=main pod=crashing_default(${pod.metadata.uid})` } },
      lastState: { terminated: { exitCode: 3, reason: 'Error' } },
    });
    await until(
      async () => (await node.messagesOf('crashing')).some((text) => text.startsWith('BackOff: Back-off restarting failed container main')),
      {
        what: 'BackOff event',
      },
    );
    await remove('crashing');
    await node.gone('crashing');
  });

  it.each([
    [0, 'Succeeded', 'Completed'],
    [4, 'Failed', 'Error'],
  ])('ends after exit code %i as %s', async (exitCode, phase, reason) => {
    const name = `ends-${exitCode}`;
    await node.run({ name, restartPolicy: 'Never', containers: [sh(`exit ${exitCode}`)] });
    const pod = await node.pod(name, phase, (found) => found.status?.phase === phase);
    expect(main(pod)).toMatchObject({ ready: false, state: { terminated: { exitCode, reason } } });
    await remove(name);
    await node.gone(name);
  });

  it.skipIf(!hasNamespaces)('runs its init containers one by one before its containers (needs user namespaces)', async () => {
    await node.run({
      name: 'initialized',
      initContainers: [
        { ...sh('echo one >/shared/order'), name: 'first', volumeMounts: [{ name: 'shared', mountPath: '/shared' }] },
        { ...sh('echo two >>/shared/order'), name: 'second', volumeMounts: [{ name: 'shared', mountPath: '/shared' }] },
      ],
      containers: [sh(`cat /shared/order; ${forever}`, { volumeMounts: [{ name: 'shared', mountPath: '/shared' }] })],
      volumes: [{ name: 'shared', emptyDir: {} }],
    });
    const pod = await node.pod('initialized', 'ready', isReady);
    await until(async () => (await outputOf('initialized')) === 'one\ntwo\n', { what: 'order' });
    expect(pod.status?.initContainerStatuses?.map(({ state }) => state?.terminated?.exitCode)).toEqual([0, 0]);
    await remove('initialized');
    await node.gone('initialized');
  });

  it('fails when an init container fails and nothing may be repeated', async () => {
    await node.run({
      name: 'uninitialized',
      restartPolicy: 'Never',
      initContainers: [{ ...sh('exit 1'), name: 'init' }],
      containers: [sh('true')],
    });
    const pod = await node.pod('uninitialized', 'failed', (found) => found.status?.phase === 'Failed');
    expect(main(pod)?.state).toEqual({ waiting: { reason: 'PodInitializing' } });
    await remove('uninitialized');
    await node.gone('uninitialized');
  });

  it.skipIf(!hasNamespaces)('is asked to end before it is killed, and runs its preStop hook first (needs user namespaces)', async () => {
    await node.run({
      name: 'graceful',
      terminationGracePeriodSeconds: 10,
      containers: [
        sh('trap "echo term >>/shared/end; exit 0" TERM; echo up; while :; do sleep 0.05; done', {
          lifecycle: { preStop: { exec: { command: ['sh', '-c', 'echo hook >>/shared/end; cp /shared/end /out/; sleep 0.1'] } } },
          volumeMounts: [
            { name: 'shared', mountPath: '/shared' },
            { name: 'out', mountPath: '/out' },
          ],
        }),
      ],
      volumes: [
        { name: 'shared', emptyDir: {} },
        { name: 'out', hostPath: { path: `${machineDirectory}` } },
      ],
    });
    await node.pod('graceful', 'ready', isReady);
    await remove('graceful');
    await node.gone('graceful');
    expect(await readFile(`${machineDirectory}/end`, 'utf8')).toBe('hook\n');
    expect(await node.messagesOf('graceful')).toContain('Killing: Stopping container main');
  });

  it('says why its image cannot be had', async () => {
    await node.run({ name: 'foreign', containers: [{ name: 'main', image: 'nginx:1' }] });
    const pod = await node.pod('foreign', 'pull failure', (found) => main(found)?.state?.waiting?.reason === 'ErrImagePull');
    expect(main(pod)?.state?.waiting?.message).toContain('images are not pulled in this version');
    const later = await node.pod('foreign', 'pull back-off', (found) => main(found)?.state?.waiting?.reason === 'ImagePullBackOff');
    expect(main(later)?.state?.waiting?.message).toMatch(/^Back-off pulling image "nginx:1": ErrImagePull: /);
    await remove('foreign');
    await node.gone('foreign');
  });

  it.skipIf(!hasNamespaces)('waits for a ConfigMap it needs, and sees its changes (needs user namespaces)', async () => {
    await node.run({
      name: 'configured',
      containers: [
        sh(
          `echo "$GREETING $(cat /etc/app/text)"; while [ "$(cat /etc/app/text)" = old ]; do sleep 0.02; done; echo "now $(cat /etc/app/text)"; ${forever}`,
          {
            env: [{ name: 'GREETING', valueFrom: { configMapKeyRef: { name: 'settings', key: 'greeting' } } }],
            volumeMounts: [{ name: 'settings', mountPath: '/etc/app' }],
          },
        ),
      ],
      volumes: [{ name: 'settings', configMap: { name: 'settings' } }],
    });
    const failedMount = 'FailedMount: MountVolume.SetUp failed for volume "settings" : configmap "settings" not found';
    await until(async () => (await node.messagesOf('configured')).includes(failedMount), { what: 'the Event of the volume' });
    expect((await node.get('configured'))?.status?.containerStatuses?.[0]?.state).toEqual({ waiting: { reason: 'ContainerCreating' } });
    const map = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings', namespace: 'default' } };
    await node.client.create(configMaps, { ...map, data: { text: 'old' } });
    const waiting = await node.pod(
      'configured',
      'config error',
      (found) => main(found)?.state?.waiting?.reason === 'CreateContainerConfigError',
    );
    expect(main(waiting)?.state?.waiting?.message).toBe("couldn't find key greeting in ConfigMap default/settings");
    const failed = async () => (await node.messagesOf('configured')).filter((text) => text.startsWith('Failed:'));
    await until(async () => (await failed()).length > 0, { what: 'the Event of the variable' });
    // The volume adds no second one.
    expect(await failed()).toEqual(["Failed: Error: couldn't find key greeting in ConfigMap default/settings"]);
    await node.client.update(configMaps, { ...map, data: { greeting: 'hello', text: 'old' } });
    await node.pod('configured', 'ready', isReady);
    await until(async () => (await outputOf('configured')) === 'hello old\n', { what: 'first output' });
    await node.client.update(configMaps, { ...map, data: { greeting: 'hello', text: 'new' } });
    await until(async () => (await outputOf('configured')) === 'hello old\nnow new\n', { what: 'output of the change' });
    await remove('configured');
    await node.gone('configured');
  });

  it.skipIf(!hasNamespaces)(
    'becomes ready by its readiness probe and is restarted by its liveness probe (needs user namespaces)',
    async () => {
      await node.run({
        name: 'probed',
        terminationGracePeriodSeconds: 1,
        containers: [
          sh(`rm -f /shared/ready; sleep 0.3; touch /shared/ready /shared/alive; ${forever}`, {
            readinessProbe: { exec: { command: ['test', '-e', '/shared/ready'] }, periodSeconds: 1 },
            livenessProbe: {
              exec: { command: ['test', '-e', '/shared/alive'] },
              periodSeconds: 1,
              failureThreshold: 1,
              initialDelaySeconds: 2,
            },
            volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
          }),
        ],
        volumes: [{ name: 'shared', hostPath: { path: machineDirectory } }],
      });
      const unready = await node.pod('probed', 'running', (found) => main(found)?.state?.running !== undefined);
      expect(main(unready)).toMatchObject({ ready: false, started: true });
      expect(unready.status?.conditions?.find(({ type }) => type === 'Ready')).toMatchObject({
        status: 'False',
        reason: 'ContainersNotReady',
        message: 'containers with unready status: [main]',
      });
      await node.pod('probed', 'ready', isReady);
      await rm(join(machineDirectory, 'alive'));
      await node.pod('probed', 'restart', (found) => main(found)?.restartCount === 1 && isReady(found));
      const messages = await node.messagesOf('probed');
      expect(messages).toContain('Killing: Container main failed liveness probe, will be restarted');
      expect(messages.some((text) => text.startsWith('Unhealthy: Liveness probe failed: '))).toBe(true);
      await remove('probed');
      await node.gone('probed');
    },
  );

  it('that asks for capabilities is not run without them', async () => {
    await node.run({ name: 'capable', containers: [sh('true', { securityContext: { capabilities: { add: ['NET_ADMIN'] } } })] });
    const pod = await node.pod('capable', 'refusal', (found) => main(found)?.state?.waiting?.reason === 'CreateContainerConfigError');
    expect(main(pod)?.state?.waiting?.message).toBe(
      'not supported on this node: securityContext.capabilities.add NET_ADMIN (programs have no capabilities here)',
    );
    await remove('capable');
    await node.gone('capable');
  });

  it.skipIf(!hasNamespaces)(
    'works in a directory of its choice, and leaves the end of its output when it fails (needs user namespaces)',
    async () => {
      await node.run({
        name: 'elsewhere',
        restartPolicy: 'Never',
        containers: [sh('pwd; exit 1', { workingDir: '/srv/new/place', terminationMessagePolicy: 'FallbackToLogsOnError' })],
      });
      const pod = await node.pod('elsewhere', 'failure', (found) => found.status?.phase === 'Failed');
      expect(main(pod)?.state?.terminated).toMatchObject({ exitCode: 1, message: '/srv/new/place\n' });
      await remove('elsewhere');
      await node.gone('elsewhere');
    },
  );

  it.skipIf(!hasNamespaces)('keeps sidecars running beside its containers, and ends them after those (needs user namespaces)', async () => {
    await node.run({
      name: 'accompanied',
      restartPolicy: 'Never',
      initContainers: [
        {
          ...sh('echo up >/shared/sidecar; trap "exit 0" TERM; while :; do sleep 0.05; done'),
          name: 'proxy',
          restartPolicy: 'Always',
          volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
        },
      ],
      containers: [
        sh('while [ ! -e /shared/sidecar ]; do sleep 0.02; done; exit 0', { volumeMounts: [{ name: 'shared', mountPath: '/shared' }] }),
      ],
      volumes: [{ name: 'shared', emptyDir: {} }],
    });
    const pod = await node.pod(
      'accompanied',
      'success',
      (found) => found.status?.initContainerStatuses?.[0]?.state?.terminated !== undefined,
    );
    expect(pod.status?.phase).toBe('Succeeded');
    await remove('accompanied');
    await node.gone('accompanied');
  });

  it('ends at its deadline', async () => {
    await node.run({ name: 'late', activeDeadlineSeconds: 1, terminationGracePeriodSeconds: 1, containers: [sh(forever)] });
    const pod = await node.pod('late', 'deadline', (found) => found.status?.phase === 'Failed');
    expect(pod.status).toMatchObject({ reason: 'DeadlineExceeded' });
    await remove('late');
    await node.gone('late');
  });

  it('is warned when it listens on all addresses', async () => {
    const script = 'require("http").createServer().listen(0)';
    await node.run({ name: 'everywhere', containers: [{ name: 'main', image: 'host/node', command: ['node', '-e', script] }] });
    await until(
      async () =>
        (await node.messagesOf('everywhere')).some((text) => /^ListensOnAllAddresses: .*must listen on the address in POD_IP/.test(text)),
      {
        what: 'warning',
      },
    );
    await remove('everywhere');
    await node.gone('everywhere');
  });
});

describe('after a crash of the agent', () => {
  it('running pods are adopted without a restart, deleted ones are ended, and exits are noticed', async () => {
    const kept = await node.run({ name: 'kept', containers: [sh(forever)] });
    await node.run({ name: 'deleted', terminationGracePeriodSeconds: 1, containers: [sh(forever)] });
    await node.pod('kept', 'ready', isReady);
    await node.pod('deleted', 'ready', isReady);
    const [before] = await node.runtime.list({ podUid: kept.metadata.uid ?? '' });
    const forced = node.client.delete(pods, { namespace: 'default', name: 'deleted' }, { gracePeriodSeconds: 0 });
    await Promise.all([node.crash(), forced]);
    const after = await node.pod('kept', 'still ready', isReady);
    expect(after.metadata.uid).toBe(kept.metadata.uid);
    expect(main(after)).toMatchObject({ restartCount: 0, containerID: `process://${before?.containers[0]?.id}` });
    await until(async () => (await node.runtime.list()).length === 1, { what: 'end of the orphan' });
    await remove('kept');
    await node.gone('kept');
  });
});

async function killByCommandLine(text: string): Promise<boolean> {
  let found = false;
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (!line.startsWith(text)) continue;
    process.kill(Number(pid), 'SIGKILL');
    found = true;
  }
  return found;
}
