import type { VerdictState } from './app-states.ts';

/** The contract of `/status.json`, which the page, `midship status` and scripts read; fields may be added, not taken away. */
export interface Overview {
  /** One sentence: is the cluster what Git says? */
  readonly verdict: string;
  /** The answer to that: Git can be read, there is an app, and every app matches. */
  readonly matches: boolean;
  /** SHA that the first repository has now; empty before it could be read. */
  readonly revision: string;
  /** The branch or tag that the SHA was read from; empty when a commit is followed, and before it could be read. */
  readonly branch: string;
  readonly apps: readonly AppOverview[];
  readonly nodes: readonly NodeOverview[];
  /** The server, among several on one store, that GitOps runs on; absent when this server is alone. */
  readonly gitops?: GitOpsOverview;
}

export interface GitOpsOverview {
  /** Host name of the server that leads; empty while none does. */
  readonly leader: string;
  /** This server leads. */
  readonly here: boolean;
  /** Address of the leader's page, which has the activity; empty when it is not known, or other machines do not reach it. */
  readonly page: string;
}

export interface AppOverview {
  readonly name: string;
  readonly namespace: string;
  /**
   * Answers "is the app what Git says?". All that is shown of an app comes from this; `sync` and `health` are its two
   * halves, in Argo CD's terms.
   */
  readonly state: VerdictState;
  readonly sync: 'Synced' | 'OutOfSync' | 'Progressing' | 'Failed' | 'Unknown';
  readonly health: 'Healthy' | 'Progressing' | 'Degraded' | 'Suspended' | 'Missing' | 'NoController' | 'Unknown';
  /** SHA in force; empty before the first apply. */
  readonly revision: string;
  /** Namespaces in which the app has objects, by name; empty when all of them are outside of namespaces. */
  readonly targets: readonly string[];
  /** Pods of the app's workloads; absent when it has none. */
  readonly pods: PodCount | undefined;
  /** The time from which the app is ready, or not, as it is now: RFC 3339; empty before the first attempt. */
  readonly since: string;
  /** A sentence; empty when there is nothing to say. */
  readonly reason: string;
  /** Someone holds the app at a commit: who, when and which; empty when nobody does. */
  readonly pinned: string;
  /** Differences from Git that are left so, one line each. */
  readonly differences: readonly string[];
  /** Values that Git leaves to others and they have set, and files that are not read, one line each; none counts as a difference. */
  readonly notes: readonly string[];
  /** The commit that the trouble came with; absent when the cause is no commit, or when going back to the one before would not help. */
  readonly cause: CommitOverview | undefined;
  readonly why: WhyOverview;
}

export interface PodCount {
  readonly ready: number;
  readonly wanted: number;
}

export interface CommitOverview {
  readonly sha: string;
  readonly author: string;
  readonly subject: string;
  /** RFC 3339. */
  readonly seenAt: string;
}

/** Reasons for an app's state: the answer of `midship why`, of `status.json` and of the app's page. */
export interface WhyOverview {
  readonly state: VerdictState;
  /** One sentence. */
  readonly verdict: string;
  /** The one thing that keeps the app from being what Git says, healthy; empty when nothing does. One line. */
  readonly blocking: string;
  /** Differences from Git that are left so, one line each. */
  readonly differences: readonly string[];
  /** Values that Git leaves to others and they have set, and files that are not read, one line each. */
  readonly notes: readonly string[];
  /** The commit that changed the app last, whether it could be applied or not; undefined before the first. */
  readonly commit: CommitOverview | undefined;
  /** The commit that the trouble came with; undefined when the cause is no commit. */
  readonly cause: CommitOverview | undefined;
  /** From commit to prune, each phase once. */
  readonly phases: readonly WhyPhase[];
  /** RFC 3339; undefined when nothing is tried again by itself. */
  readonly nextRetryAt: string | undefined;
  readonly tries: number;
  /** The next step for a person; empty when there is none. */
  readonly fix: string;
}

export interface WhyPhase {
  readonly name: 'fetch' | 'verify' | 'render' | 'plan' | 'apply' | 'health' | 'prune';
  /** `waiting`: its turn has not come; `skipped`: there was nothing to do. */
  readonly result: 'done' | 'failed' | 'running' | 'waiting' | 'skipped';
  /** Undefined when it was not measured. */
  readonly durationMs: number | undefined;
  readonly detail: string;
}

export interface NodeOverview {
  readonly name: string;
  readonly ready: boolean;
  readonly simulated: boolean;
  readonly pods: number;
}
