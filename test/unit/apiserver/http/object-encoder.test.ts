import { describe, expect, it } from 'vitest';
import { createObjectEncoder } from '../../../../src/apiserver/http/object-encoder.ts';
import { deepFreeze, type KubeObject } from '../../../../src/machinery/object.ts';

const object = (name: string, data = 'x'): KubeObject =>
  deepFreeze({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { a: data } });

describe('object encoder', () => {
  it('writes kind and version first, and leaves them out of list items', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    const configMap = object('a');
    expect(encoder.itemJson(configMap)).toBe('{"metadata":{"name":"a"},"data":{"a":"x"}}');
    expect(encoder.json(configMap)).toBe('{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"a":"x"}}');
  });

  it('does not remember what can still change', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    const data: Record<string, string> = { a: '1' };
    const mutable = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data };
    encoder.json(mutable);
    data.a = '2';
    expect(encoder.json(mutable)).toContain('"a":"2"');
  });

  it('gives the right text for every object, however many there are', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 200 });
    const objects = Array.from({ length: 50 }, (_, index) => object(`n${index}`));
    for (let round = 0; round < 3; round += 1) {
      for (const candidate of objects) expect(JSON.parse(encoder.json(candidate))).toEqual(candidate);
    }
  });
});
