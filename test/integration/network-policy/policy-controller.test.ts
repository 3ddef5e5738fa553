import { afterAll, beforeAll, expect, it } from 'vitest';
import { nodes } from '../../../src/api/core/v1/node.ts';
import { pods } from '../../../src/api/core/v1/pod.ts';
import { nodeNetworkPolicies } from '../../../src/api/network/v1/node-network-policy.ts';
import { networkPolicies } from '../../../src/api/networking/v1/network-policy.ts';
import { tryGet } from '../../../src/client/try-get.ts';
import { createNetworkPolicyController } from '../../../src/network-policy/policy-controller.ts';
import { type ControlPlane, startControlPlane } from '../../support/control-plane.ts';
import { policyOf } from '../../support/policy-world.ts';
import { until } from '../../support/until.ts';

let plane: ControlPlane;
beforeAll(async () => {
  plane = await startControlPlane({ controllers: [createNetworkPolicyController] });
  for (const [name, range, mode] of [
    ['n1', '10.42.1.0/24', 'nftables'],
    ['n2', '10.42.2.0/24', 'nftables'],
    ['n3', '10.42.3.0/24', 'none'],
  ] as const)
    await plane.client.create(nodes, {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'midship.dev/network-policy': mode } },
      spec: { podCIDR: range, podCIDRs: [range] },
    });
});
afterAll(() => plane.stop());

/** Makes a pod that its node says to have `podIP`; gives its uid. */
async function addPod(name: string, nodeName: string, { podIP, role }: { readonly podIP: string; readonly role: string }): Promise<string> {
  const made = await plane.client.create(pods, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'default', labels: { role } },
    spec: { nodeName, containers: [{ name: 'c', image: 'host/x', env: [{ name: 'PASSWORD', value: 'hunter2' }] }] },
  });
  await plane.client.patch(
    pods,
    { name, namespace: 'default' },
    { type: 'merge', body: { status: { phase: 'Running', podIP } } },
    { subresource: 'status' },
  );
  return made.metadata.uid ?? '';
}

const specOf = async (name: string) => (await tryGet(plane.client, nodeNetworkPolicies, { name }))?.spec;
const namesOf = async (): Promise<readonly string[]> =>
  (await plane.client.list(nodeNetworkPolicies)).items.map(({ metadata }) => metadata.name);

it('writes for each node that enforces policies the rules of its own pods, and no part of other pods but addresses', async () => {
  const server = await addPod('server', 'n1', { podIP: '10.42.1.2', role: 'server' });
  await addPod('client', 'n2', { podIP: '10.42.2.2', role: 'client' });
  // The agent of n3 names an address of another node.
  await addPod('forged', 'n3', { podIP: '10.42.2.9', role: 'client' });
  await plane.client.create(
    networkPolicies,
    policyOf(
      'p',
      { podSelector: { matchLabels: { role: 'server' } }, ingress: [{ from: [{ podSelector: { matchLabels: { role: 'client' } } }] }] },
      'default',
    ),
  );
  await until(async () => (await specOf('n1'))?.groups?.[0]?.addresses?.length === 1, { what: 'the rules of n1 name the client' });
  const own = await specOf('n1');
  expect(own?.groups?.[0]?.addresses).toEqual(['10.42.2.2']);
  expect(own?.pods).toEqual([{ uid: server, ingress: own?.ruleSets?.[0]?.name }]);
  expect(JSON.stringify(own)).not.toContain('hunter2');
  // Each node has an object of its own, and they come one after the other.
  const other = await until(() => specOf('n2'), { what: 'the object of n2' });
  expect([other?.groups, other?.ruleSets, other?.pods?.length]).toEqual([[], [], 1]);
  expect(await namesOf()).toEqual(['n1', 'n2']);
});

it('puts back what somebody changed, and removes the object of a node that enforces no policies any more', async () => {
  await plane.client.patch(nodeNetworkPolicies, { name: 'n1' }, { type: 'merge', body: { spec: { groups: [] } } });
  await until(async () => (await specOf('n1'))?.groups?.length === 1, { what: 'the rules are back' });
  await plane.client.patch(
    nodes,
    { name: 'n1' },
    { type: 'merge', body: { metadata: { labels: { 'midship.dev/network-policy': 'none' } } } },
  );
  await plane.client.delete(nodes, { name: 'n2' });
  await until(async () => (await namesOf()).length === 0, { what: 'no object is left' });
});

it('refuses objects whose texts would be more than names and addresses in rules of the kernel', async () => {
  const create = (spec: object) =>
    plane.client.create(nodeNetworkPolicies, {
      apiVersion: 'network.midship.dev/v1',
      kind: 'NodeNetworkPolicy',
      metadata: { name: 'n9' },
      spec,
    });
  const text = 'x } ; flush ruleset';
  for (const spec of [
    { groups: [{ name: text }] },
    { groups: [{ name: 'g', addresses: [text] }] },
    { pods: [{ uid: 'u', ingress: text }] },
    { ruleSets: [{ name: 'r', rules: [{ groups: [text] }] }] },
    { ruleSets: [{ name: 'r', rules: [{ blocks: [{ cidr: text }] }] }] },
    { ruleSets: [{ name: 'r', rules: [{ ports: [{ protocol: text }] }] }] },
    { endpointGroups: [{ name: 'e', endpoints: [{ address: text, protocol: 'TCP', port: 80 }] }] },
  ])
    await expect(create(spec), JSON.stringify(spec)).rejects.toThrow('is invalid');
});
