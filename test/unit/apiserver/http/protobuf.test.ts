import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadSchemas } from '../../../../src/api/schemas.ts';
import { decodeMessage, ProtobufError, readProtobufBody } from '../../../../src/apiserver/http/protobuf/decode.ts';
import { messageOf } from '../../../../src/apiserver/http/protobuf/layouts.ts';
import {
  bytesField,
  encodeMessage,
  encodeObject,
  envelopeOf,
  type MessageEntries,
  protobufTable,
  varint,
  varintField,
} from '../../../support/protobuf.ts';
import { recordedLines } from '../../../support/recorded-lines.ts';

const core = 'io.k8s.api.core.v1';
const meta = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const text = (value: string): Buffer => Buffer.from(value);
const decodeObject = (bytes: Buffer): unknown => {
  const { apiVersion, kind, raw } = readProtobufBody(bytes);
  const [version = '', group = ''] = apiVersion.split('/').reverse();
  return { apiVersion, kind, ...decodeMessage(messageOf({ group, version, kind }) ?? '', raw) };
};

/** A message by its field numbers, which are written down here once more: texts, bytes, flags and numbers. */
const written = (fields: readonly (readonly [number: number, value: string | Buffer | boolean | number])[]): Buffer =>
  Buffer.concat(
    fields.map(([number, value]) => {
      if (typeof value === 'boolean') return varintField(number, value ? 1n : 0n);
      if (typeof value === 'number') return varintField(number, BigInt(value));
      return bytesField(number, typeof value === 'string' ? text(value) : value);
    }),
  );
const double = (number: number, value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([varint(BigInt(number * 8 + 1)), bytes]);
};

