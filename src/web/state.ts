import type { AppOverview } from '../base/overview.ts';

/** How things look on the page; each has a shape and a colour, and is never shown by colour alone. */
export type State = 'ok' | 'progressing' | 'drift' | 'failed' | 'paused' | 'unknown';

/** Worst first: the order of rows and segments. */
export const states: readonly State[] = ['failed', 'drift', 'progressing', 'unknown', 'paused', 'ok'];

export interface Shown {
  readonly state: State;
  /** The word that stands beside the shape. */
  readonly word: string;
}

export function shownOf({ sync, health, pinned = '' }: Pick<AppOverview, 'sync' | 'health'> & { readonly pinned?: string }): Shown {
  if (health === 'Suspended') return { state: 'paused', word: 'Suspended' };
  if (sync === 'Failed') return { state: 'failed', word: 'Failed' };
  if (health === 'Degraded' || health === 'Missing') return { state: 'failed', word: health };
  if (health === 'NoController') return { state: 'drift', word: 'No controller' };
  if (pinned !== '') return { state: 'paused', word: 'Pinned' };
  if (sync === 'OutOfSync') return { state: 'drift', word: 'Out of sync' };
  if (sync === 'Progressing' || health === 'Progressing') return { state: 'progressing', word: 'Rolling out' };
  if (sync === 'Synced' && health === 'Healthy') return { state: 'ok', word: 'In sync' };
  return { state: 'unknown', word: 'Unknown' };
}
