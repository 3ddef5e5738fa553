import { describe, expect, it } from 'vitest';
import type { Container, Pod } from '../../../src/api/core/v1/pod.ts';
import { type ContainerMemory, type PlanOptions, planContainers } from '../../../src/node-agent/container-plan.ts';
import type { ContainerStatus, SandboxStatus } from '../../../src/node-agent/container-runtime.ts';
import { nextBackoff, nextFailureDelay, remainingBackoff } from '../../../src/node-agent/crash-backoff.ts';
import { allContainers } from '../../../src/node-agent/pod-references.ts';

const now = 1_000_000;
const newMemory = (): ContainerMemory => ({ state: undefined, backoff: undefined, failure: undefined, probed: undefined });
const container = (name: string, more: Partial<Container> = {}): Container => ({ name, image: 'host/sh', ...more });
const podOf = (spec: Partial<Pod['spec']>): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { containers: [container('main')], ...spec },
});
const run = (name: string, changes: Partial<ContainerStatus> = {}): ContainerStatus => ({
  id: `${name}-${changes.attempt ?? 0}`,
  name,
  attempt: 0,
  image: 'host/sh',
  imageRef: 'host/sh',
  configHash: 'h',
  state: 'running',
  createdAt: now - 60_000,
  startedAt: now - 60_000,
  ...changes,
});
const exited = (name: string, exitCode: number, changes: Partial<ContainerStatus> = {}): ContainerStatus =>
  run(name, { state: 'exited', exitCode, finishedAt: now - 100, ...changes });
const sandboxOf = (...containers: ContainerStatus[]): SandboxStatus => ({
  id: 's',
  namespace: 'shop',
  name: 'web',
  uid: 'u',
  attempt: 0,
  ready: true,
  ip: '127.64.16.2',
  createdAt: now - 60_000,
  containers,
});

function plan(
  pod: Pod,
  sandbox: SandboxStatus | undefined,
  memories = new Map<string, ContainerMemory>(),
  changes: Partial<PlanOptions> = {},
) {
  for (const { name } of allContainers(pod)) if (!memories.has(name)) memories.set(name, newMemory());
  const steps = { record: () => undefined, resynced: () => undefined, recent: () => [] };
  const planned = planContainers({
    pod,
    sandbox,
    memories,
    hashOf: () => 'h',
    now,
    deleting: false,
    runsEphemeral: true,
    steps,
    ...changes,
  });
  return {
    ...planned,
    starts: planned.starts.map((start) => `${start.container.name}/${start.attempt}`),
    stops: planned.stops.map(({ reason }) => reason),
  };
}

