import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diffOf } from '../../../../src/gitops/verbs/object-text.ts';
import type { DynamicObject } from '../../../../src/machinery/object.ts';

const secret = (data: unknown, more: Partial<DynamicObject> = {}): DynamicObject =>
  ({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's', namespace: 'web' }, data, ...more }) as DynamicObject;

describe('the difference of two objects', () => {
  it('is none when only the server’s own fields, the status or the order of members differ', () => {
    const before = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'a', uid: '1', resourceVersion: '5', generation: 1, creationTimestamp: 'x', managedFields: [] },
      data: { a: '1', b: '2' },
      status: { x: 1 },
    };
    const after = { data: { b: '2', a: '1' }, kind: 'ConfigMap', apiVersion: 'v1', metadata: { name: 'a' } };
    expect(diffOf(before as DynamicObject, after)).toBe('');
  });

  it('shows what changes as lines around it, and a whole object that comes or goes', () => {
    const of = (a: string): DynamicObject => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: { a } });
    expect(diffOf(of('1'), of('2'))).toBe(
      '@@ -1,6 +1,6 @@\n apiVersion: v1\n data:\n-  a: "1"\n+  a: "2"\n kind: ConfigMap\n metadata:\n   name: a\n',
    );
    expect(diffOf(undefined, of('1'))).toBe(
      '@@ -0,0 +1,6 @@\n+apiVersion: v1\n+data:\n+  a: "1"\n+kind: ConfigMap\n+metadata:\n+  name: a\n',
    );
    expect(diffOf(of('1'), undefined)).toBe(
      '@@ -1,6 +0,0 @@\n-apiVersion: v1\n-data:\n-  a: "1"\n-kind: ConfigMap\n-metadata:\n-  name: a\n',
    );
    expect(diffOf(undefined, of('x\n'.repeat(5_000)))).toBe('+5006 lines\n');
  });

  it('says of a Secret which keys change and never a value, whatever the values are', () => {
    expect(diffOf(secret({ a: 'b2xk', b: 'c2FtZQ==' }), secret({ a: 'bmV3', b: 'c2FtZQ==', c: 'bW9yZQ==' }))).toMatch(
      /- {2}a: '\*\*\* \(before\)'\n.*\+ {2}a: '\*\*\* \(after\)'\n.*b: '\*\*\*'\n\+ {2}c: '\*\*\*'\n/s,
    );
    const value = fc.stringMatching(/^[A-Za-z0-9+/]{12,40}$/).map((text) => `v${text}`);
    const data = fc.dictionary(fc.constantFrom('a', 'b', 'c'), value);
    fc.assert(
      fc.property(fc.option(data, { nil: undefined }), fc.option(data, { nil: undefined }), fc.boolean(), (left, right, asStrings) => {
        const make = (values: Readonly<Record<string, string>> | undefined): DynamicObject | undefined =>
          values === undefined ? undefined : secret(asStrings ? undefined : values, asStrings ? { stringData: values } : {});
        const text = diffOf(make(left), make(right));
        for (const each of [...Object.values(left ?? {}), ...Object.values(right ?? {})]) expect(text).not.toContain(each);
      }),
    );
  });

  it('hides a Secret’s values also where kubectl keeps a copy of them, and when they are no map', () => {
    const annotations = { 'kubectl.kubernetes.io/last-applied-configuration': '{"data":{"a":"hidden"}}' };
    const noted = secret({ a: 'x' }, { metadata: { name: 's', annotations } });
    expect(diffOf(noted, secret({ a: 'y' }))).not.toContain('hidden');
    expect(diffOf(secret('hidden'), secret(['hidden']))).not.toContain('hidden');
  });
});
