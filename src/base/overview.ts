/** The contract of `/status.json`, which the page, `midship status` and scripts read; fields may be added, not taken away. */
export interface Overview {
  /** One sentence: is the cluster what Git says? */
  readonly verdict: string;
  /** SHA that the first repository has now; empty before it could be read. */
  readonly revision: string;
  readonly apps: readonly AppOverview[];
  readonly nodes: readonly NodeOverview[];
}

export interface AppOverview {
  readonly name: string;
  readonly namespace: string;
  readonly sync: 'Synced' | 'OutOfSync' | 'Progressing' | 'Failed' | 'Unknown';
  readonly health: 'Healthy' | 'Progressing' | 'Degraded' | 'Suspended' | 'Missing' | 'Unknown';
  /** SHA in force; empty before the first apply. */
  readonly revision: string;
  /** A sentence; empty when there is nothing to say. */
  readonly reason: string;
}

export interface NodeOverview {
  readonly name: string;
  readonly ready: boolean;
  readonly simulated: boolean;
  readonly pods: number;
}
