import { expect, it } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { differences } from '../../../../src/apiserver/registry/differences.ts';
import { decode } from '../../../../src/apiserver/registry/encoding.ts';
import { WindowMemory } from '../../../../src/apiserver/registry/event-window.ts';
import { followObjects } from '../../../../src/apiserver/registry/follow.ts';
import { ObjectQuota } from '../../../../src/apiserver/registry/object-quota.ts';
import { startRegistry } from '../../../../src/apiserver/registry/registry.ts';
import { ResourceState } from '../../../../src/apiserver/registry/resource-state.ts';
import { systemClock } from '../../../../src/base/clock.ts';
import { createLog } from '../../../../src/base/log.ts';
import { openMemoryStorage } from '../../../../src/storage/memory/storage.ts';

it('an object that a follower cannot work with is skipped and named, and all later changes are seen', async () => {
  const storage = await openMemoryStorage();
  const write = (name: string) =>
    storage.create(`core/configmaps/web/${name}`, {
      text: JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'web' } }),
    });
  for (const name of ['a', 'odd', 'z']) await write(name);
  const skipped: string[] = [];
  const seen: string[] = [];
  const registry = await startRegistry({
    storage,
    kinds: [configMaps],
    clock: systemClock,
    log: createLog({ level: 'silent' }),
    memory: { heapBytes: Number.POSITIVE_INFINITY, objectBytes: 1_000_000, windowBytes: 1_000_000 },
    onFailure: () => undefined,
    onSkipped: ({ metadata }, err) => skipped.push(`${metadata.name}: ${(err as Error).message}`),
  });
  try {
    followObjects(registry, configMaps, ({ metadata }) => {
      if (metadata.name.startsWith('odd')) throw new Error('no rules');
      seen.push(metadata.name);
    });
    for (const name of ['odd-too', 'late']) {
      const written = await write(name);
      await registry.waitFor(written.ok ? written.revision : 0, 1_000);
    }
    expect(seen.sort()).toEqual(['a', 'late', 'z']);
    expect(skipped).toEqual(['odd: no rules', 'odd-too: no rules']);
  } finally {
    registry.stop();
    await storage.close();
  }
});

it('an object that was made again has a deletion before it, where the store is read again', () => {
  const memory = { windows: new WindowMemory(1_000), objects: new ObjectQuota(1_000, () => false) };
  const state = new ResourceState(configMaps, 5, { counters: { encodes: 0, noopWrites: 0, watchPredicateCalls: 0 }, memory });
  const textOf = (name: string, uid: string) => JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, uid } });
  for (const name of ['again', 'changed', 'gone', 'kept']) state.load(`web/${name}`, decode(textOf(name, 'u1'), 4), 10);
  const stored = [
    { name: 'again', uid: 'u2', revision: 8 },
    { name: 'changed', uid: 'u1', revision: 7 },
    { name: 'kept', uid: 'u1', revision: 4 },
    { name: 'made', uid: 'u1', revision: 6 },
  ].map(({ name, uid, revision }) => ({ key: `core/configmaps/web/${name}`, text: textOf(name, uid), revision }));
  const found = [...differences(new Map([['core/configmaps', state]]), stored, 9)];
  expect(found.map(({ key, event }) => `${event.type} ${key} ${event.revision}`)).toEqual([
    'delete web/again 8',
    'put web/again 8',
    'put web/changed 7',
    'put web/made 6',
    'delete web/gone 9',
  ]);
});