describe('kinds that clients install by protobuf', () => {
  const decoded = (group: string, version: string, kind: string, raw: Buffer) =>
    decodeMessage(messageOf({ group, version, kind }) ?? '', raw);

  it('are read: a CustomResourceDefinition, its schema with all that is one thing or another', () => {
    const integer = written([
      [1, ''],
      [5, 'integer'],
      [10, false],
    ]);
    const bounded = Buffer.concat([written([[5, 'number']]), double(9, 2.5), double(11, 0)]);
    const schema = written([
      [5, 'object'],
      [23, 'size'],
      [
        29,
        written([
          [1, 'size'],
          [2, bounded],
        ]),
      ],
      [
        29,
        written([
          [1, 'list'],
          [
            2,
            written([
              [5, 'array'],
              [24, written([[1, integer]])],
              [42, 'set'],
            ]),
          ],
        ]),
      ],
      [
        29,
        written([
          [1, 'tuple'],
          [
            2,
            written([
              [
                24,
                written([
                  [2, integer],
                  [2, integer],
                ]),
              ],
            ]),
          ],
        ]),
      ],
      [
        29,
        written([
          [1, 'open'],
          [
            2,
            written([
              [30, written([[1, true]])],
              [38, true],
            ]),
          ],
        ]),
      ],
      [
        29,
        written([
          [1, 'map'],
          [
            2,
            written([
              [
                30,
                written([
                  [1, true],
                  [2, integer],
                ]),
              ],
              [8, written([[1, '{"a":1}']])],
            ]),
          ],
        ]),
      ],
      [
        29,
        written([
          [1, 'choice'],
          [
            2,
            written([
              [20, written([[1, '"x"']])],
              [20, written([[1, 'null']])],
            ]),
          ],
        ]),
      ],
      [
        32,
        written([
          [1, 'size'],
          [
            2,
            written([
              [2, 'list'],
              [2, 'map'],
            ]),
          ],
        ]),
      ],
      [
        44,
        written([
          [1, 'self.size > 0'],
          [2, ''],
          [3, '"small"'],
          [6, true],
        ]),
      ],
    ]);
    const version = written([
      [1, 'v1'],
      [2, true],
      [3, true],
      [4, written([[1, schema]])],
      [5, written([[1, Buffer.alloc(0)]])],
      [7, false],
      [9, written([[1, '.spec.size']])],
    ]);
    const spec = written([
      [1, 'shop.example'],
      [
        3,
        written([
          [1, 'carts'],
          [2, ''],
          [4, 'Cart'],
          [5, ''],
        ]),
      ],
      [4, 'Namespaced'],
      [7, version],
      [10, false],
    ]);
    expect(
      decoded(
        'apiextensions.k8s.io',
        'v1',
        'CustomResourceDefinition',
        written([
          [1, written([[1, 'carts.shop.example']])],
          [2, spec],
          [3, Buffer.alloc(0)],
        ]),
      ),
    ).toEqual({
      metadata: { name: 'carts.shop.example' },
      spec: {
        group: 'shop.example',
        names: { plural: 'carts', kind: 'Cart' },
        scope: 'Namespaced',
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: {
              openAPIV3Schema: {
                type: 'object',
                required: ['size'],
                properties: {
                  size: { type: 'number', maximum: 2.5, minimum: 0 },
                  list: { type: 'array', items: { type: 'integer' }, 'x-kubernetes-list-type': 'set' },
                  tuple: { items: [{ type: 'integer' }, { type: 'integer' }] },
                  open: { additionalProperties: true, 'x-kubernetes-preserve-unknown-fields': true },
                  map: { additionalProperties: { type: 'integer' }, default: { a: 1 } },
                  choice: { enum: ['x', null] },
                },
                dependencies: { size: ['list', 'map'] },
                'x-kubernetes-validations': [{ rule: 'self.size > 0', messageExpression: '"small"', optionalOldSelf: true }],
              },
            },
            subresources: { status: {} },
            selectableFields: [{ jsonPath: '.spec.size' }],
          },
        ],
      },
    });
  });

  it('are read: APIServices, policies that mutate, and devices', () => {
    const service = written([
      [
        1,
        written([
          [1, 'kube-system'],
          [2, 'metrics'],
          [3, 443],
        ]),
      ],
      [2, 'metrics.k8s.io'],
      [3, 'v1beta1'],
      [4, true],
      [7, 100],
      [8, 5],
    ]);
    expect(decoded('apiregistration.k8s.io', 'v1', 'APIService', written([[2, service]]))).toEqual({
      spec: {
        service: { namespace: 'kube-system', name: 'metrics', port: 443 },
        group: 'metrics.k8s.io',
        version: 'v1beta1',
        insecureSkipTLSVerify: true,
        groupPriorityMinimum: 100,
        versionPriority: 5,
      },
    });
    const mutation = written([
      [2, 'JSONPatch'],
      [4, written([[1, '[]']])],
    ]);
    expect(
      decoded(
        'admissionregistration.k8s.io',
        'v1',
        'MutatingAdmissionPolicy',
        written([
          [
            2,
            written([
              [4, mutation],
              [7, 'Never'],
            ]),
          ],
        ]),
      ),
    ).toEqual({
      spec: { mutations: [{ patchType: 'JSONPatch', jsonPatch: { expression: '[]' } }], reinvocationPolicy: 'Never' },
    });
    expect(decoded('admissionregistration.k8s.io', 'v1', 'MutatingAdmissionPolicyBinding', written([[2, written([[1, 'p']])]]))).toEqual({
      spec: { policyName: 'p' },
    });
    const request = written([
      [1, 'gpu'],
      [
        2,
        written([
          [1, 'gpu.example'],
          [4, 2],
        ]),
      ],
    ]);
    const config = written([
      [1, 'gpu'],
      [
        2,
        written([
          [
            1,
            written([
              [1, 'driver.example'],
              [2, written([[1, '{"a":1}']])],
            ]),
          ],
        ]),
      ],
    ]);
    expect(
      decoded(
        'resource.k8s.io',
        'v1',
        'ResourceClaim',
        written([
          [
            2,
            written([
              [
                1,
                written([
                  [1, request],
                  [3, config],
                ]),
              ],
            ]),
          ],
        ]),
      ),
    ).toEqual({
      spec: {
        devices: {
          requests: [{ name: 'gpu', exactly: { deviceClassName: 'gpu.example', count: 2 } }],
          config: [{ requests: ['gpu'], opaque: { driver: 'driver.example', parameters: { a: 1 } } }],
        },
      },
    });
    const device = written([
      [1, 'gpu-0'],
      [
        2,
        written([
          [1, 'model'],
          [2, written([[4, 'a1']])],
        ]),
      ],
    ]);
    const slice = written([
      [1, 'driver.example'],
      [
        2,
        written([
          [1, 'n1'],
          [2, 1],
          [3, 1],
        ]),
      ],
      [3, 'n1'],
      [6, device],
    ]);
    expect(decoded('resource.k8s.io', 'v1', 'ResourceSlice', written([[2, slice]]))).toEqual({
      spec: {
        driver: 'driver.example',
        pool: { name: 'n1', generation: 1, resourceSliceCount: 1 },
        nodeName: 'n1',
        devices: [{ name: 'gpu-0', attributes: { model: { string: 'a1' } } }],
      },
    });
  });

  it('keep fields that are newer than their kinds', () => {
    expect(
      decodeMessage('io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior', written([[1, written([[4, written([[1, '50m']])]])]])),
    ).toEqual({ scaleUp: { tolerance: '50m' } });
    expect(decodeMessage('io.k8s.api.apps.v1.DeploymentStatus', written([[9, 3]]))).toEqual({ terminatingReplicas: 3 });
    expect(decodeMessage('io.k8s.api.apps.v1.ReplicaSetStatus', written([[7, 3]]))).toEqual({ terminatingReplicas: 3 });
    expect(decodeMessage('io.k8s.api.discovery.v1.EndpointHints', written([[2, written([[1, 'n1']])]]))).toEqual({
      forNodes: [{ name: 'n1' }],
    });
    expect(decodeMessage('io.k8s.api.core.v1.ContainerStatus', written([[15, 'SIGTERM']]))).toEqual({ stopSignal: 'SIGTERM' });
    expect(decodeMessage('io.k8s.api.core.v1.NodeSystemInfo', written([[11, written([[1, 4096]])]]))).toEqual({ swap: { capacity: 4096 } });
    expect(
      decodeMessage(
        'io.k8s.api.storage.v1.CSIDriverSpec',
        written([
          [9, 60],
          [10, true],
          [11, true],
        ]),
      ),
    ).toEqual({ nodeAllocatableUpdatePeriodSeconds: 60, serviceAccountTokenInSecrets: true, preventPodSchedulingIfMissing: true });
    expect(decodeMessage(`${core}.NodeStatus`, written([[14, 'InPlaceResize']]))).toEqual({ declaredFeatures: ['InPlaceResize'] });
    expect(decodeMessage(`${core}.PodSpec`, written([[43, written([[1, 'workers']])]]))).toEqual({
      schedulingGroup: { podGroupName: 'workers' },
    });
    const claim = written([
      [1, 'cpus'],
      [2, 'app'],
      [
        3,
        written([
          [1, 'cpu'],
          [2, written([[1, '2']])],
        ]),
      ],
    ]);
    expect(decodeMessage(`${core}.PodStatus`, written([[21, claim]]))).toEqual({
      nodeAllocatableResourceClaimStatuses: [{ resourceClaimName: 'cpus', containers: ['app'], resources: { cpu: '2' } }],
    });
    expect(
      decodeMessage(
        'io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.ValidationRule',
        written([
          [1, 'self.a'],
          [3, "'no'"],
          [4, 'FieldValueInvalid'],
          [5, '.a'],
          [6, true],
        ]),
      ),
    ).toEqual({ rule: 'self.a', messageExpression: "'no'", reason: 'FieldValueInvalid', fieldPath: '.a', optionalOldSelf: true });
    expect(
      decodeMessage(
        'io.k8s.api.resource.v1.DeviceAttribute',
        written([
          [6, 1],
          [6, 2],
          [7, true],
          [8, 'a'],
          [9, '1.0.0'],
        ]),
      ),
    ).toEqual({ ints: [1, 2], bools: [true], strings: ['a'], versions: ['1.0.0'] });
  });

  it('have a number for every field of their schemas, so that no field is lost in silence', () => {
    const { messages } = protobufTable;
    const schemas = loadSchemas();
    const namesOf = (entries: MessageEntries): string[] =>
      Object.values(entries).flatMap(([name, form, message = '']) => (form === 'inline' ? namesOf(messages[message] ?? {}) : [name]));
    const lost = Object.entries(messages).flatMap(([message, entries]) => {
      const known = new Set([...namesOf(entries), 'apiVersion', 'kind']);
      return Object.keys(schemas[message]?.properties ?? {}).flatMap((field) => (known.has(field) ? [] : [`${message}.${field}`]));
    });
    expect(lost).toEqual([]);
  });
});

