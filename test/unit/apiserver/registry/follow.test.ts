import { expect, it } from 'vitest';
import { configMaps } from '../../../../src/api/core/v1/config-map.ts';
import { followObjects } from '../../../../src/apiserver/registry/follow.ts';
import { startRegistry } from '../../../../src/apiserver/registry/registry.ts';
import { systemClock } from '../../../../src/base/clock.ts';
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
