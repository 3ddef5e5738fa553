import type { Kustomization } from '../../../api/kustomize/v1/kustomization.ts';
import type { Activity, ActivityFeed, ObjectChange } from '../../../base/contracts/activity.ts';
import type { Redactor } from '../../../base/redactor.ts';
import { keyOf } from '../../../machinery/object.ts';

/** Records what happens to apps, without what they have from Secrets. */
export interface AppFeed {
  add(app: Kustomization, activity: Exclude<Activity, { type: 'commit' }>): void;
}

export const redactedFeed = (feed: Pick<ActivityFeed, 'add'>, redactor: Redactor): AppFeed => ({
  add(app, activity) {
    const redact = (text: string): string => redactor.text(text, keyOf(app));
    switch (activity.type) {
      case 'applied':
        return feed.add({ ...activity, changes: activity.changes.map((change) => redactedChange(change, redact)) });
      case 'healthy':
      case 'recovered':
        return feed.add(activity);
      case 'degraded':
        return feed.add({ ...activity, reason: redact(activity.reason) });
      case 'failed':
        return feed.add({ ...activity, errors: activity.errors.map(redact) });
      case 'drift':
        return feed.add({
          ...activity,
          object: redact(activity.object),
          change: redact(activity.change),
          problem: redact(activity.problem),
        });
      default:
        return activity satisfies never;
    }
  },
});

export const redactedChange = (change: ObjectChange, redact: (text: string) => string): ObjectChange => ({
  ...change,
  object: redact(change.object),
  fields: change.fields.map(redact),
});