describe('readProtobufBody', () => {
  it('finds version, kind and the encoded object', () => {
    const body = envelopeOf({ apiVersion: 'apps/v1', kind: 'Deployment', raw: text('abc') });
    expect(readProtobufBody(body)).toEqual({ apiVersion: 'apps/v1', kind: 'Deployment', raw: text('abc') });
  });

  it('refuses what is not an envelope', () => {
    const reading = (body: Buffer | undefined) => () => readProtobufBody(body);
    expect(reading(undefined)).toThrow(new ProtobufError('empty data'));
    expect(reading(text('{}'))).toThrow('provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]');
    expect(reading(text('k8s\0'))).toThrow('empty body');
    expect(reading(text('k8s\0\n'))).toThrow('unexpected EOF');
    expect(reading(text('k8s\0\x08\x01'))).toThrow('proto: wrong wireType = 0 for field TypeMeta');
  });
});

describe('decodeMessage', () => {
  it('gives objects their JSON form', () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', labels: { app: 'web' }, creationTimestamp: '2026-11-24T07:20:44Z', generation: 7 },
      spec: {
        volumes: [
          { name: 'a', emptyDir: {} },
          { name: 'b', emptyDir: { sizeLimit: '1Gi' } },
        ],
        containers: [
          {
            name: 'web',
            image: 'nginx',
            args: ['', '-v'],
            resources: { limits: { cpu: '500m' } },
            env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'settings', key: 'a', optional: false } } }],
            readinessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 5 },
            livenessProbe: { tcpSocket: { port: 80 } },
            securityContext: { runAsUser: 0, privileged: false },
          },
        ],
        securityContext: { supplementalGroups: [1, 2 ** 40] },
        terminationGracePeriodSeconds: 0,
      },
    };
    expect(decodeObject(encodeObject(pod))).toEqual(pod);
  });

  it('leaves out zero values that mean absence, keeps those that do not', () => {
    const bytes = Buffer.concat([varintField(1, 0n), varintField(5, 0n), varintField(6, 1n), varintField(7, 0n)]);
    expect(decodeMessage('io.k8s.api.apps.v1.DeploymentSpec', bytes)).toEqual({ replicas: 0, revisionHistoryLimit: 1 });
  });

  it('leaves out empty structures that are always sent, keeps those that say something', () => {
    const empty = Buffer.alloc(0);
    expect(decodeMessage(`${core}.Container`, Buffer.concat([bytesField(8, empty), bytesField(15, empty)]))).toEqual({
      securityContext: {},
    });
    expect(decodeMessage(`${meta}.ObjectMeta`, bytesField(8, empty))).toEqual({});
  });

  it('reads times by the second or the microsecond, and the zero time as absent', () => {
    const time = (seconds: bigint, nanos: bigint) => bytesField(4, Buffer.concat([varintField(1, seconds), varintField(2, nanos)]));
    const lease = (bytes: Buffer) => decodeMessage('io.k8s.api.coordination.v1.LeaseSpec', bytes);
    expect(lease(time(1_700_000_000n, 123_456_789n))).toEqual({ renewTime: '2023-11-14T22:13:20.123456Z' });
    expect(lease(time(0n, -1_000n))).toEqual({ renewTime: '1969-12-31T23:59:59.999999Z' });
    expect(decodeMessage(`${meta}.Condition`, time(0n, 0n))).toEqual({ lastTransitionTime: '1970-01-01T00:00:00Z' });
    expect(decodeMessage(`${meta}.Condition`, time(-62135596800n, 0n))).toEqual({});
    expect(() => lease(time(10n ** 14n, 0n))).toThrow('time is outside of the years 0 to 9999');
  });

  it('merges a message that comes twice, and lets the last scalar win', () => {
    const named = (name: string) => bytesField(1, bytesField(1, text(name)));
    const labelled = bytesField(1, bytesField(11, Buffer.concat([bytesField(1, text('a')), bytesField(2, text('b'))])));
    expect(decodeMessage(`${core}.ConfigMap`, Buffer.concat([named('x'), labelled, named('y')]))).toEqual({
      metadata: { name: 'y', labels: { a: 'b' } },
    });
    expect(decodeMessage(`${meta}.ObjectMeta`, Buffer.concat([bytesField(1, text('x')), bytesField(1, text(''))]))).toEqual({});
  });

  it('takes any key of a map, and one without key or value', () => {
    const entry = (...parts: Buffer[]) => bytesField(2, Buffer.concat(parts));
    const bytes = Buffer.concat([entry(bytesField(1, text('__proto__')), bytesField(2, text('x'))), entry()]);
    const { data } = decodeMessage(`${core}.ConfigMap`, bytes) as { data: object };
    expect(Object.entries(data)).toEqual([
      ['__proto__', 'x'],
      ['', ''],
    ]);
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
  });

  it('reads bytes as base64, values of user attributes as lists, and raw JSON as what it is', () => {
    const secret = { apiVersion: 'v1', kind: 'Secret', data: { a: Buffer.from([0, 255]).toString('base64') } };
    expect(decodeObject(encodeObject(secret))).toEqual(secret);
    const review = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: { user: 'a', extra: { scopes: ['x', ''] } },
    };
    expect(decodeObject(encodeObject(review))).toEqual(review);
    const revision = { apiVersion: 'apps/v1', kind: 'ControllerRevision', data: { spec: { a: [1, null] } }, revision: 3 };
    expect(decodeObject(encodeObject(revision))).toEqual(revision);
  });

  it('passes over fields it does not know, groups included', () => {
    const group = Buffer.concat([varint(BigInt(900 * 8 + 3)), varintField(1, 5n), varint(BigInt(900 * 8 + 4))]);
    const unknown = Buffer.concat([varintField(800, 1n), bytesField(801, text('x')), group, Buffer.from([0x85, 0x32, 1, 2, 3, 4])]);
    expect(decodeMessage(`${meta}.ObjectMeta`, Buffer.concat([unknown, bytesField(1, text('a'))]))).toEqual({ name: 'a' });
  });

  it.each<[string, Buffer, string]>([
    ['a length beyond the end', Buffer.from([0x0a, 0x05, 0x61]), 'unexpected EOF'],
    ['a length beyond 32 bits', Buffer.concat([Buffer.from([0x0a]), varint(2n ** 40n)]), 'unexpected EOF'],
    ['a negative length', Buffer.concat([Buffer.from([0x0a]), varint(-1n)]), 'proto: negative length found during unmarshaling'],
    ['a number that does not end', Buffer.alloc(20, 0xff), 'proto: integer overflow'],
    ['field 0', Buffer.from([0x02, 0x00]), 'proto: ObjectMeta: illegal tag 0 (wire type 2)'],
    ['a wire type that is not the field’s', varintField(1, 1n), 'proto: wrong wireType = 0 for field Name'],
    ['an unknown wire type', Buffer.from([0x87, 0x7d]), 'proto: illegal wireType 7'],
    ['an end without a start', Buffer.from([0x0c]), 'proto: ObjectMeta: wiretype end group for non-group'],
    ['a group without an end', Buffer.from([0x83, 0x7d]), 'unexpected EOF'],
    ['an integer beyond 2^53', varintField(7, 2n ** 53n), 'generation cannot be held exactly'],
  ])('refuses %s', (_what, bytes, message) => {
    expect(() => decodeMessage(`${meta}.ObjectMeta`, bytes)).toThrow(message);
    expect(() => decodeMessage(`${meta}.ObjectMeta`, bytes)).toThrow(ProtobufError);
  });

  it('refuses more messages than any object has', () => {
    const empty = (count: number) => Buffer.alloc(2 * count, Buffer.from([0x12, 0]));
    const decode = (count: number) => decodeMessage(`${core}.PodSpec`, empty(count));
    expect(decode(200_000).containers).toHaveLength(200_000);
    expect(() => decode(300_000)).toThrow(new ProtobufError('more than 250000 messages'));
  });

  it('refuses quantities and JSON that are none', () => {
    const limits = (value: string) => bytesField(1, Buffer.concat([bytesField(1, text('cpu')), bytesField(2, bytesField(1, text(value)))]));
    expect(() => decodeMessage(`${core}.ResourceRequirements`, limits('x'))).toThrow(/^quantities must match the regular expression/);
    const managed = bytesField(7, bytesField(1, text('{"a"')));
    expect(() => decodeMessage(`${meta}.ManagedFieldsEntry`, managed)).toThrow('unexpected end of JSON input');
  });
});

