import { extenderName } from './extenders/extenders.ts';
import type { Changed, ClusterChange, HelpTest } from './plugin.ts';
import type { PodRecord, PodShape } from './pod-record.ts';
import type { Profile } from './profile.ts';
import type { QueuedPod } from './queue.ts';

/**
 * Changes that are kept one by one until the next look. Any further one may help every pod that its kind can help. A burst must cost no
 * more than trying the parked pods once.
 */
const maxNoted = 256;

/** Changes of the cluster since the last look, and the parked pods that they may help. */
export interface HelpedPods {
  note(change: ClusterChange, changed?: Changed): void;
  readonly hasChanges: boolean;
  /** Pods of `parked` that are worth another try after the noted changes; forgets the changes. */
  take(parked: Iterable<QueuedPod>): readonly QueuedPod[];
}

/** The plugins of a pod's scheduler that may have rejected it. */
type ProfileOf = (pod: PodRecord) => Profile | undefined;

interface Noted {
  readonly change: ClusterChange;
  readonly changed: Changed;
}

export function createHelpedPods(profileOf: ProfileOf): HelpedPods {
  let noted: Noted[] = [];
  /** Kinds of change with no details, or with more details than are kept. */
  let anyOf = new Set<ClusterChange>();

  return {
    note(change, changed) {
      if (changed === undefined || noted.length >= maxNoted) anyOf.add(change);
      else noted.push({ change, changed });
    },
    get hasChanges() {
      return noted.length > 0 || anyOf.size > 0;
    },
    take(parked) {
      if (noted.length === 0 && anyOf.size === 0) return [];
      const changes = { noted: noted.filter(({ change }) => !anyOf.has(change)), anyOf };
      noted = [];
      anyOf = new Set();
      // Replicas of one shape that were rejected by the same plugins get one answer.
      const answers = new Map<PodShape | PodRecord, Map<string, boolean>>();
      return [...parked].filter(({ record, rejectedBy }) => {
        // Without a plugin to blame there were no nodes at all. Only an extender knows what it looks at.
        if (rejectedBy.size === 0 || rejectedBy.has(extenderName)) return true;
        const group = hasOwnClaims(record) ? record : record.shape;
        let ofShape = answers.get(group);
        if (ofShape === undefined) {
          ofShape = new Map();
          answers.set(group, ofShape);
        }
        const blamed = [...rejectedBy].join();
        let answer = ofShape.get(blamed);
        if (answer === undefined) {
          answer = isHelped(record, rejectedBy, changes);
          ofShape.set(blamed, answer);
        }
        return answer;
      });
    },
  };

  function isHelped(
    pod: PodRecord,
    rejectedBy: ReadonlySet<string>,
    changes: { readonly noted: readonly Noted[]; readonly anyOf: ReadonlySet<ClusterChange> },
  ): boolean {
    const profile = profileOf(pod);
    if (profile === undefined) return true;
    for (const { name, helpedBy } of profile.filters) {
      if (!rejectedBy.has(name)) continue;
      for (const change of changes.anyOf) if (helpedBy[change] !== undefined) return true;
      for (const { change, changed } of changes.noted) if (passes(helpedBy[change], pod, changed)) return true;
    }
    return false;
  }
}

const passes = (test: HelpTest | undefined, pod: PodRecord, changed: Changed): boolean =>
  test === 'always' || test?.(pod, changed) === true;

/** Claims made from the template of an ephemeral volume bear the name of their pod, and its status names those for devices. */
const hasOwnClaims = ({ shape: { source } }: PodRecord): boolean =>
  (source.resourceClaims ?? []).length > 0 || source.volumes?.some(({ ephemeral }) => ephemeral !== undefined) === true;
