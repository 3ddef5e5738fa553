import type { EtcdClient } from './client.ts';
import type { EtcdEvent, KeyValue } from './messages.ts';

/**
 * A client whose revisions are those of etcd plus a constant. A store that was filled from another one goes on above all revisions that
 * clients have seen of that one. 0 stays 0: it means an absent key, or the newest revision.
 *
 * Revisions up to the constant were never in this etcd. Comparisons with it fail, and reads of it answer as after a compaction.
 */
export function withOffset(client: EtcdClient, offset: number): EtcdClient {
  if (offset === 0) return client;
  const shown = (revision: number): number => (revision === 0 ? 0 : revision + offset);
  /** No revision of etcd is negative. */
  const stored = (revision: number): number => (revision === 0 ? 0 : revision > offset ? revision - offset : -1);
  const entryOf = (entry: KeyValue): KeyValue => ({
    ...entry,
    createRevision: shown(entry.createRevision),
    modRevision: shown(entry.modRevision),
  });
  const eventOf = (event: EtcdEvent): EtcdEvent => ({
    ...event,
    revision: shown(event.revision),
    before: event.before === undefined ? undefined : entryOf(event.before),
  });
  const answerOf = <Answer extends { readonly revision: number; readonly compactRevision: number; readonly events: readonly EtcdEvent[] }>(
    answer: Answer,
  ): Answer => ({
    ...answer,
    revision: shown(answer.revision),
    compactRevision: shown(answer.compactRevision),
    events: answer.events.map(eventOf),
  });

  return {
    ...client,
    async range(request) {
      if (request.revision !== undefined && stored(request.revision) < 0) throw new Error('the revision has been compacted');
      const answer = await client.range(request.revision === undefined ? request : { ...request, revision: stored(request.revision) });
      return { ...answer, revision: shown(answer.revision), entries: answer.entries.map(entryOf) };
    },
    async txn(request) {
      const answer = await client.txn({
        ...request,
        compare: request.compare.map(({ key, revision }) => ({ key, revision: stored(revision) })),
      });
      return { ...answer, revision: shown(answer.revision), found: answer.found === undefined ? undefined : entryOf(answer.found) };
    },
    async compact(revision, physical) {
      if (stored(revision) > 0) await client.compact(stored(revision), physical);
    },
    watch(request, signal) {
      const stream = client.watch({ ...request, startRevision: Math.max(1, stored(request.startRevision)) }, signal);
      async function* translated(): typeof stream.batches {
        for await (const batch of stream.batches) yield batch.map(answerOf);
      }
      return { ...stream, batches: translated() };
    },
    async *past(request, signal) {
      const startRevision = stored(request.startRevision);
      if (startRevision < 0) {
        yield { revision: 0, created: false, canceled: 'compacted', compactRevision: offset + 1, events: [] };
        return;
      }
      for await (const answer of client.past({ ...request, startRevision }, signal)) yield answerOf(answer);
    },
  };
}