describe('the table', () => {
  it('spells names as the schemas do, and agrees with them on what absence means', () => {
    const schemas = loadSchemas();
    for (const [name, entries] of Object.entries(protobufTable.messages)) {
      const properties = schemas[name]?.properties;
      if (properties === undefined) continue;
      for (const [jsonName, form] of Object.values(entries)) {
        if (form === 'inline') continue;
        expect(properties, `${name}.${jsonName}`).toHaveProperty([jsonName]);
        // The schemas of these two groups are not complete; `scripts/protobuf-facts.mjs` says it.
        if (!/^(string|bool|int(32|64)|bytes)\??$/.test(form) || /apiextensions|apiregistration/.test(name)) continue;
        const { default: fallback, 'x-omit-zero': omitZero } = properties[jsonName] ?? {};
        expect(form.endsWith('?'), `${name}.${jsonName}`).toBe(omitZero === true || Boolean(fallback));
      }
    }
  });

  it('has every kind that typed clients are known to send', () => {
    const expected = [
      '/v1 ConfigMap Event Namespace Node PersistentVolumeClaim Pod ResourceQuota Secret Service ServiceAccount Binding',
      'apps/v1 ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet',
      'authentication.k8s.io/v1 SelfSubjectReview TokenRequest TokenReview',
      'authorization.k8s.io/v1 LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview',
      'autoscaling/v1 HorizontalPodAutoscaler Scale',
      'autoscaling/v2 HorizontalPodAutoscaler',
      'batch/v1 CronJob Job',
      'certificates.k8s.io/v1 CertificateSigningRequest',
      'networking.k8s.io/v1 Ingress NetworkPolicy',
      'policy/v1 Eviction PodDisruptionBudget',
      'rbac.authorization.k8s.io/v1 ClusterRole ClusterRoleBinding Role RoleBinding',
      'scheduling.k8s.io/v1 PriorityClass',
    ].flatMap((line) =>
      line
        .split(' ')
        .slice(1)
        .map((kind) => `${line.split(' ')[0]}/${kind}`),
    );
    expect(expected.filter((kind) => protobufTable.kinds[kind] === undefined)).toEqual([]);
  });
});

