import { expect, it } from 'vitest';
import type { PodSandboxConfig } from '../../../../src/node-agent/container-runtime.ts';
import type { CriIdMapping, CriSandbox } from '../../../../src/node-agent/containerd/cri-client.ts';
import { sandboxConfig } from '../../../../src/node-agent/containerd/cri-config.ts';
import { createUserRanges, idsPerPod, maxRanges } from '../../../../src/node-agent/containerd/user-ranges.ts';

const configOf = (uid: string): PodSandboxConfig => ({
  namespace: 'default',
  name: uid,
  uid,
  attempt: 0,
  hostname: uid,
  hostNetwork: false,
  hostAliases: [],
  logDirectory: '',
});

/** A runtime that keeps what it is given, as containerd keeps the annotations of a sandbox. */
function runtime() {
  const sandboxes: CriSandbox[] = [];
  const run = async (uid: string, ids?: CriIdMapping): Promise<number | undefined> => {
    await Promise.resolve();
    const { metadata, labels, annotations } = sandboxConfig({ config: configOf(uid), nodeName: 'node', cgroupParent: '/', ids });
    sandboxes.push({ id: uid, metadata, labels, annotations, state: 'SANDBOX_READY', createdAt: 0 });
    return ids?.hostId;
  };
  return { sandboxes, run, listPodSandboxes: async () => [...sandboxes] };
}

it('ranges of pods that start at once differ, outlive the agent, and are free with their last sandbox', async () => {
  const client = runtime();
  await client.run('plain');
  const ranges = createUserRanges(client);
  const startAt = (uid: string, by = ranges) => by.withRange(uid, (ids) => client.run(uid, ids));
  expect(await Promise.all([startAt('a'), startAt('b')])).toEqual([idsPerPod, 2 * idsPerPod]);

  const next = createUserRanges(client);
  expect(await startAt('c', next)).toBe(3 * idsPerPod);
  // The second sandbox of a pod has the users of the first.
  expect(await startAt('b', next)).toBe(2 * idsPerPod);
  client.sandboxes.splice(1, 1);
  await expect(next.withRange('fails', () => Promise.reject(new Error('no sandbox')))).rejects.toThrow('no sandbox');
  expect(await startAt('d', next)).toBe(idsPerPod);
});

it('a pod without a free range waits, and learns why', async () => {
  const client = runtime();
  const ranges = createUserRanges(client);
  for (let index = 1; index <= maxRanges; index += 1)
    await client.run(`pod-${index}`, { hostId: index * idsPerPod, containerId: 0, length: idsPerPod });
  await expect(ranges.withRange('late', (ids) => client.run('late', ids))).rejects.toThrow(
    'all 220 ranges of user ids are taken by pods with hostUsers: false',
  );
});