describe('containers of a pod', () => {
  it('start together once there is a sandbox', () => {
    const pod = podOf({ containers: [container('a'), container('b')] });
    expect(plan(pod, undefined).starts).toEqual([]);
    expect(plan(pod, sandboxOf())).toMatchObject({ starts: ['a/0', 'b/0'], initialized: true, running: 0, outcome: undefined });
    expect(plan(pod, sandboxOf(run('a'), run('b')))).toMatchObject({ starts: [], running: 2, started: true });
  });

  it('wait for the init containers, which go one by one', () => {
    const pod = podOf({ initContainers: [container('one'), container('two')] });
    expect(plan(pod, sandboxOf())).toMatchObject({ starts: ['one/0'], initialized: false });
    expect(plan(pod, sandboxOf(run('one'))).starts).toEqual([]);
    expect(plan(pod, sandboxOf(exited('one', 0))).starts).toEqual(['two/0']);
    expect(plan(pod, sandboxOf(exited('one', 0), exited('two', 0)))).toMatchObject({ starts: ['main/0'], initialized: true });
  });

  it('wait for sidecars to have started, and sidecars are started again when they end', () => {
    const pod = podOf({ initContainers: [container('proxy', { restartPolicy: 'Always' })] });
    expect(plan(pod, sandboxOf()).starts).toEqual(['proxy/0']);
    expect(plan(pod, sandboxOf(run('proxy'))).starts).toEqual([]);
    const probed = new Map([
      ['proxy', { ...newMemory(), probed: { containerId: 'proxy-0', started: true, ready: true, unhealthy: undefined } }],
    ]);
    expect(plan(pod, sandboxOf(run('proxy')), probed).starts).toEqual(['main/0']);
    expect(plan(pod, sandboxOf(exited('proxy', 0), run('main'))).starts).toEqual(['proxy/1']);
  });

  it('fail with an init container that may not be repeated', () => {
    const pod = podOf({ restartPolicy: 'Never', initContainers: [container('one')] });
    expect(plan(pod, sandboxOf(exited('one', 1)))).toMatchObject({ starts: [], outcome: 'failed' });
  });

  it.each([
    ['Always', 0, ['main/1'], undefined],
    ['OnFailure', 0, [], 'succeeded'],
    ['OnFailure', 1, ['main/1'], undefined],
    ['Never', 0, [], 'succeeded'],
    ['Never', 1, [], 'failed'],
  ])('with restartPolicy %s and exit code %i: %j, %s', (restartPolicy, exitCode, starts, outcome) => {
    expect(plan(podOf({ restartPolicy }), sandboxOf(exited('main', exitCode)))).toMatchObject({ starts, outcome });
  });

  it('wait for their back-off, and are reported once', () => {
    const memories = new Map([['main', { ...newMemory(), backoff: { delayMs: 10_000, updatedAt: now - 5_000 } }]]);
    const first = plan(podOf({}), sandboxOf(exited('main', 1)), memories);
    expect(first).toMatchObject({ starts: [], requeueAt: now - 100 + 10_000 });
    expect(first.backedOff.map(({ name }) => name)).toEqual(['main']);
    expect(plan(podOf({}), sandboxOf(exited('main', 1)), memories).backedOff).toEqual([]);
    expect(plan(podOf({}), sandboxOf(exited('main', 1)), memories, { now: now + 10_000 }).starts).toEqual(['main/1']);
  });

  it('are joined by ephemeral ones also while they are initialized, which run once and decide nothing', () => {
    const ephemeralContainers = [{ name: 'spy', image: 'host/sh' }] as NonNullable<Pod['spec']['ephemeralContainers']>;
    const waiting = podOf({ initContainers: [container('one')], ephemeralContainers });
    expect(plan(waiting, sandboxOf(run('one'))).starts).toEqual(['spy/0']);
    expect(plan(waiting, undefined).starts).toEqual([]);
    const joined = podOf({ restartPolicy: 'Always', ephemeralContainers });
    expect(plan(joined, sandboxOf(run('main'), exited('spy', 1)))).toMatchObject({ starts: [], outcome: undefined });
    // The API alone knows that it ran: its sandbox is gone.
    const ran = { ephemeralContainerStatuses: [{ name: 'spy', state: { running: {} } }] } as unknown as Pod['status'];
    expect(plan({ ...joined, ...(ran === undefined ? {} : { status: ran }) }, sandboxOf(run('main'))).starts).toEqual([]);
    const done = podOf({ restartPolicy: 'Never', ephemeralContainers });
    expect(plan(done, sandboxOf(exited('main', 0), run('spy')))).toMatchObject({ outcome: 'succeeded', running: 1 });
    expect(plan(joined, sandboxOf(run('main')), undefined, { runsEphemeral: false }).starts).toEqual([]);
  });

  it('are stopped when a probe says so or their image changed', () => {
    const memories = new Map([
      ['main', { ...newMemory(), probed: { containerId: 'main-0', started: true, ready: false, unhealthy: 'liveness' as const } }],
    ]);
    expect(plan(podOf({}), sandboxOf(run('main')), memories).stops).toEqual(['LivenessProbeFailed']);
    expect(plan(podOf({}), sandboxOf(run('main', { configHash: 'old' }))).stops).toEqual(['SpecChanged']);
    expect(plan(podOf({}), sandboxOf(run('main')), new Map(), { deleting: true })).toMatchObject({ stops: ['Deleted'], starts: [] });
  });

  it('go on counting restarts where the API says, when the runtime lost them', () => {
    const pod: Pod = {
      ...podOf({}),
      status: {
        containerStatuses: [
          {
            name: 'main',
            image: '',
            imageID: '',
            ready: true,
            restartCount: 4,
            containerID: 'process://x',
            state: { running: { startedAt: '2026-01-01T00:00:00Z' } },
          },
        ],
      },
    };
    expect(plan(pod, sandboxOf()).starts).toEqual(['main/5']);
    expect(plan({ ...pod, spec: { ...pod.spec, restartPolicy: 'Never' } }, sandboxOf())).toMatchObject({ starts: [], outcome: 'failed' });
  });

  it('wait after a failed start for as long as it says', () => {
    const failure = { reason: 'ErrImagePull', message: 'no', later: undefined, failedAt: now - 1_000, delayMs: 10_000 };
    const memories = new Map([['main', { ...newMemory(), state: 'Waiting' as const, failure }]]);
    expect(plan(podOf({}), sandboxOf(), memories)).toMatchObject({ starts: [], requeueAt: now + 9_000 });
    expect(memories.get('main')?.state).toBe('BackOff');
    expect(plan(podOf({}), sandboxOf(), memories, { now: now + 9_000 }).starts).toEqual(['main/0']);
  });
});

describe('the back-off', () => {
  it('lets the first restart go at once, then doubles from ten seconds to five minutes', () => {
    expect(remainingBackoff(undefined, now, now)).toBe(0);
    const delays: number[] = [];
    let backoff = nextBackoff(undefined, now, now);
    for (let count = 0; count < 7; count += 1) {
      delays.push(remainingBackoff(backoff, now, now) / 1_000);
      backoff = nextBackoff(backoff, now, now);
    }
    expect(delays).toEqual([10, 20, 40, 80, 160, 300, 300]);
  });

  it('starts again after a long run', () => {
    const backoff = { delayMs: 160_000, updatedAt: now };
    expect(remainingBackoff(backoff, now + 601_000, now + 601_000)).toBe(0);
    expect(nextBackoff(backoff, now + 601_000, now + 601_000).delayMs).toBe(10_000);
  });

  it('counts failed starts from the first', () => {
    expect([undefined, 0, 10_000, 200_000].map(nextFailureDelay)).toEqual([10_000, 10_000, 20_000, 300_000]);
  });
});