describe('bodies that kubectl sent', () => {
  interface Recorded {
    readonly bodyBase64: string;
    readonly jsonAnswer: { readonly kind: string; readonly note?: string; readonly status?: unknown };
  }
  const recorded = recordedLines('kubectl', 'protobuf-bodies')
    .map((line) => JSON.parse(line) as Recorded)
    // Answers with credentials are not kept, and that of a SelfSubjectRulesReview does not repeat the question.
    .filter(({ jsonAnswer: { kind, note } }) => note === undefined && kind !== 'SelfSubjectRulesReview');

  it.each(recorded.map((each, index) => [`${each.jsonAnswer.kind} ${index}`, each] as const))('%s', (_name, { bodyBase64, jsonAnswer }) => {
    const { status: _sent, ...object } = decodeObject(Buffer.from(bodyBase64, 'base64')) as { readonly status?: unknown };
    expect(jsonAnswer).toMatchObject(object);
  });
});

// -------------------------------------------------------------------------------------------------------------------------- properties

const names = Object.keys(protobufTable.messages);

/**
 * Any object of a message, three levels deep. Drawn by hand from one seed, since an arbitrary for each of a pod's
 * fields takes seconds to build.
 */
const anyMessage = fc.record({ name: fc.constantFrom(...names), seed: fc.integer() }).map(({ name, seed }) => {
  const random = randomOf(seed);
  return { name, object: anyObject(name, random, 3) };
});

