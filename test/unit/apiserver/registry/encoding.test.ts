import { describe, expect, it } from 'vitest';
import { decode, encode, spliceRevision } from '../../../../src/apiserver/registry/encoding.ts';
import { deepFreeze, type KubeObject } from '../../../../src/machinery/object.ts';

const entry = (manager: string, fields: object) => ({
  manager,
  operation: 'Update',
  apiVersion: 'v1',
  fieldsType: 'FieldsV1',
  fieldsV1: fields,
});

const objectWith = (managedFields: readonly object[] | undefined, more: object = {}): KubeObject =>
  deepFreeze({
    kind: 'Thing',
    apiVersion: 'example.com/v1',
    metadata: { name: 'a "b"', labels: { app: 'web' }, ...(managedFields === undefined ? {} : { managedFields }) },
    ...more,
  }) as KubeObject;

describe('the text of an object', () => {
  const first = deepFreeze(entry('first', { 'f:spec': { 'k:{"name":"web"}': {} } }));
  it.each([
    ['without owners', objectWith(undefined, { spec: { replicas: 1 } })],
    ['with an empty list of owners', objectWith([], { spec: { replicas: 1 } })],
    ['with owners and nothing else', objectWith([first])],
    ['with owners that many objects share', objectWith([first, deepFreeze(entry('second', {}))], { spec: { replicas: 1 }, status: null })],
    ['with another entry of the same manager', objectWith([deepFreeze(entry('first', { 'f:data': {} }))], { data: { a: '}' } })],
    [
      'with a spec of which some is the same as before',
      objectWith([first], { spec: { replicas: 1, 'a "b"': [1], gone: undefined }, status: {} }),
    ],
    ['with an empty spec', objectWith([first], { spec: {} })],
    ['with a spec that is no map', objectWith([first], { spec: ['a', null] })],
    ['with a spec of null', objectWith([first], { spec: null })],
    ['with the first entry again', objectWith([first], { data: { a: 'b' } })],
  ])('is what JSON.stringify makes of it %s', (_, object) => {
    expect(encode(object)).toBe(JSON.stringify(object));
  });

  it('takes a revision and is read back with it', () => {
    const object = objectWith([first], { spec: { replicas: 1 } });
    expect(JSON.parse(spliceRevision(encode(object), 7))).toEqual({ ...object, metadata: { ...object.metadata, resourceVersion: '7' } });
    expect(decode(encode(object), 7).metadata.resourceVersion).toBe('7');
  });

  it('is read back to objects that share the sets of their owners', () => {
    const [one, other] = ['a', 'b'].map((text) => decode(encode(objectWith([first], { data: { text } })), 7));
    const sets = [one, other].map((object) => object?.metadata.managedFields?.[0]?.fieldsV1);
    expect(sets[0]).toEqual(first.fieldsV1);
    expect(sets[0]).toBe(sets[1]);
  });
});
