import { describe, expect, it } from 'vitest';
import { decodeAnswer, decodeMessage } from '../../../../src/apiserver/http/protobuf/decode.ts';
import { encodeAnswer, encodeWatchEvent } from '../../../../src/apiserver/http/protobuf/encode.ts';
import { messageOf } from '../../../../src/apiserver/http/protobuf/layouts.ts';
import { apiVersionOf } from '../../../../src/machinery/resource.ts';
import { plainObject, storedKinds } from '../../../support/odd-objects.ts';
import { bytesField, decodeWatchEvent, encodeMessage, envelopeOf, varintField } from '../../../support/protobuf.ts';

const text = (value: string): Buffer => Buffer.from(value);
const bytesOf = (answer: string | undefined): Buffer => Buffer.from(answer ?? '', 'latin1');
const message = (...fields: readonly Buffer[]): Buffer => Buffer.concat(fields);

describe('an answer in protobuf', () => {
  it('has the numbers of the published layout, written down here once more', () => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', creationTimestamp: '2026-01-02T03:04:05Z', labels: { app: 'wéb' }, generation: 3 },
      spec: {
        volumes: [{ name: 'tmp', emptyDir: {} }],
        containers: [
          {
            name: 'c',
            ports: [{ containerPort: 80, protocol: 'TCP' }],
            resources: { limits: { cpu: '100m' } },
            livenessProbe: { httpGet: { port: 'http' }, periodSeconds: 0 },
          },
        ],
        terminationGracePeriodSeconds: 0,
        hostNetwork: false,
      },
      status: { startTime: null, observedGeneration: -1 },
    };
    const port = message(varintField(3, 80n), bytesField(4, text('TCP')));
    const limits = bytesField(1, message(bytesField(1, text('cpu')), bytesField(2, bytesField(1, text('100m')))));
    const namedPort = message(varintField(1, 1n), bytesField(3, text('http')));
    const probe = message(bytesField(1, bytesField(2, bytesField(2, namedPort))), varintField(4, 0n));
    const container = message(bytesField(1, text('c')), bytesField(6, port), bytesField(8, limits), bytesField(10, probe));
    const metadata = message(
      bytesField(1, text('web')),
      varintField(7, 3n),
      bytesField(8, message(varintField(1, 1_767_323_045n), varintField(2, 0n))),
      bytesField(11, message(bytesField(1, text('app')), bytesField(2, text('wéb')))),
    );
    // A volume names its source in a message of its own, which JSON does not have.
    const volume = message(bytesField(1, text('tmp')), bytesField(2, bytesField(2, Buffer.alloc(0))));
    const spec = message(bytesField(1, volume), bytesField(2, container), varintField(4, 0n), varintField(11, 0n));
    const raw = message(bytesField(1, metadata), bytesField(2, spec), bytesField(3, varintField(17, -1n)));
    expect(bytesOf(encodeAnswer(pod)).toString('hex')).toBe(envelopeOf({ apiVersion: 'v1', kind: 'Pod', raw }).toString('hex'));
  });

  const kinds = storedKinds.filter((kind) => messageOf(kind) !== undefined);
  it.each(kinds.map((kind) => [`${apiVersionOf(kind)} ${kind.kind}`, kind] as const))('holds what is stored: %s', (_name, kind) => {
    const { spec, ...object } = plainObject(kind, 'odd');
    // No client can tell an empty spec, or one of empty lists and structures, from none.
    const says = Object.values(spec ?? {}).some((value) => typeof value !== 'object' || value === null || Object.keys(value).length > 0);
    const expected = says ? { ...object, spec } : object;
    expect(decodeAnswer(bytesOf(encodeAnswer({ ...object, ...(spec === undefined ? {} : { spec }) })))).toEqual(expected);
  });

  it('keeps a zero that is stored apart from what is absent', () => {
    const layout = 'io.k8s.api.apps.v1.DeploymentSpec';
    expect(decodeMessage(layout, encodeMessage(layout, { replicas: 0 }))).toEqual({ replicas: 0 });
    expect(decodeMessage(layout, encodeMessage(layout, {}))).toEqual({});
  });

  it('lists objects of a kind, and tells of a failure', () => {
    const list = {
      kind: 'ConfigMapList',
      apiVersion: 'v1',
      metadata: { resourceVersion: '17', continue: 'next', remainingItemCount: 3 },
      items: [{ metadata: { name: 'a' }, data: { long: 'x'.repeat(40_000), ключ: 'значение' } }, { metadata: { name: 'b' } }],
    };
    expect(decodeAnswer(bytesOf(encodeAnswer(list)))).toEqual(list);
    const failure = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message: 'Pod "a" is invalid',
      reason: 'Invalid',
      details: { name: 'a', kind: 'Pod', causes: [{ reason: 'FieldValueInvalid', message: 'no', field: 'spec' }], retryAfterSeconds: 2 },
      code: 422,
    };
    expect(decodeAnswer(bytesOf(encodeAnswer(failure)))).toEqual(failure);
  });

  it('is there for the kinds of the layout only', () => {
    expect(encodeAnswer({ kind: 'Widget', apiVersion: 'example.com/v1', metadata: {} })).toBeUndefined();
    expect(encodeAnswer({ kind: 'WidgetList', apiVersion: 'example.com/v1', metadata: {}, items: [] })).toBeUndefined();
    expect(encodeAnswer({ kind: 'Table', apiVersion: 'meta.k8s.io/v1', rows: [] })).toBeUndefined();
    expect(encodeAnswer({ kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: { name: 'w' } })).toBeDefined();
  });

  it('refuses a value that the layout cannot hold, and writes the next object rightly', () => {
    const odd = { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 7 }, data: {} };
    expect(() => encodeAnswer(odd)).toThrow('name is no text');
    const plain = { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a' } };
    expect(decodeAnswer(bytesOf(encodeAnswer(plain)))).toEqual(plain);
  });
});

describe('an event of a watch in protobuf', () => {
  it.each([10, 100, 300, 20_000, 3_000_000])('has its length in front, for an object of %d bytes', (size) => {
    const object = { kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a' }, data: { a: 'x'.repeat(size) } };
    const frame = bytesOf(encodeWatchEvent('MODIFIED', encodeAnswer(object) ?? ''));
    expect(frame.readUInt32BE()).toBe(frame.length - 4);
    expect(decodeWatchEvent(frame.subarray(4))).toEqual({ type: 'MODIFIED', object });
  });
});
