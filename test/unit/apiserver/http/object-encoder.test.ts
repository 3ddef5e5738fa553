import { describe, expect, it } from 'vitest';
import { createObjectEncoder } from '../../../../src/apiserver/http/object-encoder.ts';
import { deepFreeze, type KubeObject } from '../../../../src/machinery/object.ts';

const object = (name: string, data = 'x'): KubeObject =>
  deepFreeze({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, uid: `uid-${name}` }, data: { a: data } });

describe('object encoder', () => {
  it('writes kind and version first, and leaves them out of list items', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    const configMap = object('a');
    expect(encoder.itemJson(configMap)).toBe('{"metadata":{"name":"a","uid":"uid-a"},"data":{"a":"x"}}');
    expect(encoder.json(configMap)).toBe('{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","uid":"uid-a"},"data":{"a":"x"}}');
  });

  it('does not remember what can still change', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    const data: Record<string, string> = { a: '1' };
    const mutable = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', uid: 'uid-a' }, data };
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

  it('remembers one text of an object, so that versions of what changes all the time push nothing else out', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    let encoded = 0;
    const steady = Object.freeze({
      ...object('steady'),
      get data() {
        encoded += 1;
        return { a: 'x' };
      },
    });
    encoder.itemJson(steady);
    for (let version = 0; version < 100; version += 1) expect(encoder.itemJson(object('busy', `${version}`))).toContain(`"a":"${version}"`);
    encoder.itemJson(steady);
    expect(encoded).toBe(1);
  });

  it('keeps no text of an answer to a write', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    let encoded = 0;
    const written = Object.freeze({
      ...object('written'),
      get data() {
        encoded += 1;
        return { a: 'x' };
      },
    });
    expect(encoder.jsonOnce(written)).toBe(encoder.json(object('written')));
    encoder.itemJson(written);
    expect(encoded).toBe(2);
  });

  it('is bounded by the length of the texts', () => {
    const encoder = createObjectEncoder({ maxCachedLength: 1_000 });
    let encoded = 0;
    const early = Object.freeze({
      ...object('early'),
      get data() {
        encoded += 1;
        return { a: 'x' };
      },
    });
    encoder.itemJson(early);
    for (let index = 0; index < 50; index += 1) encoder.itemJson(object(`n${index}`));
    encoder.itemJson(early);
    expect(encoded).toBe(2);
  });
});
