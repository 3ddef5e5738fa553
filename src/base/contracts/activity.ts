/**
 * Events of the cluster in the order in which a person reads them. The terminal of `up` and the page's line of commits
 * show them. The GitOps engine writes them. After a restart the engine restores commits and applies from the histories
 * of the apps, but no drift.
 */
export type Activity =
  | {
      readonly type: 'commit';
      readonly at: number;
      readonly branch: string;
      readonly sha: string;
      readonly author: string;
      readonly subject: string;
    }
  | {
      readonly type: 'applied';
      readonly at: number;
      readonly app: string;
      readonly sha: string;
      readonly changes: readonly ObjectChange[];
      readonly durationMs: number;
      /** The tree equals one that was applied before. */
      readonly rollback: boolean;
    }
  | {
      readonly type: 'healthy';
      readonly at: number;
      readonly app: string;
      readonly sha: string;
      readonly summary: string;
      readonly durationMs: number;
    }
  | { readonly type: 'degraded'; readonly at: number; readonly app: string; readonly sha: string; readonly reason: string }
  | { readonly type: 'failed'; readonly at: number; readonly app: string; readonly sha: string; readonly errors: readonly string[] }
  | {
      readonly type: 'drift';
      readonly at: number;
      readonly app: string;
      /** `Deployment web/storefront` */
      readonly object: string;
      /** `spec.replicas 5 → 9`, or `deleted` */
      readonly change: string;
      /** The field manager that wrote it. */
      readonly by: string;
      readonly healed: boolean;
      /** Reason why the engine leaves the object as it is for now; empty when it acts on it. */
      readonly left: string;
      /** Reason why the engine could not put the object back; empty when it could. */
      readonly problem: string;
      readonly durationMs: number;
    }
  /** A reported problem of an app is over, without a change that would say so. */
  | { readonly type: 'recovered'; readonly at: number; readonly app: string; readonly sha: string; readonly from: 'failed' | 'degraded' };

export interface ObjectChange {
  readonly action: 'created' | 'configured' | 'pruned';
  /** `Deployment web/storefront` */
  readonly object: string;
  /** `spec.replicas 3 → 5`; at most a few, Secret values never. */
  readonly fields: readonly string[];
}

export interface ActivityFeed {
  add(activity: Activity): void;
  /** Puts what happened before this process started where it belongs by its time; listeners hear only of what is new. */
  recall(earlier: readonly Activity[]): void;
  /** Newest last; bounded. */
  recent(): readonly Activity[];
  onAdded(listener: (activity: Activity) => void): () => void;
}

export function createActivityFeed(maxEntries = 500): ActivityFeed {
  const entries: Activity[] = [];
  const listeners = new Set<(activity: Activity) => void>();
  return {
    add(activity) {
      entries.push(activity);
      if (entries.length > maxEntries) entries.shift();
      for (const listener of listeners) listener(activity);
    },
    recall(earlier) {
      // A start sees the newest commit once more; it was first seen before.
      const shas = new Set<string>();
      const merged = [...earlier, ...entries]
        .sort((a, b) => a.at - b.at)
        .filter((each) => {
          if (each.type !== 'commit') return true;
          const isFirst = !shas.has(each.sha);
          shas.add(each.sha);
          return isFirst;
        });
      entries.splice(0, entries.length, ...merged.slice(-maxEntries));
    },
    recent: () => [...entries],
    onAdded(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
