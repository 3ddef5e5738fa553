import type { HistorySnapshot } from '../../../api/kustomize/v1/kustomization.ts';
import type { Health } from '../../../lifecycle/reasons.ts';
import type { HistoryEntry } from './history.ts';

/** Messages about an app that were sent, so that each is sent once. */
export interface Announced {
  readonly history: readonly HistoryEntry[];
  /** The newest attempts as the status has them; undefined before the first of this process. */
  readonly snapshots: readonly HistorySnapshot[] | undefined;
  /** The revision in force was said to be healthy. */
  readonly isHealthy: boolean;
  /** The problem that was reported last. */
  readonly problem: string;
  /** SHA at which an app that had worked was said to have that problem; empty when none was, or it was said to be over. */
  readonly brokeAt: string;
  /** When the app last became healthy, while it is; 0 otherwise. Milliseconds since the epoch. */
  readonly wellSince: number;
  readonly degradedSince: number;
  readonly lastHealth: Health;
}

export const nothingAnnounced: Announced = {
  history: [],
  snapshots: undefined,
  isHealthy: false,
  problem: '',
  brokeAt: '',
  wellSince: 0,
  degradedSince: 0,
  lastHealth: { status: 'Unknown', reason: '' },
};
