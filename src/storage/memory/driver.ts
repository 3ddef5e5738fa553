import type { LogDriver, LogRow } from '../log/driver.ts';

/** Rows in memory: for tests, and for clusters that need not outlive their process. Commits take a turn of the event loop, as on disk. */
export function createMemoryDriver(): LogDriver {
  const rows = new Map<number, LogRow>();

  function after(revision: number, limit: number): Promise<readonly LogRow[]> {
    const found: LogRow[] = [];
    for (const row of rows.values()) {
      if (row.revision > revision) found.push(row);
      if (found.length === limit) break;
    }
    return Promise.resolve(found);
  }

  return {
    name: 'memory',
    load: () => Promise.resolve({ compactedRevision: 0, acknowledgedRevision: undefined, damagedRows: [], otherDamage: [], isCopy: false }),
    repair: () => Promise.resolve(),
    refusal: () => undefined,
    append: (batch) =>
      new Promise((resolve) => {
        setImmediate(() => {
          for (const row of batch) rows.set(row.revision, row);
          resolve();
        });
      }),
    read(revisions) {
      const texts = new Map<number, string>();
      for (const revision of revisions) {
        const text = rows.get(revision)?.text;
        if (typeof text === 'string') texts.set(revision, text);
      }
      return Promise.resolve(texts);
    },
    readAfter: after,
    keysAfter: after,
    setCompacted: () => Promise.resolve(),
    remove(revisions) {
      for (const revision of revisions) rows.delete(revision);
      return Promise.resolve();
    },
    rewrite: () => Promise.resolve(),
    tidy: () => undefined,
    close: () => Promise.resolve(),
  };
}
