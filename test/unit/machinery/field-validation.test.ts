import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { cannotBeHandled, checkItems, DecodeError, decoderFor, fieldComplaints } from '../../../src/machinery/field-validation.ts';
import { deepFreeze } from '../../../src/machinery/object.ts';
import type { Schema } from '../../../src/machinery/schema.ts';

const schemas = loadSchemas();
const pods = decoderFor(schemas, 'io.k8s.api.core.v1.Pod');
const deployments = decoderFor(schemas, 'io.k8s.api.apps.v1.Deployment');
const configMaps = decoderFor(schemas, 'io.k8s.api.core.v1.ConfigMap');
const secrets = decoderFor(schemas, 'io.k8s.api.core.v1.Secret');

const errorOf = (decode: () => unknown): string => {
  try {
    decode();
  } catch (err) {
    if (err instanceof DecodeError) return err.message;
    throw err;
  }
  throw new Error('no error');
};

const storedPod = deepFreeze({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'a', labels: { app: 'a' }, creationTimestamp: '2026-11-24T07:33:52Z' },
  spec: {
    containers: [{ name: 'c', image: 'i', resources: { limits: { cpu: '100m' } }, ports: [{ containerPort: 80, protocol: 'TCP' }] }],
  },
  status: { phase: 'Pending', conditions: [{ type: 'Ready', status: 'False', lastProbeTime: null, lastTransitionTime: null }] },
});

describe('unknown fields', () => {
  it('are reported by path and dropped', () => {
    const { object, unknownFields } = pods.decode({
      metadata: { name: 'fv' },
      spec: { foo: 1, containers: [{ name: 'c', image: 'i', imag: 'x', ports: [{ containerPort: 1, nme: 'x' }] }] },
      __proto: 1,
    });
    expect(unknownFields).toEqual(['spec.foo', 'spec.containers[0].imag', 'spec.containers[0].ports[0].nme', '__proto']);
    expect(object).toEqual({
      metadata: { name: 'fv' },
      spec: { containers: [{ name: 'c', image: 'i', resources: {}, ports: [{ containerPort: 1, protocol: 'TCP' }] }] },
      status: {},
    });
  });

  it('are distinguished from known ones by case', () => {
    expect(configMaps.decode({ metadata: { name: 'a' }, Data: {} }).unknownFields).toEqual(['Data']);
  });

  it('do not touch prototypes', () => {
    const hostile = JSON.parse(
      '{"metadata":{"name":"a","labels":{"__proto__":null,"constructor":"x"}},"__proto__":{"polluted":1}}',
    ) as object;
    const { object, unknownFields } = configMaps.decode(hostile);
    expect(unknownFields).toEqual(['__proto__']);
    expect(Object.keys(object)).toEqual(['metadata']);
    const { labels } = (object as { metadata: { labels: object } }).metadata;
    expect(Object.entries(labels)).toEqual([
      ['__proto__', ''],
      ['constructor', 'x'],
    ]);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  it('are reported up to a bound', () => {
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`x${index}`, 1]));
    const { object, unknownFields } = configMaps.decode({ metadata: { name: 'a' }, ...many });
    expect(unknownFields).toHaveLength(100);
    expect(object).toEqual({ metadata: { name: 'a' } });
  });

  it('make the texts of warnings and of strict validation', () => {
    expect(fieldComplaints(['spec.foo'], ['data.a'])).toEqual(['duplicate field "data.a"', 'unknown field "spec.foo"']);
    const error = cannotBeHandled({ version: 'v1', kind: 'ConfigMap' }, 'strict decoding error: unknown field "datas"');
    expect(error.toStatus()).toMatchObject({
      code: 400,
      reason: 'BadRequest',
      message: 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "datas"',
    });
  });
});

