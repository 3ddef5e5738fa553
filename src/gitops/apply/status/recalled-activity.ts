import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Activity } from '../../../base/contracts/activity.ts';
import type { HistoryEntry } from '../records/history.ts';

/** Entries of one app that come back at a start: the line of commits shows as many for all apps. */
const maxRecalled = 10;

/** Recalls the activity of an app from its history, oldest first. */
export function activitiesOf({ metadata }: Pick<Kustomization, 'metadata'>, history: readonly HistoryEntry[]): readonly Activity[] {
  return history.slice(-maxRecalled).flatMap((entry): readonly Activity[] => {
    const at = Date.parse(entry.at);
    const [branch = '', sha = ''] = entry.revision.split('@sha1:');
    if (sha === '' || Number.isNaN(at)) return [];
    const { author, subject, durationMs, changes, rollback } = entry;
    const of = { at, app: metadata.name, sha };
    return [
      { type: 'commit', at: at - durationMs, branch, sha, author, subject },
      ...(entry.result === 'failed'
        ? [{ type: 'failed' as const, ...of, errors: [] }]
        : changes.length === 0
          ? [{ type: 'recovered' as const, ...of, from: 'failed' as const }]
          : [{ type: 'applied' as const, ...of, changes, durationMs, rollback }]),
      ...(entry.worked === false ? [{ type: 'degraded' as const, ...of, reason: '' }] : []),
      ...(entry.worked === true ? [{ type: 'healthy' as const, ...of, summary: '', durationMs }] : []),
    ];
  });
}
