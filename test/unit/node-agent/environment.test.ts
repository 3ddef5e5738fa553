import { describe, expect, it } from 'vitest';
import type { ConfigMap } from '../../../src/api/core/v1/config-map.ts';
import type { Container, Pod } from '../../../src/api/core/v1/pod.ts';
import type { Secret } from '../../../src/api/core/v1/secret.ts';
import type { Service } from '../../../src/api/core/v1/service.ts';
import type { ConfigSource } from '../../../src/node-agent/config-source.ts';
import { fieldText, resourceText } from '../../../src/node-agent/downward.ts';
import { expand, resolveContainer, serviceVariables } from '../../../src/node-agent/environment.ts';

const metadata = (name: string, namespace = 'shop') => ({ name, namespace });
const configMap = (name: string, data: Record<string, string>): ConfigMap => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: metadata(name),
  data,
});
const secret = (name: string, data: Record<string, string>): Secret => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: metadata(name),
  data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
});
const service = (name: string, namespace: string, clusterIP: string, port: number): Service => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: metadata(name, namespace),
  spec: { clusterIP, ports: [{ name: 'http', port, protocol: 'TCP' }] },
});

function sourceOf(objects: { configMaps?: ConfigMap[]; secrets?: Secret[]; services?: Service[] }): ConfigSource {
  const named = <T extends { metadata: { name: string; namespace?: string } }>(all: T[] | undefined, namespace: string, name: string) =>
    all?.find((object) => object.metadata.name === name && object.metadata.namespace === namespace);
  return {
    ready: () => Promise.resolve(),
    configMap: (namespace, name) => named(objects.configMaps, namespace, name),
    secret: (namespace, name) => named(objects.secrets, namespace, name),
    services: (namespace) => (objects.services ?? []).filter((object) => object.metadata.namespace === namespace),
    onChange: () => () => undefined,
    releaseUnused: () => undefined,
  };
}

const pod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { ...metadata('web-1'), uid: 'u1', labels: { app: 'web', b: 'say "x"' }, annotations: { note: 'n' } },
  spec: { nodeName: 'node-a', serviceAccountName: 'default', containers: [] },
};
const facts = { pod, podIP: '127.64.16.2', hostIP: '127.64.16.1', allocatable: { cpu: '4', memory: '8Gi' } };
const resolve = (container: Partial<Container>, config = sourceOf({})) => {
  const resolved = resolveContainer({ container: { name: 'main', ...container }, facts, config });
  return { ...resolved, env: Object.fromEntries(resolved.env.map(({ name, value }) => [name, value])) };
};

describe('references to variables', () => {
  const lookUp = (name: string) => ({ A: '1', B: '2' })[name];
  it.each([
    ['$(A) and $(B)', '1 and 2'],
    ['$(C) stays', '$(C) stays'],
    ['$$(A) is escaped', '$(A) is escaped'],
    ['$$$(A)', '$1'],
    ['$A $(A', '$A $(A'],
    ['costs $5', 'costs $5'],
  ])('%s becomes %s', (text, expected) => {
    expect(expand(text, lookUp)).toBe(expected);
  });
});