describe('types', () => {
  const withContainer = (container: object) => () => pods.decode({ spec: { containers: [container] } });

  it.each<[string, () => unknown, string]>([
    [
      'a string for a number',
      () => deployments.decode({ spec: { replicas: 'x' } }),
      'json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32',
    ],
    [
      'a number for a string, below a list',
      () => deployments.decode({ spec: { template: { spec: { containers: [{ env: [{ name: 'A', value: 1 }] }] } } } }),
      'json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string',
    ],
    [
      'a number in a map of strings',
      () => pods.decode({ metadata: { annotations: { a: 1 } } }),
      'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.annotations of type string',
    ],
    [
      'a number out of range',
      withContainer({ ports: [{ containerPort: 99999999999 }] }),
      'json: cannot unmarshal number 99999999999 into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32',
    ],
    [
      'a fraction',
      () => deployments.decode({ spec: { replicas: 1.5 } }),
      'json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32',
    ],
    [
      'a string for a structure',
      () => pods.decode({ spec: 'x' }),
      'json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec',
    ],
    [
      'an object for a list',
      () => pods.decode({ spec: { containers: {} } }),
      'json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container',
    ],
    [
      'a string in a list of structures',
      () => pods.decode({ spec: { containers: ['x'] } }),
      'json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container',
    ],
    [
      'a string for a boolean',
      () => pods.decode({ spec: { hostNetwork: 'yes' } }),
      'json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool',
    ],
    [
      'a list for a map',
      () => configMaps.decode({ data: [] }),
      'json: cannot unmarshal array into Go struct field ConfigMap.data of type map[string]string',
    ],
    [
      'a bad quantity',
      withContainer({ resources: { limits: { cpu: '1Q' } } }),
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ],
    ['bad base64', () => secrets.decode({ data: { q: '***' } }), 'illegal base64 data at input byte 0'],
    ['base64 cut short', () => secrets.decode({ data: { q: 'YWJjZA' } }), 'illegal base64 data at input byte 4'],
    ['base64 without its padding', () => secrets.decode({ data: { q: 'YWJjZA=' } }), 'illegal base64 data at input byte 7'],
    ['base64 with an end before the end', () => secrets.decode({ data: { q: 'YWI=YWJj' } }), 'illegal base64 data at input byte 4'],
    [
      'a boolean for int-or-string',
      () => deployments.decode({ spec: { strategy: { rollingUpdate: { maxSurge: true } } } }),
      'json: cannot unmarshal bool into Go value of type int32',
    ],
    [
      'a bad time',
      () => pods.decode({ metadata: { deletionTimestamp: 'x' } }),
      'parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"',
    ],
    ['an array for the object', () => pods.decode([]), 'json: cannot unmarshal array into Go value of type v1.Pod'],
  ])('say what is wrong with %s', (_, decode, message) => {
    expect(errorOf(decode)).toBe(message);
  });

  it('bound the depth of types that contain themselves', () => {
    const definitions = decoderFor(schemas, 'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition');
    let nested: object = {};
    for (let depth = 0; depth < 900; depth++) nested = { properties: { a: nested } };
    const decode = () => definitions.decode({ spec: { versions: [{ schema: { openAPIV3Schema: nested } }] } });
    expect(errorOf(decode)).toBe('exceeded max depth');
  });
});

describe('canonical form', () => {
  it('fills in what is always written', () => {
    const { object } = deployments.decode({ spec: { selector: {}, template: { spec: { containers: [{ name: 'c' }] } } } });
    expect(object).toEqual({
      metadata: {},
      spec: { selector: {}, strategy: {}, template: { metadata: {}, spec: { containers: [{ name: 'c', resources: {} }] } } },
      status: {},
    });
    const replicaSet = decoderFor(schemas, 'io.k8s.api.apps.v1.ReplicaSet').decode({ spec: {} }).object;
    expect(replicaSet).toMatchObject({ status: { replicas: 0 } });
    const event = decoderFor(schemas, 'io.k8s.api.core.v1.Event').decode({
      involvedObject: { kind: 'Pod' },
      metadata: { name: 'a' },
    }).object;
    expect(event).toEqual({
      metadata: { name: 'a' },
      involvedObject: { kind: 'Pod' },
      source: {},
      eventTime: null,
      firstTimestamp: null,
      lastTimestamp: null,
      reportingComponent: '',
      reportingInstance: '',
    });
  });

  it('leaves required fields without a zero value missing, for validation to see', () => {
    expect(Object.keys(deployments.decode({ spec: {} }).object.spec)).not.toContain('selector');
  });

  it('takes null for absence', () => {
    expect(deployments.decode({ metadata: { name: 'a', finalizers: null }, spec: { replicas: null, paused: null } }).object).toMatchObject({
      metadata: { name: 'a' },
      spec: { strategy: {} },
    });
    const { spec, metadata } = deployments.decode({ metadata: { finalizers: null }, spec: { replicas: null } }).object;
    expect(Object.keys(spec)).not.toContain('replicas');
    expect(Object.keys(metadata)).toEqual([]);
    expect(configMaps.decode({ metadata: {}, data: { a: null } }).object.data).toEqual({ a: '' });
  });

  it('takes the empty text for absence where a default replaces it', () => {
    const { object } = decoderFor(schemas, 'io.k8s.api.core.v1.ContainerPort').decode({ containerPort: 80, protocol: '' });
    expect(object).toEqual({ containerPort: 80, protocol: 'TCP' });
  });

  it('leaves out zero values that say nothing and keeps those that do', () => {
    const { object } = pods.decode({
      metadata: { name: 'a', labels: {} },
      spec: {
        hostNetwork: false,
        automountServiceAccountToken: false,
        tolerations: [],
        priority: 0,
        nodeName: '',
        volumes: [{ name: 'v', emptyDir: {} }],
      },
    });
    expect(object).toEqual({
      metadata: { name: 'a' },
      spec: { automountServiceAccountToken: false, priority: 0, volumes: [{ name: 'v', emptyDir: {} }] },
      status: {},
    });
  });

  it('normalizes quantities and times', () => {
    const { object } = pods.decode({
      metadata: { creationTimestamp: '2026-01-01T00:30:00+02:00' },
      spec: { containers: [{ name: 'c', resources: { limits: { cpu: 0.5, memory: '1024Mi' } } }] },
    });
    expect(object).toMatchObject({
      metadata: { creationTimestamp: '2025-12-31T22:30:00Z' },
      spec: { containers: [{ resources: { limits: { cpu: '500m', memory: '1Gi' } } }] },
    });
  });

  it('takes line breaks out of base64', () => {
    expect(secrets.decode({ data: { q: 'YWJj\nZA==\n' } }).object.data).toEqual({ q: 'YWJjZA==' });
  });

  it('is reached in one step', () => {
    const scalar = fc.constantFrom<unknown>(null, '', 'x', 0, 7, false, true, {}, []);
    const container = fc.record(
      { name: fc.string(), image: fc.string(), tty: fc.boolean(), args: fc.array(fc.string()), resources: fc.constant({}), junk: scalar },
      { requiredKeys: [] },
    );
    const spec = fc.record(
      { containers: fc.array(container), nodeSelector: fc.dictionary(fc.string(), fc.string()), hostNetwork: fc.boolean(), junk: scalar },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(spec, (generated) => {
        const once = pods.decode({ metadata: { name: 'a' }, spec: generated }).object;
        const twice = pods.decode(once);
        expect(twice.object).toBe(once);
        expect(twice.unknownFields).toEqual([]);
      }),
    );
  });
});

