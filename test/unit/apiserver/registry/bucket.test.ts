import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Bucket } from '../../../../src/apiserver/registry/bucket.ts';
import type { KubeObject } from '../../../../src/machinery/object.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const object: KubeObject = { apiVersion: 'v1', kind: 'Event', metadata: { name: 'a' } };

describe('a bucket of objects', () => {
  it('keeps its keys in order, whatever comes, goes and is listed between', () => {
    const step = fc.record({ key: fc.integer({ min: 0, max: 30 }), action: fc.constantFrom('set', 'delete', 'list') });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const bucket = new Bucket();
        const model = new Set<string>();
        for (const { key, action } of steps) {
          const name = `k${key}`;
          if (action === 'set') {
            bucket.set(name, object, model.has(name) ? 0 : 1);
            model.add(name);
          } else if (action === 'delete') {
            bucket.delete(name, 1);
            model.delete(name);
          } else expect(bucket.keys()).toEqual([...model].sort());
        }
        expect(bucket.keys()).toEqual([...model].sort());
        expect(bucket.bytes).toBe(model.size);
      }),
    );
  });

  it('forgets the keys of objects that went, also when nobody lists it for long', () => {
    const bucket = new Bucket();
    bucket.set('first', object, 1);
    expect(bucket.keys()).toEqual(['first']);
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let index = 0; index < 100_000; index += 1) {
      // Text of its own, as of a key that came over the network.
      const key = Buffer.from(`events/default/${'x'.repeat(100)}.${index}`).toString('latin1');
      bucket.set(key, object, 1);
      bucket.delete(key, 1);
    }
    collectGarbage();
    // All keys together have more than 12 MB.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(4_000_000);
    expect(bucket.keys()).toEqual(['first']);
  });
});