function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = ReturnType<typeof randomOf>;

function anyObject(name: string, random: Random, depth: number): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  const entries: MessageEntries = protobufTable.messages[name] ?? {};
  for (const [jsonName, coded, message = ''] of Object.values(entries)) {
    const form = coded.replace(/^(\[\]|\{\})|\?$/g, '');
    if (form === 'inline') Object.assign(object, anyObject(message, random, depth));
    if (form === 'inline' || (form.startsWith('message') && depth === 0) || random(3) > 0) continue;
    const inner = (): unknown => anyObject(message, random, depth - 1);
    const draw = (): unknown => {
      if (form === 'message') return inner();
      if (form === 'message-or-list') return random(2) === 0 ? inner() : [inner()];
      if (form.startsWith('message-or')) return random(2) === 0 ? inner() : pick(random, samples[form] ?? []);
      return pick(random, samples[form] ?? []);
    };
    if (coded.startsWith('[]')) object[jsonName] = [draw(), draw()];
    else if (coded.startsWith('{}')) object[jsonName] = { [pick(random, ['', 'a', 'constructor'])]: draw(), b: draw() };
    else {
      const value = draw();
      if (!coded.endsWith('?') || meansSomething(value)) object[jsonName] = value;
    }
  }
  return object;
}

const pick = <T>(random: Random, values: readonly T[]): T => values[random(values.length)] as T;

