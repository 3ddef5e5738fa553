import { describe, expect, it } from 'vitest';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { applyJsonPatch } from '../../../src/machinery/json-patch.ts';
import { applyMergePatch } from '../../../src/machinery/merge-patch.ts';
import { deepFreeze } from '../../../src/machinery/object.ts';
import type { Schema, SchemaSet } from '../../../src/machinery/schema.ts';
import { applyStrategicMergePatch } from '../../../src/machinery/strategic-merge-patch.ts';
import { recordedLines } from '../../support/recorded-lines.ts';

const item: Schema = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    value: { type: 'string' },
    sub: {
      type: 'array',
      items: { $ref: '#/components/schemas/Item' },
      'x-kubernetes-patch-strategy': 'merge',
      'x-kubernetes-patch-merge-key': 'name',
    },
  },
};
const schema: Schema = {
  type: 'object',
  properties: {
    list: {
      type: 'array',
      items: { $ref: '#/components/schemas/Item' },
      'x-kubernetes-patch-strategy': 'merge',
      'x-kubernetes-patch-merge-key': 'name',
    },
    finalizers: { type: 'array', items: { type: 'string' }, 'x-kubernetes-patch-strategy': 'merge' },
    atomic: { type: 'array', items: { type: 'string' } },
    replaced: { type: 'object', additionalProperties: { type: 'string' }, 'x-kubernetes-patch-strategy': 'replace' },
    union: { type: 'object', 'x-kubernetes-patch-strategy': 'retainKeys' },
    labels: { type: 'object', additionalProperties: { type: 'string' } },
  },
};
const set: SchemaSet = { Item: item };
const object = deepFreeze({
  list: [
    { name: 'a', value: '1', sub: [{ name: 's', value: '1' }] },
    { name: 'b', value: '2' },
    { name: 'c', value: '3' },
  ],
  finalizers: ['x', 'y', 'z'],
  atomic: ['p', 'q'],
  replaced: { k: 'v' },
  union: { type: 'A', a: { x: 1 } },
  labels: { l: '1', m: '2' },
});
const apply = (patch: unknown): unknown => applyStrategicMergePatch({ object, patch, schema, set });
const names = (patch: unknown): readonly string[] => (apply(patch) as typeof object).list.map(({ name }) => name);

