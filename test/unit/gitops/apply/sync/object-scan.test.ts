import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import type { Client } from '../../../../../src/client/client.ts';
import { findFirst } from '../../../../../src/gitops/apply/sync/object-scan.ts';
import type { KubeObject } from '../../../../../src/machinery/object.ts';
import { notFound, StatusError } from '../../../../../src/machinery/status-error.ts';

/** A server with `total` ConfigMaps that answers in pages; `asked` counts the lists. */
function startServer(total: number, fail?: Error) {
  const state = { asked: 0, forgotten: 0 };
  const list = async (_: unknown, options: { readonly limit: number; readonly continue?: string }) => {
    state.asked += 1;
    if (fail !== undefined) throw fail;
    const start = Number(options.continue ?? 0);
    const end = Math.min(total, start + options.limit);
    const items: KubeObject[] = [];
    for (let index = start; index < end; index += 1)
      items.push({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'shop', name: `c${index}` } });
    return { metadata: { resourceVersion: '1', ...(end < total ? { continue: String(end) } : {}) }, items };
  };
  const countForgotten = () => {
    state.forgotten += 1;
  };
  const client = { list } as unknown as Pick<Client, 'list'>;
  return { state, options: { client, mapper: { forget: countForgotten } } };
}

describe('the search for an object that counts', () => {
  const scope = { resource: configMaps, namespace: 'shop' };

  it('ends at the first one, over pages', async () => {
    const { state, options } = startServer(1_200);
    expect(await findFirst(options, scope, (_, { metadata }) => metadata.name === 'c700')).toBe('shop_c700__ConfigMap');
    expect(state.asked).toBe(2);
    expect(await findFirst(options, scope, async () => false)).toBeUndefined();
    expect(state.asked).toBe(5);
  });

  it('takes the next object for one that counts after 10,000 that do not', async () => {
    const { state, options } = startServer(10_001);
    expect(await findFirst(options, scope, () => false)).toBe('shop_…__ConfigMap');
    expect(state.asked).toBe(20);
  });

  it('finds nothing of a kind that went meanwhile, and passes other failures on', async () => {
    const gone = startServer(
      1,
      new StatusError({ code: 404, reason: 'NotFound', message: 'the server could not find the requested resource' }),
    );
    expect(await findFirst(gone.options, scope, () => true)).toBeUndefined();
    expect(gone.state.forgotten).toBe(1);
    const failed = startServer(1, notFound(configMaps, 'x'));
    await expect(findFirst(failed.options, scope, () => true)).rejects.toThrow();
  });
});