const samples: Readonly<Record<string, readonly unknown[]>> = {
  string: ['', 'a', 'Grüße', '😀', 'x'.repeat(300)],
  bool: [false, true],
  int32: [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)],
  int64: [0, 1, -1, 2 ** 31, 2 ** 32, -(2 ** 40), Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER],
  double: [0, 1.5, -2, Number.MAX_VALUE],
  'message-or-bool': [false, true],
  'message-or-strings': [['a'], ['', 'b']],
  bytes: ['', 'YQ==', '//8='],
  list: [[], ['a'], ['', 'b']],
  quantity: ['0', '250m', '1Gi'],
  'int-or-string': [0, 80, -1, '', 'http', '50%'],
  json: [{ a: 1 }, ['x'], 'x', 0],
  time: ['0001-01-02T00:00:00Z', '1970-01-01T00:00:00Z', '2026-11-24T07:20:44Z', '9999-12-31T23:59:59Z'],
  'micro-time': ['1969-12-31T23:59:59.999999Z', '2026-11-24T07:20:44.000001Z'],
};

const meansSomething = (value: unknown): boolean =>
  value !== '' && value !== 0 && value !== false && (typeof value !== 'object' || value === null || Object.keys(value).length > 0);

describe('every message', () => {
  it('is decoded to what was encoded', () => {
    fc.assert(
      fc.property(anyMessage, ({ name, object }) => {
        expect(decodeMessage(name, encodeMessage(name, object))).toEqual(object);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused or decoded to JSON, whatever the bytes', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(anyMessage, changes, fc.uint8Array({ maxLength: 20 }), ({ name, object }, changed, tail) => {
        const bytes = Buffer.concat([encodeMessage(name, object), tail]);
        for (const [at, byte] of changed) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        try {
          const decoded = decodeMessage(name, bytes);
          expect(JSON.parse(JSON.stringify(decoded))).toEqual(decoded);
        } catch (err) {
          if (!(err instanceof ProtobufError)) throw err;
        }
      }),
      { numRuns: 1_000 },
    );
  });
});
