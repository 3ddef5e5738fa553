import type { ClusterChange } from './plugin.ts';
import type { Profile } from './profile.ts';
import type { QueuedPod } from './queue.ts';

/** Changes of the cluster since the last look, and the parked pods that they may help. */
export interface HelpedPods {
  note(change: ClusterChange): void;
  readonly hasChanges: boolean;
  /** Pods of `parked` that are worth another try after the noted changes; forgets the changes. */
  take(parked: Iterable<QueuedPod>): readonly QueuedPod[];
}

export function createHelpedPods({ filters }: Profile): HelpedPods {
  /** Plugins whose answer each change may turn. */
  const byChange = new Map<ClusterChange, string[]>();
  for (const { name, helpedBy } of filters) {
    for (const change of helpedBy) byChange.set(change, [...(byChange.get(change) ?? []), name]);
  }
  const changes = new Set<ClusterChange>();

  return {
    note: (change) => void changes.add(change),
    get hasChanges() {
      return changes.size > 0;
    },
    take(parked) {
      if (changes.size === 0) return [];
      const turned = new Set<string>();
      for (const change of changes) for (const plugin of byChange.get(change) ?? []) turned.add(plugin);
      changes.clear();
      return [...parked].filter(({ rejectedBy }) => {
        // Without a plugin to blame there were no nodes at all.
        if (rejectedBy.size === 0) return true;
        for (const plugin of rejectedBy) if (turned.has(plugin)) return true;
        return false;
      });
    },
  };
}
