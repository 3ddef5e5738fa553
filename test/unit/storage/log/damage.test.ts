import { describe, expect, test } from 'vitest';
import { repairLog } from '../../../../src/storage/log/damage.ts';
import type { DamagedRow, LoadedLog, Repair } from '../../../../src/storage/log/driver.ts';
import { createLogState, noteLoaded } from '../../../../src/storage/log/state.ts';

const jump = 1_000_000_000;
const whole: LoadedLog = { compactedRevision: 0, acknowledgedRevision: 5, damagedRows: [], otherDamage: [], isCopy: false };
const damaged = (revision: number, key: string, owner = key): DamagedRow => ({
  revision,
  key,
  belongsTo: (candidate) => candidate === owner,
});

async function repaired(loaded: LoadedLog) {
  const state = createLogState();
  for (const [revision, key] of [
    [3, 'a'],
    [4, 'b'],
  ] as const) {
    noteLoaded(state, { revision, key, size: 1, deleted: false });
  }
  const decisions: Repair[] = [];
  const damage = await repairLog(state, loaded, {
    async repair(decision) {
      decisions.push(decision);
    },
  });
  return { state, damage, decisions };
}

describe('damage of a log', () => {
  test('is none when the log reaches what was acknowledged', async () => {
    const { damage, decisions } = await repaired({ ...whole, acknowledgedRevision: 4 });
    expect({ damage, decisions }).toEqual({ damage: [], decisions: [] });
  });

  test('deletes a key whose newest row is damaged, and only loses history of one whose older row is', async () => {
    const rows = [damaged(2, 'b'), damaged(5, 'a')];
    const { state, damage, decisions } = await repaired({ ...whole, damagedRows: rows });
    expect(damage).toEqual([
      { type: 'row', key: 'b', revision: 2, effect: 'historyLost' },
      { type: 'row', key: 'a', revision: 5, effect: 'keyAbsent' },
    ]);
    const revision = 5 + jump + 1;
    expect(decisions).toEqual([{ rows: [{ revision, key: 'a', text: null }], compactedRevision: revision }]);
    expect([...state.index.keys()]).toEqual(['b']);
    expect(state).toMatchObject({ currentRevision: revision, compactedRevision: revision });
  });

  test('finds the key of a row whose key is damaged by its checksum', async () => {
    const { damage } = await repaired({ ...whole, damagedRows: [damaged(5, '?', 'b')] });
    expect(damage).toEqual([{ type: 'row', key: 'b', revision: 5, effect: 'keyAbsent' }]);
  });

  test('names acknowledged revisions that are missing, and jumps above them', async () => {
    const { state, damage } = await repaired({ ...whole, acknowledgedRevision: 9 });
    expect(damage).toEqual([{ type: 'missing', after: 4, upTo: 9 }]);
    expect(state.currentRevision).toBe(9 + jump);
  });
});
