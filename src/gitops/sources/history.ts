import type { GitObjects } from './git-objects.ts';
import type { Commit, HistoryVerdict } from './git-source.ts';

/** Commits that are looked at; more than people push at a time. */
const maxCommits = 2_000;
/** Commits made earlier than the one that is looked for cannot come after it, as far as clocks can be trusted. */
const maxClockSkewMs = 24 * 3_600_000;

/**
 * Decides if `before` is in the history of `after`. `unknown` when a commit on the way is not in this repository (a
 * shallow one), or when there are too many.
 */
export async function compareHistory(objects: GitObjects, before: string, after: Commit): Promise<HistoryVerdict> {
  if (after.sha === before || after.parents.includes(before)) return 'continued';
  const oldest = await objects.readCommit(before, '').then(
    ({ committedAt }) => committedAt - maxClockSkewMs,
    () => undefined,
  );
  if (oldest === undefined) return 'unknown';
  const seen = new Set<string>([after.sha]);
  const queue: string[] = [...after.parents];
  let isShallow = false;
  for (let oid = queue.shift(); oid !== undefined; oid = queue.shift()) {
    if (oid === before) return 'continued';
    if (seen.has(oid)) continue;
    seen.add(oid);
    if (seen.size > maxCommits) return 'unknown';
    if (!(await objects.has(oid))) {
      isShallow = true;
      continue;
    }
    const commit = await objects.readCommit(oid, '');
    if (commit.committedAt >= oldest) queue.push(...commit.parents);
  }
  return isShallow ? 'unknown' : 'rewritten';
}
