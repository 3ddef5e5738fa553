import type { Metrics } from '../../base/metrics.ts';
import type { Damage } from '../storage.ts';
import type { DamagedRow, LoadedLog, LogDriver, LogRow } from './driver.ts';
import { type LogState, noteLoaded } from './state.ts';

/**
 * Revisions go on so far above those of a log that lacks some, as those of a restored etcd do. No client has seen a higher one.
 *
 * @see etcdutl snapshot restore --bump-revision
 */
const revisionJump = 1_000_000_000;
/** Rows with a damaged key whose owner is looked for: each costs a look at all keys. */
const maxOwnerSearches = 16;

/**
 * Decides about damage before anybody reads. Keys whose newest row is damaged are deleted permanently, so that a
 * later start does not take an older row of theirs for the newest. The revision jumps, and history before the jump is
 * discarded, so that no client resumes from a write that this log has lost.
 */
export async function repairLog(state: LogState, loaded: LoadedLog, driver: Pick<LogDriver, 'repair'>): Promise<readonly Damage[]> {
  const { damagedRows, acknowledgedRevision, otherDamage, isCopy } = loaded;
  const found: Damage[] = otherDamage.map((message) => ({ type: 'other', message }));
  if (isCopy) found.push({ type: 'restored' });
  const acknowledged = acknowledgedRevision ?? 0;
  // The revision of a damaged row is one of its damaged parts, perhaps.
  const likely = damagedRows.map(({ revision }) => revision).filter((revision) => revision <= acknowledged);
  const newest = Math.max(state.currentRevision, ...likely);
  const absent = new Set<string>();
  for (const [at, row] of damagedRows.entries()) {
    const key = ownerOf(state, row, at < maxOwnerSearches);
    const isNewest = (state.index.get(key)?.committed ?? 0) < row.revision;
    if (isNewest && state.index.has(key)) absent.add(key);
    found.push({ type: 'row', key, revision: row.revision, effect: isNewest ? 'keyAbsent' : 'historyLost' });
  }
  if (acknowledged > newest) found.push({ type: 'missing', after: newest, upTo: acknowledged });
  if (found.length === 0) return found;
  let revision = Math.max(newest, acknowledged) + revisionJump;
  const rows: LogRow[] = [];
  for (const key of absent) {
    revision += 1;
    rows.push({ revision, key, text: null });
    noteLoaded(state, { revision, key, size: 0, deleted: true });
  }
  await driver.repair({ rows, compactedRevision: revision });
  state.currentRevision = revision;
  state.compactedRevision = revision;
  return found;
}

/** Key of a damaged row: when the key itself is damaged, the one key that fits its checksum. */
function ownerOf({ index }: LogState, row: DamagedRow, searches: boolean): string {
  if (searches && !row.belongsTo(row.key)) for (const key of index.keys()) if (row.belongsTo(key)) return key;
  return row.key;
}

export function countDamage(metrics: Metrics | undefined, damage: readonly Damage[]): void {
  const rows = metrics?.counter({
    name: 'store_damaged_rows_total',
    help: 'Rows of the store that were set aside because they were damaged.',
  });
  const missing = metrics?.counter({
    name: 'store_missing_revisions_total',
    help: 'Revisions that were acknowledged once and that the store lacks.',
  });
  for (const each of damage) {
    if (each.type === 'row') rows?.inc();
    if (each.type === 'missing') missing?.inc(each.upTo - each.after);
  }
}
