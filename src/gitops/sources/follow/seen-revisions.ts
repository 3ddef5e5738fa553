import { BoundedMap } from '../../../base/bounded-map.ts';

/** The commits of each source in the order in which they were seen, to tell how far behind an app is. */
export interface SeenRevisions {
  add(source: string, revision: string): void;
  /** Commits of the source that were seen after `revision`; all that are known when it is not among them. */
  after(source: string, revision: string): number;
}

/** Commits remembered for each source; a reader that is further behind gets this number. */
const maxRevisions = 1_000;
/** Sources remembered; the one without a commit for the longest time is forgotten. */
const maxSources = 10_000;

export function createSeenRevisions(): SeenRevisions {
  const seen = new BoundedMap<string, string[]>(maxSources);
  return {
    add(source, revision) {
      const known = seen.get(source) ?? [];
      seen.set(source, known);
      if (known.at(-1) === revision) return;
      known.push(revision);
      if (known.length > maxRevisions) known.shift();
    },
    after(source, revision) {
      const known = seen.get(source) ?? [];
      // An unknown revision has the index -1, which selects all of them.
      return known.length - 1 - known.lastIndexOf(revision);
    },
  };
}
