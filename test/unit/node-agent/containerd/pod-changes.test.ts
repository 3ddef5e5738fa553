import { expect, it } from 'vitest';
import { createLog } from '../../../../src/base/log.ts';
import type { PodResources } from '../../../../src/node-agent/container-runtime.ts';
import type { CriClient, CriSandbox, CriSandboxConfig } from '../../../../src/node-agent/containerd/cri-client.ts';
import { createPodChanges } from '../../../../src/node-agent/containerd/pod-changes.ts';
import type { PodList } from '../../../../src/node-agent/containerd/pod-list.ts';
import type { QosCgroups } from '../../../../src/node-agent/containerd/qos-cgroups.ts';

const burstable = (cpuRequestMilli: number): PodResources => ({ qosClass: 'Burstable', cpuRequestMilli });

it('pods of the class Burstable share what they request together, also after a resize', async () => {
  const sandboxes: CriSandbox[] = [];
  const shares: number[] = [];
  const client = {
    listPodSandboxes: async (wanted: Readonly<Record<string, string>>) =>
      sandboxes.filter(({ labels }) => Object.entries(wanted).every(([name, value]) => labels[name] === value)),
    listContainers: async () => [],
    runPodSandbox: async ({ metadata, labels, annotations }: CriSandboxConfig) => {
      sandboxes.push({ id: metadata.uid, metadata, labels, annotations, state: 'SANDBOX_READY', createdAt: 0 });
      return metadata.uid;
    },
    stopPodSandbox: async () => undefined,
    removePodSandbox: async (id: string) =>
      void sandboxes.splice(
        sandboxes.findIndex((each) => each.id === id),
        1,
      ),
  } as unknown as CriClient;
  const cgroups = {
    prepare: async () => '/pod',
    resize: async (_uid: string, _resources: PodResources, containers: () => Promise<void>) => containers(),
    shareBurstable: async (milli: number) => void shares.push(milli),
    remove: async () => undefined,
  } as unknown as QosCgroups;
  const pods = {
    sandboxOf: async (id: string) => sandboxes.find((each) => each.id === id),
    forgetSandbox: () => undefined,
  } as unknown as PodList;
  const log = createLog({ level: 'silent' });
  const changes = createPodChanges({
    client,
    own: {},
    directory: '/none',
    pods,
    cgroups,
    cluster: 1,
    seccompDirectory: '',
    nodeName: 'node',
    log,
  });
  const start = (uid: string, resources: PodResources) =>
    changes.runPodSandbox({
      namespace: 'default',
      name: uid,
      uid,
      attempt: 0,
      hostname: uid,
      hostNetwork: false,
      hostAliases: [],
      logDirectory: '',
      linux: {
        hostPID: false,
        hostIPC: false,
        sharesProcesses: false,
        ownUsers: false,
        privileged: false,
        ports: [],
        sysctls: {},
        resources,
      },
    });
  await start('a', burstable(100));
  await start('b', burstable(50));
  await start('guaranteed', { qosClass: 'Guaranteed', cpuRequestMilli: 1_000 });
  await changes.resize('a', burstable(400), []);
  await changes.removePodSandbox('a');
  expect(shares).toEqual([100, 150, 150, 450, 50]);
});
