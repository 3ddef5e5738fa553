import { describe, expect, it } from 'vitest';
import { aggregatedResources, parseOpenApiIndex, parseResourceList } from '../../../../src/apiserver/aggregation/remote-discovery.ts';
import { identityHeaders } from '../../../../src/apiserver/aggregation/transport.ts';

const listOf = (...resources: unknown[]): string => JSON.stringify({ kind: 'APIResourceList', groupVersion: 'shop.example/v1', resources });
const order = { name: 'orders', kind: 'Order', namespaced: true, verbs: ['get'] };

describe('resources of an untrusted server', () => {
  it('is nothing when it is not about the group version, or no list at all', () => {
    for (const text of ['', 'null', '[]', '{"kind":"Status"}', listOf(order).replace('shop.example/v1', 'apps/v1'), '{"kind":']) {
      expect(parseResourceList(text, 'shop.example/v1')).toBeUndefined();
    }
  });

  it('loses entries and words that are none', () => {
    const parsed = parseResourceList(
      listOf(
        null,
        [],
        { name: '../secrets', kind: 'Secret' },
        { name: 'a/b/c', kind: 'A' },
        { name: 'Orders', kind: 'Order' },
        { name: 'orders', kind: 'Or der' },
        { name: 'orders', kind: 'Order', verbs: ['get', 7, '<b>', 'list'], shortNames: 'ord', categories: null, group: '../x' },
      ),
      'shop.example/v1',
    );
    expect(parsed).toEqual([
      {
        name: 'orders',
        kind: 'Order',
        namespaced: false,
        singularName: '',
        group: 'shop.example',
        version: 'v1',
        verbs: ['get', 'list'],
        shortNames: [],
        categories: [],
      },
    ]);
  });

  it('is cut where it has no end', () => {
    const many = Array.from({ length: 5_000 }, (_, n) => ({ ...order, name: `orders${n}`, verbs: Array(500).fill('get') }));
    const parsed = parseResourceList(listOf(...many), 'shop.example/v1') ?? [];
    expect(parsed).toHaveLength(1_000);
    expect(parsed[0]?.verbs).toHaveLength(64);
  });

  it('keeps names that objects have by themselves apart', () => {
    const parsed = parseResourceList(
      listOf({ ...order, name: 'constructor' }, { ...order, name: 'constructor/status' }),
      'shop.example/v1',
    );
    expect(aggregatedResources(parsed ?? [])).toMatchObject([{ resource: 'constructor', subresources: [{ subresource: 'status' }] }]);
  });
});

describe('OpenAPI path of an untrusted server', () => {
  const path = 'apis/shop.example/v1';
  const indexOf = (serverRelativeURL: unknown): string => JSON.stringify({ paths: { [path]: { serverRelativeURL } } });

  it('is below the path it was asked for, and nowhere else', () => {
    expect(parseOpenApiIndex(indexOf(`/openapi/v3/${path}?hash=AB12`), path)).toBe(`/openapi/v3/${path}?hash=AB12`);
    expect(parseOpenApiIndex(indexOf(`/openapi/v3/${path}`), path)).toBe(`/openapi/v3/${path}`);
    const others = [
      'https://elsewhere.example/',
      '/api/v1/secrets',
      `/openapi/v3/${path}/../../api/v1`,
      `/openapi/v3/${path}?hash=a&b=c`,
      7,
    ];
    for (const url of others) expect(parseOpenApiIndex(indexOf(url), path)).toBeUndefined();
    for (const text of ['', '[]', '{"paths":null}', '{"paths":{"__proto__":{}}}']) expect(parseOpenApiIndex(text, path)).toBeUndefined();
  });
});

describe('the headers that say who asks', () => {
  it('have every group and every value of a field, with keys that a header can have', () => {
    expect(identityHeaders({ name: 'jürgen', uid: 'u', groups: ['a', 'b, c'], extra: { 'Acme.example/Scope': ['x', 'y'] } })).toEqual({
      'x-remote-user': Buffer.from('jürgen').toString('latin1'),
      'x-remote-uid': 'u',
      'x-remote-group': ['a', 'b, c'],
      'x-remote-extra-acme.example%2fscope': ['x', 'y'],
    });
  });

  it('do not make another user of one whose name ends or begins a line', () => {
    for (const name of ['admin ', '\tadmin', 'a\r\nX-Remote-Group: system:masters', 'ad\u0000min']) {
      expect(() => identityHeaders({ name, groups: [] })).toThrow('cannot be said in a header');
      expect(() => identityHeaders({ name: 'a', groups: [name] })).toThrow('cannot be said in a header');
    }
  });
});
