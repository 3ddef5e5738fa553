import { expect, it } from 'vitest';
import type { Pod } from '../../../src/api/core/v1/pod.ts';
import { compilePolicies } from '../../../src/network-policy/compile.ts';
import { policyNamespace, policyOf, policyPod } from '../../support/policy-world.ts';

const compile = (pods: readonly Pod[], policies: Parameters<typeof compilePolicies>[0]['policies'] = []) =>
  compilePolicies({ policies, pods, namespaces: [policyNamespace('x')], isCredible: () => true }).specOf('node');
const mirror = (key: string, hash: string): Pod => {
  const pod = policyPod(key, '');
  const annotations = { 'kubernetes.io/config.mirror': hash, 'kubernetes.io/config.hash': hash };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
};
const deny = policyOf('deny', { podSelector: { matchLabels: { pod: 'a' } } });

it('knows a static pod by the uid that its mirror names, and lets no mirror name that of another pod', () => {
  const spec = compile([policyPod('x/a', '10.0.0.2'), mirror('x/static', 'file-1'), mirror('x/forged', 'x/a')], [deny]);
  expect(spec.pods?.map(({ uid }) => uid)).toEqual(['file-1', 'x/a', 'x/forged', 'x/static']);
  expect(spec.pods?.find(({ uid }) => uid === 'x/a')?.ingress).toBeDefined();
});

it('leaves out pods that use the network of their node, and addresses of pods that have ended', () => {
  const host = policyPod('x/host', '10.0.0.9');
  const ended = policyPod('x/b', '10.0.0.3');
  const spec = compile(
    [
      policyPod('x/a', '10.0.0.2'),
      { ...host, spec: { ...host.spec, hostNetwork: true } },
      { ...ended, status: { ...ended.status, phase: 'Succeeded' } },
    ],
    [policyOf('p', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] })],
  );
  expect(spec.pods?.map(({ uid }) => uid)).toEqual(['x/a', 'x/b']);
  expect(spec.groups?.map(({ addresses }) => addresses)).toEqual([['10.0.0.2']]);
});

it('gives pods with the same policies the same rules, by names that no other pod changes', () => {
  const policies = [policyOf('p', { podSelector: {}, ingress: [{ from: [{ podSelector: {} }] }] })];
  const before = compile([policyPod('x/a', '10.0.0.2')], policies);
  const after = compile([policyPod('x/a', '10.0.0.2'), policyPod('x/b', '10.0.0.3')], policies);
  expect(after.ruleSets).toEqual(before.ruleSets);
  expect(new Set(after.pods?.map(({ ingress }) => ingress)).size).toBe(1);
  expect(after.groups?.[0]).toEqual({ name: before.groups?.[0]?.name, addresses: ['10.0.0.2', '10.0.0.3'] });
});
