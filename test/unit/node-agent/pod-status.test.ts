import { describe, expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import type { ContainerMemory } from '../../../src/node-agent/container-plan.ts';
import type { ContainerStatus, SandboxStatus } from '../../../src/node-agent/container-runtime.ts';
import { durationText, type PodStatusOptions, podStatusOf, sameJson } from '../../../src/node-agent/pod-status.ts';

const now = Date.parse('2026-01-01T00:01:00Z');
const at = '2026-01-01T00:01:00Z';
const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', uid: 'u', generation: 1 },
  spec: { containers: [{ name: 'main', image: 'host/sh' }] },
  status: {
    phase: 'Pending',
    qosClass: 'BestEffort',
    conditions: [{ type: 'PodScheduled', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' }],
  },
};
const main = (changes: Partial<ContainerStatus>): ContainerStatus => ({
  id: 'c0',
  name: 'main',
  attempt: 0,
  image: 'host/sh',
  imageRef: 'host/sh',
  configHash: 'h',
  state: 'running',
  createdAt: now,
  startedAt: now,
  ...changes,
});
const sandbox = (...containers: ContainerStatus[]): SandboxStatus => ({
  id: 's',
  namespace: 'shop',
  name: 'web',
  uid: 'u',
  attempt: 0,
  ready: true,
  ip: '127.64.16.2',
  createdAt: now,
  containers,
});
const memory = (changes: Partial<ContainerMemory> = {}): ReadonlyMap<string, ContainerMemory> =>
  new Map([['main', { state: undefined, backoff: undefined, failure: undefined, probed: undefined, ...changes }]]);
const status = (changes: Partial<PodStatusOptions>) =>
  podStatusOf({
    pod,
    state: 'Starting',
    sandbox: undefined,
    initialized: true,
    runsEphemeral: true,
    resize: { statusOf: ({ resources = {} }) => ({ resources }), conditions: () => [] },
    memories: memory(),
    runtimeName: 'process',
    hostIP: '127.64.16.1',
    now,
    verdict: undefined,
    fallbackMessages: new Map(),
    ...changes,
  });
const conditions = (result: Pod['status']) =>
  Object.fromEntries(
    (result?.conditions ?? []).map((condition) => [
      condition.type,
      `${condition.status}${condition.reason === undefined ? '' : ` ${condition.reason}`}`,
    ]),
  );

describe('the status of a pod', () => {
  it('says at first what the kubelet says at first', () => {
    expect(status({ state: 'Pending', initialized: false })).toEqual({
      observedGeneration: 1,
      phase: 'Pending',
      conditions: [
        { type: 'PodReadyToStartContainers', status: 'False', observedGeneration: 1, lastProbeTime: null, lastTransitionTime: at },
        { type: 'Initialized', status: 'True', observedGeneration: 1, lastProbeTime: null, lastTransitionTime: at },
        {
          type: 'Ready',
          status: 'False',
          reason: 'ContainersNotReady',
          message: 'containers with unready status: [main]',
          observedGeneration: 1,
          lastProbeTime: null,
          lastTransitionTime: at,
        },
        {
          type: 'ContainersReady',
          status: 'False',
          reason: 'ContainersNotReady',
          message: 'containers with unready status: [main]',
          observedGeneration: 1,
          lastProbeTime: null,
          lastTransitionTime: at,
        },
        { type: 'PodScheduled', status: 'True', lastTransitionTime: '2026-01-01T00:00:00Z' },
      ],
      hostIP: '127.64.16.1',
      hostIPs: [{ ip: '127.64.16.1' }],
      startTime: at,
      containerStatuses: [
        {
          name: 'main',
          state: { waiting: { reason: 'ContainerCreating' } },
          lastState: {},
          ready: false,
          started: false,
          restartCount: 0,
          image: 'host/sh',
          imageID: '',
        },
      ],
      qosClass: 'BestEffort',
    });
  });

  const probed = { containerId: 'c0', started: true, ready: true, unhealthy: undefined };

  const debugged = { ...pod, spec: { ...pod.spec, ephemeralContainers: [{ name: 'debug', image: 'host/sh' }] } };

  it('shows an ephemeral container, which is never ready and makes nothing unready', () => {
    const seen = status({ pod: debugged, sandbox: sandbox(main({}), main({ id: 'c1', name: 'debug' })), memories: memory({ probed }) });
    expect(seen.ephemeralContainerStatuses).toEqual([
      {
        name: 'debug',
        image: 'host/sh',
        imageID: 'host/sh',
        containerID: 'process://c1',
        ready: false,
        restartCount: 0,
        state: { running: { startedAt: at } },
        lastState: {},
      },
    ]);
    expect(conditions(seen)).toMatchObject({ Ready: 'True', ContainersReady: 'True' });
  });

  it('says that it does not run containers that join a pod later, on a node that has none', () => {
    expect(status({ pod: debugged, runsEphemeral: false }).ephemeralContainerStatuses).toEqual([
      {
        name: 'debug',
        image: 'host/sh',
        imageID: '',
        ready: false,
        restartCount: 0,
        state: { waiting: { reason: 'NotSupported', message: expect.stringContaining('ephemeral containers are not run by this node') } },
      },
    ]);
  });

  it('is Running and ready once its containers are', () => {
    const result = status({ state: 'Running', sandbox: sandbox(main({})), memories: memory({ state: 'Running', probed }) });
    expect(result).toMatchObject({ phase: 'Running', podIP: '127.64.16.2', podIPs: [{ ip: '127.64.16.2' }] });
    expect(conditions(result)).toEqual({
      PodReadyToStartContainers: 'True',
      Initialized: 'True',
      Ready: 'True',
      ContainersReady: 'True',
      PodScheduled: 'True',
    });
    expect(result.containerStatuses?.[0]).toMatchObject({
      ready: true,
      started: true,
      containerID: 'process://c0',
      state: { running: { startedAt: at } },
    });
  });

  it('is the same reference when nothing changed, and keeps the times of conditions that stay', () => {
    const first = status({ state: 'Running', sandbox: sandbox(main({})), memories: memory({ state: 'Running', probed }) });
    const again = { ...pod, status: first };
    expect(
      status({
        pod: again,
        state: 'Running',
        sandbox: sandbox(main({})),
        memories: memory({ state: 'Running', probed }),
        now: now + 9_000,
      }),
    ).toBe(first);
    const unready = status({
      pod: again,
      state: 'Running',
      sandbox: sandbox(main({})),
      memories: memory({ state: 'Running', probed: { ...probed, ready: false } }),
      now: now + 9_000,
    });
    const times = Object.fromEntries((unready.conditions ?? []).map(({ type, lastTransitionTime }) => [type, lastTransitionTime]));
    expect(times).toMatchObject({ Initialized: at, Ready: '2026-01-01T00:01:09Z' });
    expect(unready.hostIPs).toBe(first.hostIPs);
  });

  it('tells a crash loop with the back-off and the last exit', () => {
    const result = status({
      state: 'Running',
      sandbox: sandbox(main({ attempt: 2, id: 'c2', state: 'exited', exitCode: 3, reason: 'Error', finishedAt: now })),
      memories: memory({ state: 'BackOff', backoff: { delayMs: 20_000, updatedAt: now } }),
    });
    expect(result.phase).toBe('Running');
    expect(result.containerStatuses?.[0]).toMatchObject({
      restartCount: 2,
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 20s restarting failed container=main pod=web_shop(u)' } },
      lastState: { terminated: { exitCode: 3, reason: 'Error', containerID: 'process://c2' } },
    });
  });

  it('tells a failed start, and after two seconds its back-off', () => {
    const failure = {
      reason: 'ErrImagePull',
      message: 'why',
      later: { reason: 'ImagePullBackOff', message: 'Back-off' },
      failedAt: now,
      delayMs: 10_000,
    };
    const memories = memory({ state: 'BackOff', failure });
    const waiting = (time: number) => status({ sandbox: sandbox(), memories, now: time }).containerStatuses?.[0]?.state?.waiting;
    expect(waiting(now)).toEqual({ reason: 'ErrImagePull', message: 'why' });
    expect(waiting(now + 2_000)).toEqual({ reason: 'ImagePullBackOff', message: 'Back-off' });
  });

  it('ends as its containers ended', () => {
    const over = (exitCode: number, state: 'Succeeded' | 'Failed') =>
      status({
        state,
        sandbox: { ...sandbox(main({ state: 'exited', exitCode, finishedAt: now })), ready: false },
        memories: memory({ state: exitCode === 0 ? 'Completed' : 'Failed' }),
      });
    expect(over(0, 'Succeeded').phase).toBe('Succeeded');
    expect(conditions(over(0, 'Succeeded'))).toMatchObject({
      Initialized: 'True PodCompleted',
      Ready: 'False PodCompleted',
      PodReadyToStartContainers: 'False',
    });
    expect(conditions(over(1, 'Failed'))).toMatchObject({ Initialized: 'True', Ready: 'False PodFailed' });
  });

  it('keeps the status of a deleted pod until its containers have ended, and then shows their end', () => {
    const running = { ...pod, status: { ...pod.status, phase: 'Running' } };
    const memories = memory({ state: 'Stopped', probed });
    expect(status({ pod: running, state: 'Terminating', sandbox: sandbox(main({})), memories }).phase).toBe('Running');
    const ended = sandbox(main({ state: 'exited', exitCode: 137, finishedAt: now }));
    expect(status({ pod: running, state: 'Terminating', sandbox: ended, memories })).toMatchObject({
      phase: 'Failed',
      containerStatuses: [{ state: { terminated: { exitCode: 137, reason: 'Error' } } }],
    });
  });

  it('keeps conditions of others, and is not ready while a gate of theirs is closed', () => {
    const gate = { type: 'example.org/gate', status: 'False' };
    const gated: Pod = {
      ...pod,
      spec: { ...pod.spec, readinessGates: [{ conditionType: 'example.org/gate' }] },
      status: { ...pod.status, conditions: [...(pod.status?.conditions ?? []), gate] },
    };
    const result = status({ pod: gated, state: 'Running', sandbox: sandbox(main({})), memories: memory({ state: 'Running', probed }) });
    expect(conditions(result)).toMatchObject({
      Ready: 'False ReadinessGatesNotReady',
      ContainersReady: 'True',
      'example.org/gate': 'False',
    });
  });

  it('has the end of the output for a container that left no message', () => {
    const result = status({
      state: 'Failed',
      sandbox: sandbox(main({ state: 'exited', exitCode: 1, finishedAt: now })),
      memories: memory({ state: 'Failed' }),
      fallbackMessages: new Map([['c0', 'panic']]),
    });
    expect(result.containerStatuses?.[0]?.state?.terminated?.message).toBe('panic');
  });
});

describe('equality as the API sees it', () => {
  it('takes null for absent', () => {
    expect(sameJson({ a: 1, b: null }, { a: 1 })).toBe(true);
    expect(sameJson({ a: 1 }, { a: 1, b: null })).toBe(true);
    expect(sameJson({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] })).toBe(true);
    expect(sameJson({ a: [1] }, { a: [1, 2] })).toBe(false);
    expect(sameJson({ a: {} }, { a: [] })).toBe(false);
    expect(sameJson({ a: 1 }, { b: 1 })).toBe(false);
  });
});

it.each([
  [10_000, '10s'],
  [80_000, '1m20s'],
  [300_000, '5m0s'],
])('%i ms are %s', (ms, text) => {
  expect(durationText(ms)).toBe(text);
});