describe('bounds', () => {
  const entries = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, '']));

  it('are kept by lists, by maps, and by all of an object together', () => {
    const decode = (object: object) => configMaps.decode(object).object;
    expect(() => decode({ metadata: { name: 'a' }, data: entries(20_001) })).toThrow('too many items: 20001, of which 20000 are supported');
    expect(() => decode({ metadata: { name: 'a', finalizers: Array.from({ length: 20_001 }, () => 'a/b') } })).toThrow(DecodeError);
    const owners = Array.from({ length: 15_000 }, () => Object.fromEntries(Array.from({ length: 14 }, (_, index) => [`x${index}`, 1])));
    expect(() => decode({ metadata: { name: 'a', ownerReferences: owners } })).toThrow('more than the 200000');
    expect(decode({ metadata: { name: 'a' }, data: entries(20_000) })).toMatchObject({ metadata: { name: 'a' } });
  });

  it('hold for documents of no schema, too', () => {
    expect(() => checkItems({ a: { b: Array.from({ length: 20_001 }, () => null) } })).toThrow(DecodeError);
    expect(() => checkItems([{ a: [1, 2, { b: 'c' }] }, null])).not.toThrow();
  });
});

describe('copy on write', () => {
  it('returns the same object when nothing changes', () => {
    expect(pods.decode(storedPod).object).toBe(storedPod);
  });

  it('shares what did not change', () => {
    const next = { ...storedPod, status: { ...storedPod.status, junk: 1 } };
    const { object } = pods.decode(next, storedPod);
    expect(object.spec).toBe(storedPod.spec);
    expect(object.status.conditions).toBe(storedPod.status.conditions);
    expect(object.status).toEqual(storedPod.status);
  });

  it('does not look into parts of the stored object', () => {
    // A part that would be refused, were it looked at.
    const before = { ...storedPod, spec: deepFreeze({ containers: 7 }) };
    expect(pods.decode({ ...before, status: {} }, before).object.spec).toBe(before.spec);
  });

  it('never changes its input', () => {
    const input = deepFreeze({ metadata: { labels: {} }, spec: { foo: 1, containers: [{ junk: 1 }, null] }, data: null });
    expect(() => pods.decode(input)).not.toThrow();
  });
});

describe('custom kinds', () => {
  const widget: Schema = {
    type: 'object',
    properties: {
      spec: {
        type: 'object',
        properties: {
          size: { type: 'integer', format: 'int32', default: 3 },
          tags: { type: 'array', items: { type: 'string' } },
          extra: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
          note: { type: 'string', nullable: true },
        },
      },
    },
  };
  const widgets = decoderFor(loadSchemas([{ 'example.v1.Widget': widget }]), 'example.v1.Widget');

  it('get metadata, defaults and pruning, and keep what was sent', () => {
    const { object, unknownFields } = widgets.decode({
      apiVersion: 'example/v1',
      kind: 'Widget',
      metadata: { name: 'w', labels: {} },
      spec: { tags: [], note: null, junk: 1, extra: { any: { thing: [] } } },
    });
    expect(unknownFields).toEqual(['spec.junk']);
    expect(object).toEqual({
      apiVersion: 'example/v1',
      kind: 'Widget',
      metadata: { name: 'w' },
      spec: { size: 3, tags: [], note: null, extra: { any: { thing: [] } } },
    });
  });
});