describe('strategic merge patch', () => {
  it('merges maps, and null removes', () => {
    expect(apply({ labels: { l: null, n: '3', missing: null } })).toEqual({ ...object, labels: { m: '2', n: '3' } });
  });

  it('merges items of a list by key, at every depth', () => {
    expect(apply({ list: [{ name: 'a', sub: [{ name: 's', value: '9' }] }] })).toEqual({
      ...object,
      list: [{ name: 'a', value: '1', sub: [{ name: 's', value: '9' }] }, object.list[1], object.list[2]],
    });
  });

  it('puts new items in front', () => {
    expect(names({ list: [{ name: 'd' }, { name: 'e' }] })).toEqual(['d', 'e', 'a', 'b', 'c']);
    expect(names({ list: [{ name: 'd' }, { name: 'b' }] })).toEqual(['d', 'a', 'b', 'c']);
    expect(names({ list: [{ name: 'c' }, { name: 'a' }] })).toEqual(['b', 'c', 'a']);
  });

  it('orders by $setElementOrder', () => {
    const order = (...of: string[]) => of.map((name) => ({ name }));
    expect(names({ '$setElementOrder/list': order('c', 'a') })).toEqual(['b', 'c', 'a']);
    expect(names({ '$setElementOrder/list': order('a', 'd', 'b', 'c'), list: [{ name: 'd' }] })).toEqual(['a', 'd', 'b', 'c']);
    expect(apply({ '$setElementOrder/finalizers': ['z', 'x', 'y'] })).toMatchObject({ finalizers: ['z', 'x', 'y'] });
    expect(names({ '$setElementOrder/list': order('a', 'c'), list: [{ name: 'b', $patch: 'delete' }] })).toEqual(['a', 'c']);
    expect(apply({ '$setElementOrder/missing': ['x'] })).toBe(object);
  });

  it('obeys $patch in lists and maps', () => {
    expect(names({ list: [{ name: 'b', $patch: 'delete' }] })).toEqual(['a', 'c']);
    expect(names({ list: [{ name: 'none', $patch: 'delete' }] })).toEqual(['a', 'b', 'c']);
    expect(names({ list: [{ $patch: 'replace' }, { name: 'only' }] })).toEqual(['only']);
    expect(apply({ labels: { $patch: 'replace', x: '1' } })).toMatchObject({ labels: { x: '1' } });
    expect((apply({ labels: { $patch: 'replace', x: '1' } }) as typeof object).labels).toEqual({ x: '1' });
    expect((apply({ labels: { $patch: 'delete' } }) as typeof object).labels).toEqual({});
  });

  it('merges lists of scalars and deletes from them', () => {
    expect(apply({ finalizers: ['n', 'y'] })).toMatchObject({ finalizers: ['n', 'x', 'y', 'z'] });
    expect(apply({ '$deleteFromPrimitiveList/finalizers': ['x', 'z', 'none'] })).toMatchObject({ finalizers: ['y'] });
    expect(apply({ '$deleteFromPrimitiveList/finalizers': ['none'] })).toBe(object);
  });

  it('keeps only what $retainKeys names', () => {
    expect(apply({ union: { $retainKeys: ['type', 'b'], type: 'B', b: {} } })).toMatchObject({ union: { type: 'B', b: {} } });
    expect((apply({ union: { $retainKeys: ['type'], type: 'C' } }) as typeof object).union).toEqual({ type: 'C' });
  });

  it('replaces lists and maps that are not merged', () => {
    expect(apply({ atomic: ['r'], replaced: { n: '1' } })).toMatchObject({ atomic: ['r'] });
    expect((apply({ replaced: { n: '1' } }) as typeof object).replaced).toEqual({ n: '1' });
  });

  it('leaves no directive and no null in what it adds', () => {
    expect(apply({ extra: { a: null, $retainKeys: ['b'], b: 1, c: { $patch: 'delete' } } })).toMatchObject({ extra: { b: 1 } });
    expect((apply({ list: [{ name: 'n', value: null, $setElementOrder: [] }] }) as typeof object).list[0]).toEqual({
      name: 'n',
      $setElementOrder: [],
    });
  });

  it('returns the same object when nothing changes and shares the rest', () => {
    expect(apply({})).toBe(object);
    expect(apply({ list: [{ name: 'b', value: '2' }], finalizers: ['y'], labels: { l: '1' } })).toBe(object);
    expect((apply({ labels: { l: '2' } }) as typeof object).list).toBe(object.list);
    expect((apply({ list: [{ name: 'b', value: '3' }] }) as typeof object).list[0]).toBe(object.list[0]);
  });

  it.each([
    [{ list: [{ value: '1' }] }, 500, 'map: map[value:1] does not contain declared merge key: name'],
    [{ list: [{ name: 'a', $patch: 'frob' }] }, 500, 'unknown patch type: frob in map: map[$patch:frob name:a]'],
    [{ labels: { $patch: 'frob' } }, 500, 'unknown patch type: frob in map: map[$patch:frob]'],
    [{ list: [{ $patch: 'merge' }] }, 500, 'merging lists cannot yet be specified in the patch'],
    [{ list: ['x'] }, 500, 'list element types are not identical'],
    [{ union: { $retainKeys: ['type'], type: 'B', b: 1 } }, 400, 'invalid patch format of retainKeys'],
    [{ '$deleteFromPrimitiveList/finalizers': 'x' }, 400, 'invalid patch format of primitive list'],
    [{ '$setElementOrder/list': 'x' }, 400, 'invalid patch format of setElementOrder list'],
    [{ '$setElementOrder/list': [{ name: 'a' }], list: [{ name: 'z' }] }, 500, "doesn't match $setElementOrder list"],
    [['x'], 400, 'error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}'],
  ])('refuses %j', (patch, code, message) => {
    expect(() => apply(patch)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
  });

  it('treats __proto__ as a plain name', () => {
    const result = apply(JSON.parse('{"labels": {"__proto__": {"polluted": "yes"}}}')) as typeof object;
    expect(Object.getPrototypeOf(result.labels)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

interface Exchange {
  readonly title: string;
  readonly req: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: unknown;
  };
  readonly res: { readonly status: number; readonly body: { readonly metadata: object; readonly spec: object } };
}

describe('patches recorded from a real server', () => {
  const kind = 'io.k8s.api.apps.v1.Deployment';
  const comparable = ({ metadata, spec }: Exchange['res']['body']): unknown => {
    const { labels, annotations, finalizers } = metadata as Record<string, unknown>;
    return JSON.parse(JSON.stringify({ labels, annotations, finalizers, spec }));
  };

  /** Defaults that the server sets after patching. */
  const withDefaults = (object: unknown): unknown => {
    const copy = JSON.parse(JSON.stringify(object));
    for (const container of copy.spec.template.spec.containers) {
      container.resources ??= {};
      container.terminationMessagePath ??= '/dev/termination-log';
      container.terminationMessagePolicy ??= 'File';
      container.imagePullPolicy ??= 'IfNotPresent';
    }
    for (const field of ['labels', 'finalizers']) {
      if (Object.keys(copy.metadata[field] ?? {}).length === 0) delete copy.metadata[field];
    }
    return copy;
  };

  it('have the recorded results', () => {
    const set = loadSchemas();
    let state: unknown;
    let compared = 0;
    for (const line of recordedLines('api', 'patches')) {
      const { title, req, res } = JSON.parse(line) as Exchange;
      if (!req.path.endsWith('/deployments/p1') || res.status !== 200 || /unknown field|status in main/.test(title)) {
        if (req.method === 'POST') state = deepFreeze(res.body);
        continue;
      }
      const type = req.headers?.['content-type'];
      const result =
        type === 'application/json-patch+json'
          ? applyJsonPatch(state as object, req.body)
          : type === 'application/merge-patch+json'
            ? applyMergePatch(state, req.body)
            : applyStrategicMergePatch({ object: state, patch: req.body, schema: { $ref: `#/components/schemas/${kind}` }, set });
      expect(comparable(withDefaults(result) as Exchange['res']['body']), title).toEqual(comparable(res.body));
      state = deepFreeze(res.body);
      compared += 1;
    }
    expect(compared).toBeGreaterThan(12);
  });
});
