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

const firstOf = (cluster: number, index = 0): number => (cluster * maxRanges + index) * idsPerPod;

it('ranges of pods that start at once differ, outlive the agent, and are free with their last sandbox', async () => {
  const client = runtime();
  await client.run('plain');
  const ranges = createUserRanges(client, 64);
  const startAt = (uid: string, by = ranges) => by.withRange(uid, (ids) => client.run(uid, ids));
  expect(await Promise.all([startAt('a'), startAt('b')])).toEqual([firstOf(64), firstOf(64, 1)]);

  const next = createUserRanges(client, 64);
  expect(await startAt('c', next)).toBe(firstOf(64, 2));
  // The second sandbox of a pod has the users of the first.
  expect(await startAt('b', next)).toBe(firstOf(64, 1));
  client.sandboxes.splice(1, 1);
  await expect(next.withRange('fails', () => Promise.reject(new Error('no sandbox')))).rejects.toThrow('no sandbox');
  expect(await startAt('d', next)).toBe(firstOf(64));
  // Another cluster of the machine, whose runtime does not know of these.
  const other = runtime();
  const elsewhere = createUserRanges(other, 65);
  expect(await elsewhere.withRange('a', (ids) => other.run('a', ids))).toBe(firstOf(65));
  expect(firstOf(65)).toBeGreaterThanOrEqual(firstOf(64, maxRanges));
  expect(firstOf(254, maxRanges)).toBeLessThan(2 ** 31);
});

it('a pod without a free range waits, and learns why', async () => {
  const client = runtime();
  const ranges = createUserRanges(client, 1);
  for (let index = 0; index < maxRanges; index += 1)
    await client.run(`pod-${index}`, { hostId: firstOf(1, index), containerId: 0, length: idsPerPod });
  await expect(ranges.withRange('late', (ids) => client.run('late', ids))).rejects.toThrow(
    'all 128 ranges of user ids are taken by pods with hostUsers: false',
  );
});
