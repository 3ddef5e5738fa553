import type { CriClient, CriIdMapping } from './cri-client.ts';
import { linuxOf } from './cri-config.ts';

/**
 * Ids of the machine for pods with `hostUsers: false`. Each pod has 65,536 of its own, and its root is the first of them. The sandboxes
 * keep the ranges, so the next agent finds them in the list of the runtime.
 *
 * @see KEP-127, "Support User Namespaces": the range of a kubelet without an entry in /etc/subuid
 */
export interface UserRanges {
  /**
   * Runs `start` with a range that no other pod of the runtime has. The sandbox that it makes has to record it.
   *
   * @throws Error when all ranges are taken
   */
  withRange<T>(podUid: string, start: (ids: CriIdMapping) => Promise<T>): Promise<T>;
}

export const idsPerPod = 65_536;
/** A node takes 110 pods. Those that were removed from the API may still hold a range while they end. */
export const maxRanges = 128;

/**
 * The ranges of one cluster of the machine. No two clusters have ids in common. All ids are below 2^31, where some programs take them for
 * negative.
 *
 * @param cluster  the number by which the machine tells its clusters apart, at most 254
 */
export function createUserRanges(client: Pick<CriClient, 'listPodSandboxes'>, cluster: number): UserRanges {
  /** Ranges of sandboxes that are being made, which no list shows yet. */
  const underWay = new Map<string, number>();
  let deciding: Promise<unknown> = Promise.resolve();

  async function choose(podUid: string): Promise<number> {
    // The list has the sandboxes of every agent on this runtime, since the ids are those of the machine.
    const sandboxes = await client.listPodSandboxes({});
    const taken = new Map<number, string>([...underWay].map(([uid, first]) => [first, uid]));
    for (const sandbox of sandboxes) {
      const first = linuxOf(sandbox).securityContext.namespaceOptions.usernsOptions?.uids[0]?.hostId;
      if (first !== undefined) taken.set(first, sandbox.metadata.uid);
    }
    const firsts = Array.from({ length: maxRanges }, (_, index) => (cluster * maxRanges + index) * idsPerPod);
    const [own] = [...taken].find(([, uid]) => uid === podUid) ?? [];
    const chosen = own ?? firsts.find((first) => !taken.has(first));
    if (chosen === undefined) throw new Error(`all ${maxRanges} ranges of user ids are taken by pods with hostUsers: false`);
    underWay.set(podUid, chosen);
    return chosen;
  }

  return {
    async withRange(podUid, start) {
      const choice = deciding.then(() => choose(podUid));
      deciding = choice.catch(() => undefined);
      const hostId = await choice;
      try {
        return await start({ hostId, containerId: 0, length: idsPerPod });
      } finally {
        underWay.delete(podUid);
      }
    },
  };
}
