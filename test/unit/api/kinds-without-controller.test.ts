import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { mayLackController, noControllerText as textWith } from '../../../src/api/kinds-without-controller.ts';
import { enforcesPoliciesEverywhere } from '../../../src/api/policy-enforcement.ts';
import type { KubeObject, ObjectMeta } from '../../../src/machinery/object.ts';

const noControllerText = (object: KubeObject, areEnforced = false): string | undefined =>
  textWith(object, { arePoliciesEnforced: () => areEnforced, ingressClasses: () => [] });
const ingressBase = { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', metadata: { name: 'shop' } };

describe('kinds without a controller', () => {
  it('are none, but for objects of two kinds, and no longer when somebody writes their status', () => {
    const ingress = (metadata: Partial<ObjectMeta> = {}): KubeObject =>
      ({ ...ingressBase, spec: {}, metadata: { name: 'shop', ...metadata } }) as KubeObject;
    expect(builtInKinds.filter(mayLackController).map(({ kind }) => kind)).toEqual(['Ingress', 'NetworkPolicy']);
    expect(noControllerText(ingress({ managedFields: [{ manager: 'kubectl' }] }))).toBeDefined();
    expect(noControllerText(ingress({ managedFields: [{ manager: 'own', subresource: 'status' }] }))).toBeUndefined();
    expect(noControllerText({ apiVersion: 'resource.k8s.io/v1', kind: 'DeviceClass', metadata: { name: 'gpu' } })).toBeUndefined();
  });

  it('have an Ingress among them only while the cluster lacks its class', () => {
    const ingress = (spec: object): KubeObject => ({ ...ingressBase, spec }) as KubeObject;
    const classes = [{ apiVersion: 'networking.k8s.io/v1', kind: 'IngressClass', metadata: { name: 'nginx' } }];
    const textOf = (spec: object, known: typeof classes | undefined) =>
      textWith(ingress(spec), { arePoliciesEnforced: () => true, ingressClasses: () => known });
    expect(textOf({ ingressClassName: 'nginx' }, classes)).toBeUndefined();
    expect(textOf({ ingressClassName: 'midship' }, classes)).toBe(
      'Ingress shop is stored, but the cluster has no IngressClass midship: it routes no requests',
    );
    expect(textOf({}, classes)).toBe(
      'Ingress shop is stored, but it names no IngressClass and the cluster has no default one: it routes no requests',
    );
    expect(textOf({}, undefined)).toBeUndefined();
  });

  it('counts a NetworkPolicy as acted on where every node enforces it', () => {
    const policy = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'deny' } };
    expect(noControllerText(policy, true)).toBeUndefined();
    expect(noControllerText(policy)).toBe(
      'NetworkPolicy deny is stored, but not every node enforces it: it blocks no traffic of pods on the others',
    );
    const node = (labels: Readonly<Record<string, string>>): Node => ({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n', labels } });
    const enforcing = node({ 'midship.dev/network-policy': 'nftables' });
    expect(enforcesPoliciesEverywhere([])).toBe(false);
    expect(enforcesPoliciesEverywhere([enforcing, node({ 'midship.dev/simulated': 'true' })])).toBe(true);
    expect(enforcesPoliciesEverywhere([enforcing, node({})])).toBe(false);
  });
});
