import { describe, expect, it } from 'vitest';
import type { Kustomization } from '../../../../src/api/kustomize/v1/kustomization.ts';
import type { DiscoveredResource } from '../../../../src/client/client.ts';
import type { ObjectContext } from '../../../../src/gitops/verbs/object-context.ts';
import { treeOf } from '../../../../src/gitops/verbs/tree.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';

const kinds = ['/ConfigMap', '/Secret', '/Pod', '/Event', 'apps/Deployment', 'apps/ReplicaSet', 'example.com/Widget'].map((each) => {
  const [group = '', kind = ''] = each.split('/');
  return { group, kind, version: 'v1', resource: kind.toLowerCase(), namespaced: true, verbs: ['list'], shortNames: [], subresources: [] };
}) as readonly DiscoveredResource[];

const object = (kind: string, name: string, owner?: string): KubeObject => ({
  apiVersion: kind === 'Widget' ? 'example.com/v1' : 'v1',
  kind,
  metadata: {
    name,
    namespace: 'web',
    uid: name,
    ...(owner === undefined ? {} : { ownerReferences: [{ apiVersion: 'v1', kind: 'Any', name: owner, uid: owner }] }),
  },
});

/** Names of the tree of an app with this inventory, and the kinds that were listed for it. */
async function lookAt(inventory: readonly string[], objects: readonly KubeObject[]) {
  const listed: string[] = [];
  const context = {
    client: {
      async list({ kind }: DiscoveredResource) {
        listed.push(kind);
        return { metadata: {}, items: objects.filter((each) => each.kind === kind) };
      },
    },
    lookup: {
      all: async () => kinds,
      kindOf: async (group: string, kind: string) => kinds.find((each) => each.group === group && each.kind === kind),
      get: async ({ kind }: DiscoveredResource, { name }: { readonly name: string }) =>
        objects.find((each) => each.kind === kind && each.metadata.name === name),
    },
    redactor: { text: (text: string) => text },
    learn: async () => undefined,
    healthView: async () => ({ now: () => 0 }),
  } as unknown as ObjectContext;
  const app = {
    metadata: { name: 'shop', namespace: 'flux-system' },
    status: { inventory: { entries: inventory.map((id) => ({ id, v: 'v1' })) } },
  } as unknown as Kustomization;
  const nodes = await treeOf(context, app);
  return { listed: listed.sort(), names: nodes.map(({ name, children }) => [name, ...children.map((child) => child.name)]) };
}

describe('the tree of an app', () => {
  it('looks only through kinds that controllers of Kubernetes make, those of the inventory and custom ones', async () => {
    const objects = [object('Deployment', 'web'), object('ReplicaSet', 'web-1', 'web'), object('Widget', 'w', 'web')];
    expect(await lookAt(['web_web_apps_Deployment'], objects)).toEqual({
      listed: ['Deployment', 'Pod', 'ReplicaSet', 'Widget'],
      names: [['web', 'web-1', 'w']],
    });
  });

  it('looks through all kinds below a custom object, since an operator may make any', async () => {
    const { listed, names } = await lookAt(['web_w_example.com_Widget'], [object('Widget', 'w'), object('Secret', 'of-w', 'w')]);
    expect(listed).toEqual(['ConfigMap', 'Deployment', 'Pod', 'ReplicaSet', 'Secret', 'Widget']);
    expect(names).toEqual([['w', 'of-w']]);
  });
});
