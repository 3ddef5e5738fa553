import { describe, expect, it } from 'vitest';
import type { DiscoveredResource } from '../../../../src/client/client.ts';
import { ownerKeyOf, resourcesToFollow } from '../../../../src/controllers/garbage-collector/followed-resources.ts';
import { groupResourceOf } from '../../../../src/machinery/resource.ts';

const widgets = (version: string, more: Partial<DiscoveredResource> = {}): DiscoveredResource => ({
  group: 'example.com',
  version,
  resource: 'widgets',
  kind: 'Widget',
  namespaced: true,
  verbs: ['delete', 'list', 'watch'],
  shortNames: [],
  subresources: [],
  ...more,
});
const nothing = () => undefined;

describe('resources that the collector follows', () => {
  it('are followed in the preferred version, which discovery names first', () => {
    expect(resourcesToFollow([widgets('v2'), widgets('v1')], nothing)).toEqual([widgets('v2')]);
  });

  it('can be listed, watched and deleted, and are no events', () => {
    const readOnly = widgets('v1', { resource: 'readings', verbs: ['list', 'watch'] });
    const event = widgets('v1', { group: '', resource: 'events', kind: 'Event' });
    expect(resourcesToFollow([readOnly, event], nothing)).toEqual([]);
  });

  it('stay in their version while that one is served, and move when it is not', () => {
    const followedAs = (name: string) => (name === groupResourceOf(widgets('v1')) ? widgets('v1') : undefined);
    expect(resourcesToFollow([widgets('v2'), widgets('v1')], followedAs)).toEqual([]);
    expect(resourcesToFollow([widgets('v2')], followedAs)).toEqual([widgets('v2')]);
    expect(resourcesToFollow([widgets('v1', { kind: 'Gadget' })], followedAs)).toEqual([widgets('v1', { kind: 'Gadget' })]);
  });
});

describe('the key of an owner', () => {
  const owner = { apiVersion: 'example.com/v1', kind: 'Widget', name: 'w', uid: 'w-uid' };
  const dependent = (namespace?: string) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'c', ...(namespace === undefined ? {} : { namespace }) },
  });

  it('is in the namespace of the dependent, or in none when the owner has none', () => {
    expect(ownerKeyOf(widgets('v1'), owner, dependent('shop'))).toBe('shop/w');
    expect(ownerKeyOf(widgets('v1', { namespaced: false }), owner, dependent('shop'))).toBe('w');
  });

  it('is missing when a cluster-scoped object names an owner in a namespace', () => {
    expect(ownerKeyOf(widgets('v1'), owner, dependent())).toBeUndefined();
  });
});
