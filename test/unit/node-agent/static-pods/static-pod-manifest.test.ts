import { expect, it } from 'vitest';
import { readStaticPod } from '../../../../src/node-agent/static-pods/static-pod-manifest.ts';

const read = (text: string, nodeName = 'first') => readStaticPod({ file: 'web.yaml', text, nodeName });
const podWith = (spec: string): string => `apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n${spec}`;
const plain = podWith('  containers: [{ name: web, image: busybox }]\n');

it('names the pod for its node, and tolerates what happens to the node', () => {
  const { metadata, spec } = read(plain);
  expect(metadata).toMatchObject({
    name: 'web-first',
    namespace: 'default',
    annotations: { 'kubernetes.io/config.source': 'file', 'kubernetes.io/config.hash': metadata.uid },
  });
  expect(spec).toMatchObject({ nodeName: 'first', restartPolicy: 'Always', tolerations: [{ operator: 'Exists', effect: 'NoExecute' }] });
});

it('has the same UID for the same content alone', () => {
  expect(read(`# a comment\n${plain}`).metadata.uid).toBe(read(plain).metadata.uid);
  expect(read(plain.replace('busybox', 'other')).metadata.uid).not.toBe(read(plain).metadata.uid);
  expect(read(plain, 'second').metadata.uid).not.toBe(read(plain).metadata.uid);
});

it.each([
  ['', 'web.yaml:1: there is no pod in the file'],
  [`${plain}---\n${plain}`, /^web\.yaml:8: there is a second document/],
  ['apiVersion: v1\nkind: Service\n', 'web.yaml:1: it is no object of apiVersion v1 and kind Pod'],
  ['a: [b\n', /^web\.yaml:2: /],
  [podWith('  containers: [{ name: web, imag: busybox }]\n'), 'web.yaml:1: unknown field "spec.containers[0].imag"'],
  [podWith('  containers: yes\n'), /^web\.yaml:1: /],
  [podWith('  containers:\n    - name: Web\n      image: busybox\n'), /^web\.yaml:7: spec\.containers\[0\]\.name: Invalid value/],
  [
    podWith('  serviceAccountName: admin\n  containers: [{ name: web, image: busybox }]\n'),
    /^web\.yaml:6: spec\.serviceAccountName: a static/,
  ],
  [
    podWith('  imagePullSecrets: [{ name: a }]\n  containers: [{ name: web, image: busybox }]\n'),
    /cannot refer to other objects .* Secret/,
  ],
  [
    podWith('  containers: [{ name: web, image: busybox }]\n  volumes:\n    - name: a\n      persistentVolumeClaim: { claimName: a }\n'),
    /^web\.yaml:8: spec\.volumes\[0\]: a static pod has no claims/,
  ],
  [plain.replace('name: web\nspec', 'name: Web_1\nspec'), /^web\.yaml:4: metadata\.name: /],
])('refuses %j with file and line', (text, message) => {
  expect(() => read(text)).toThrow(message);
});
