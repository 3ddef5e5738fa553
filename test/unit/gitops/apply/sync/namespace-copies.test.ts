import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import { namespaces } from '../../../../../src/api/core/v1/namespace.ts';
import { pods } from '../../../../../src/api/core/v1/pod.ts';
import { secrets } from '../../../../../src/api/core/v1/secret.ts';
import { serviceAccounts } from '../../../../../src/api/core/v1/service-account.ts';
import type { Client } from '../../../../../src/client/client.ts';
import { createNamespaceCopies } from '../../../../../src/gitops/apply/sync/namespace-copies.ts';
import type { KubeObject } from '../../../../../src/machinery/object.ts';
import type { Resource } from '../../../../../src/machinery/resource.ts';

interface Server {
  readonly names: readonly string[];
  /** ConfigMaps, and the Namespaces that have each with this text. */
  readonly maps?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

const mapOf = (namespace: string, name: string, text: string, labels: Readonly<Record<string, string>> = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { namespace, name, uid: `${namespace}-${name}`, labels },
  data: { text },
});

/** Copies on a server that counts what it is asked. */
function startWith({ names, maps = {} }: Server) {
  const state = { asked: 0 };
  const list = async (resource: Resource, { fieldSelector }: { readonly fieldSelector?: string }) => {
    state.asked += 1;
    const name = fieldSelector?.replace('metadata.name=', '') ?? '';
    const items =
      resource.resource === namespaces.resource
        ? names.map((each) => ({ metadata: { name: each } }))
        : Object.entries(maps[name] ?? {}).map(([namespace, text]) => mapOf(namespace, name, text));
    return { metadata: { resourceVersion: '1' }, items };
  };
  return { state, copies: createNamespaceCopies({ client: { list } as unknown as Pick<Client, 'list'> }) };
}

const objectOf = (kind: string, name: string, more: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind,
  metadata: { namespace: 'shop', name },
  ...more,
});

describe('objects that come with every Namespace', () => {
  it('are those of Kubernetes, and nothing is asked for them', async () => {
    const { state, copies } = startWith({ names: ['shop'] });
    expect(await copies.has(configMaps, objectOf('ConfigMap', 'kube-root-ca.crt'))).toBe(true);
    expect(await copies.has(serviceAccounts, objectOf('ServiceAccount', 'default'))).toBe(true);
    expect(await copies.has(secrets, objectOf('Secret', 't', { type: 'kubernetes.io/service-account-token' }))).toBe(true);
    expect(await copies.has(pods, objectOf('Pod', 'web'))).toBe(false);
    expect(state.asked).toBe(0);
  });

  it('are those that more than half of the others have with the same content', async () => {
    const maps = { ca: { a: 'x', b: 'x', c: 'other' }, rare: { a: 'x' }, changed: { a: 'y', b: 'y', c: 'y' } };
    const { copies } = startWith({ names: ['shop', 'a', 'b', 'c', 'kube-system'], maps });
    expect(await copies.has(configMaps, mapOf('shop', 'ca', 'x'))).toBe(true);
    expect(await copies.has(configMaps, mapOf('shop', 'rare', 'x'))).toBe(false);
    expect(await copies.has(configMaps, mapOf('shop', 'changed', 'x'))).toBe(false);
  });

  it('are never those of an app, and never judged by one other Namespace', async () => {
    const { copies } = startWith({ names: ['shop', 'a'], maps: { ca: { a: 'x' } } });
    expect(await copies.has(configMaps, mapOf('shop', 'ca', 'x'))).toBe(false);
    const { copies: more } = startWith({ names: ['shop', 'a', 'b'], maps: { ca: { a: 'x', b: 'x' } } });
    const owned = mapOf('shop', 'ca', 'x', { 'kustomize.toolkit.fluxcd.io/name': 'web' });
    expect(await more.has(configMaps, owned)).toBe(false);
  });

  it('are looked for by 50 names at most, each once', async () => {
    const names = ['shop', 'a', 'b'];
    const maps = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`m${index}`, { a: 'x', b: 'x' }]));
    const { state, copies } = startWith({ names, maps });
    const found: boolean[] = [];
    for (let index = 0; index < 60; index += 1) found.push(await copies.has(configMaps, mapOf('shop', `m${index}`, 'x')));
    expect(found.filter(Boolean)).toHaveLength(50);
    expect(state.asked).toBe(51);
    await copies.has(configMaps, mapOf('shop', 'm0', 'x'));
    expect(state.asked).toBe(51);
  });
});
