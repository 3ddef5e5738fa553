import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Node } from '../../../src/api/core/v1/node.ts';
import { builtInKinds } from '../../../src/api/kinds.ts';
import { kindsWithoutController, noControllerText as textWith } from '../../../src/api/kinds-without-controller.ts';
import { enforcesPoliciesEverywhere } from '../../../src/api/policy-enforcement.ts';
import type { KubeObject, ObjectMeta } from '../../../src/machinery/object.ts';

const noControllerText = (object: KubeObject, areEnforced = false): string | undefined =>
  textWith(object, { arePoliciesEnforced: () => areEnforced, ingressClasses: () => [] });
const ingressBase = { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', metadata: { name: 'shop' } };
const root = fileURLToPath(new URL('../../..', import.meta.url));
const kindsOf = (names: Iterable<string>): readonly string[] => [...names].map((name) => name.slice(name.indexOf('/') + 1));

describe('kinds without a controller', () => {
  it('are served kinds, each named in docs/reference/limits.md and no other', () => {
    const served = new Set(builtInKinds.map(({ group, kind }) => `${group}/${kind}`));
    expect([...kindsWithoutController.keys()].filter((name) => !served.has(name))).toEqual([]);
    const limits = readFileSync(`${root}/docs/reference/limits.md`, 'utf8').replaceAll(/\s+/g, ' ');
    const [, named = ''] =
      /\*\*Kinds without a controller\*\* are stored, validated and served, and nothing acts on them. They are ([^.]*)\./.exec(limits) ??
      [];
    expect(named.split(', ')).toEqual(kindsOf(kindsWithoutController.keys()));
  });

  it('have no controller among those there are', () => {
    const controllers = readdirSync(`${root}/src/controllers`).map((name) => name.replace(/(-controller)?\.ts$/, '').replaceAll('-', ''));
    expect(kindsOf(kindsWithoutController.keys()).filter((kind) => controllers.includes(kind.toLowerCase()))).toEqual([]);
  });

  it('are named with what does not happen, unless somebody writes the status of the object', () => {
    const deviceClass = (metadata: Partial<ObjectMeta> = {}): KubeObject => ({
      apiVersion: 'resource.k8s.io/v1',
      kind: 'DeviceClass',
      metadata: { name: 'gpu', ...metadata },
    });
    expect(noControllerText(deviceClass())).toBe(
      'DeviceClass gpu is stored, but this version has no controller for DeviceClass: it allocates no device',
    );
    expect(noControllerText(deviceClass({ managedFields: [{ manager: 'kubectl' }] }))).toBeDefined();
    expect(noControllerText(deviceClass({ managedFields: [{ manager: 'own', subresource: 'status' }] }))).toBeUndefined();
    expect(noControllerText({ apiVersion: 'example.com/v1', kind: 'DeviceClass', metadata: { name: 'x' } })).toBeUndefined();
    expect(noControllerText({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'x' } })).toBeUndefined();
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
