import type { ControllerRevision } from '../../api/apps/v1/controller-revision.ts';
import { type Pod, pods } from '../../api/core/v1/pod.ts';
import { labels } from '../../api/well-known.ts';
import type { Client } from '../../client/client.ts';
import type { History, RevisionHistory } from '../revisions/history.ts';
import { hashOf } from './daemon-pods.ts';

export interface MergeOptions {
  readonly client: Client;
  readonly history: RevisionHistory;
  readonly signal: AbortSignal;
}

/** Several revisions of one template: the newest gets the pods of the others, which go. */
export async function mergeDuplicates(
  owned: readonly Pod[],
  { update, duplicates }: Pick<History, 'update' | 'duplicates'>,
  { client, history, signal }: MergeOptions,
): Promise<void> {
  const hashes = new Set(duplicates.map((revision: ControllerRevision) => hashOf(revision)));
  for (const pod of owned) {
    if (!hashes.has(hashOf(pod))) continue;
    const { namespace, name, uid, resourceVersion } = pod.metadata;
    const body = { metadata: { uid, resourceVersion, labels: { [labels.controllerRevisionHash]: hashOf(update) } } };
    await client.patch(pods, { namespace, name }, { type: 'merge', body }, { signal });
  }
  for (const duplicate of duplicates) await history.remove(duplicate, { signal });
}