describe('the environment of a container', () => {
  it('has values in order, later names win, and sees what came before', () => {
    const config = sourceOf({
      configMaps: [configMap('settings', { LEVEL: 'debug', COLOR: 'red' })],
      secrets: [secret('keys', { TOKEN: 's3' })],
    });
    const { env } = resolve(
      {
        envFrom: [{ configMapRef: { name: 'settings' } }, { prefix: 'KEY_', secretRef: { name: 'keys' } }],
        env: [
          { name: 'COLOR', value: 'blue' },
          { name: 'MIX', value: '$(LEVEL)-$(COLOR)-$(KEY_TOKEN)-$(LATER)' },
          { name: 'LATER', value: 'x' },
        ],
      },
      config,
    );
    expect(env).toEqual({
      POD_IP: '127.64.16.2',
      LEVEL: 'debug',
      COLOR: 'blue',
      KEY_TOKEN: 's3',
      MIX: 'debug-blue-s3-$(LATER)',
      LATER: 'x',
    });
  });

  it('has fields of the pod, resources and keys', () => {
    const config = sourceOf({ configMaps: [configMap('settings', { a: '1' })], secrets: [secret('keys', { b: '2' })] });
    const { env } = resolve(
      {
        resources: { limits: { memory: '100Mi' } },
        env: [
          { name: 'NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          { name: 'NODE', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } },
          { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
          { name: 'APP', valueFrom: { fieldRef: { fieldPath: "metadata.labels['app']" } } },
          { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory', divisor: '1Mi' } } },
          { name: 'CPUS', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
          { name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a' } } },
          { name: 'B', valueFrom: { secretKeyRef: { name: 'keys', key: 'b' } } },
          { name: 'NONE', valueFrom: { configMapKeyRef: { name: 'absent', key: 'a', optional: true } } },
        ],
      },
      config,
    );
    expect(env).toMatchObject({ NAME: 'web-1', NODE: 'node-a', IP: '127.64.16.2', APP: 'web', MEMORY: '100', CPUS: '4', A: '1', B: '2' });
    expect(env).not.toHaveProperty('NONE');
  });

  it('has the Services of the namespace and the API server, and nothing is hidden by them', () => {
    const services = [
      service('web', 'shop', '127.64.0.9', 8080),
      service('other', 'elsewhere', '127.64.0.8', 80),
      service('kubernetes', 'default', '127.64.0.1', 443),
    ];
    const { env } = resolve(
      {
        env: [
          { name: 'WEB_PORT', value: 'mine' },
          { name: 'URL', value: 'http://$(WEB_SERVICE_HOST)/' },
        ],
      },
      sourceOf({ services }),
    );
    expect(env).toMatchObject({
      WEB_SERVICE_HOST: '127.64.0.9',
      WEB_PORT: 'mine',
      KUBERNETES_SERVICE_PORT: '443',
      URL: 'http://127.64.0.9/',
    });
    expect(env).not.toHaveProperty('OTHER_SERVICE_HOST');
  });

  it.each([
    ['configmap "x" not found', { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'x', key: 'k' } } }] }],
    ['secret "x" not found', { envFrom: [{ secretRef: { name: 'x' } }] }],
    [
      "couldn't find key k in ConfigMap shop/settings",
      { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'k' } } }] },
    ],
    ['unsupported fieldPath: status.phase', { env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'status.phase' } } }] }],
  ])('cannot be made: %s', (message, container: Partial<Container>) => {
    const config = sourceOf({ configMaps: [configMap('settings', {})] });
    expect(() => resolve(container, config)).toThrow(expect.objectContaining({ reason: 'CreateContainerConfigError', message }));
  });

  it('is what command and arguments refer to', () => {
    const { command, args } = resolve({
      command: ['$(TOOL)'],
      args: ['--listen', '$(POD_IP):80', '$(NOPE)'],
      env: [{ name: 'TOOL', value: 'serve' }],
    });
    expect([...command, ...args]).toEqual(['serve', '--listen', '127.64.16.2:80', '$(NOPE)']);
  });
});

it('a Service without an address has no variables', () => {
  expect(serviceVariables(service('web', 'shop', 'None', 80))).toEqual([]);
  expect(serviceVariables(service('my-web', 'shop', '127.64.0.9', 80))).toEqual([
    ['MY_WEB_SERVICE_HOST', '127.64.0.9'],
    ['MY_WEB_SERVICE_PORT', '80'],
    ['MY_WEB_SERVICE_PORT_HTTP', '80'],
    ['MY_WEB_PORT', 'tcp://127.64.0.9:80'],
    ['MY_WEB_PORT_80_TCP', 'tcp://127.64.0.9:80'],
    ['MY_WEB_PORT_80_TCP_PROTO', 'tcp'],
    ['MY_WEB_PORT_80_TCP_PORT', '80'],
    ['MY_WEB_PORT_80_TCP_ADDR', '127.64.0.9'],
  ]);
});

it('a pod’s labels are written as lines', () => {
  expect(fieldText('metadata.labels', facts)).toBe('app="web"\nb="say \\"x\\""');
});

it('resources are rounded up to their unit', () => {
  const container = { name: 'main', resources: { requests: { cpu: '1500m' } } };
  expect(resourceText('requests.cpu', undefined, container, facts)).toBe('2');
  expect(resourceText('requests.cpu', '1m', container, facts)).toBe('1500');
  expect(resourceText('requests.memory', '1', container, facts)).toBe('0');
});
