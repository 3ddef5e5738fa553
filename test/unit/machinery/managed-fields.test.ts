import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadSchemas } from '../../../src/api/schemas.ts';
import { applyJsonPatch } from '../../../src/machinery/json-patch.ts';
import { applyPatch, updateManagedFields } from '../../../src/machinery/managed-fields.ts';
import { type DynamicObject, deepEqual, deepFreeze, type KubeObject, type ManagedFieldsEntry } from '../../../src/machinery/object.ts';
import type { Schema } from '../../../src/machinery/schema.ts';
import { recordedLines } from '../../support/recorded-lines.ts';

const set = loadSchemas();
const refOf = (name: string) => ({ $ref: `#/components/schemas/${name}` });

const early = '2026-01-01T00:00:00Z';
const late = '2026-01-01T00:01:00Z';

interface Write {
  readonly manager?: string;
  readonly time?: string;
  readonly subresource?: string;
  readonly resetFields?: object;
}

const configMap = { apiVersion: 'v1', kind: 'ConfigMap', schema: refOf('io.k8s.api.core.v1.ConfigMap'), set };
const deployment = { apiVersion: 'apps/v1', kind: 'Deployment', schema: refOf('io.k8s.api.apps.v1.Deployment'), set };
const statusOnly = { 'f:spec': {}, 'f:metadata': {} };

type Kind = Omit<typeof configMap, 'schema'> & { readonly schema: Schema };

const update = (kind: Kind, before: KubeObject | undefined, after: object, write: Write = {}): DynamicObject =>
  deepFreeze(
    updateManagedFields({
      ...kind,
      manager: 'tool',
      time: early,
      ...write,
      before,
      after: deepFreeze(after as KubeObject),
    }) as DynamicObject,
  );

const apply = (
  kind: Kind,
  live: DynamicObject | undefined,
  patch: object,
  write: Write & { readonly force?: boolean } = {},
): DynamicObject => deepFreeze(applyPatch({ ...kind, manager: 'm1', time: early, force: false, ...write, live, patch: deepFreeze(patch) }));

const cm = (data: Record<string, string>, metadata: object = {}) => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'c', ...metadata },
  data,
});

const ownersOf = (object: KubeObject): Record<string, unknown> =>
  Object.fromEntries(
    (object.metadata.managedFields ?? []).map(({ manager, operation, subresource, fieldsV1 }) => [
      `${manager} ${operation}${subresource === undefined ? '' : ` ${subresource}`}`,
      fieldsV1,
    ]),
  );

describe('updates', () => {
  it('give the creator all that it set, without what the server sets', () => {
    const created = update(
      configMap,
      undefined,
      cm({ a: '1' }, { labels: { x: 'y' }, uid: 'u', creationTimestamp: early, generateName: 'c-' }),
    );
    expect(created.metadata.managedFields).toEqual([
      {
        manager: 'tool',
        operation: 'Update',
        apiVersion: 'v1',
        time: early,
        fieldsType: 'FieldsV1',
        fieldsV1: { 'f:data': { '.': {}, 'f:a': {} }, 'f:metadata': { 'f:generateName': {}, 'f:labels': { '.': {}, 'f:x': {} } } },
      },
    ]);
  });

  it('own the fields of structs, not the structs', () => {
    const created = update(deployment, undefined, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'd' },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: 'd' } },
        strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1 } },
        template: {
          metadata: { labels: { app: 'd' } },
          spec: {
            containers: [{ name: 'c', image: 'i', resources: {}, ports: [{ containerPort: 80, protocol: 'TCP' }] }],
            securityContext: {},
          },
        },
      },
      status: {},
    });
    expect(ownersOf(created)).toEqual({
      'tool Update': {
        'f:spec': {
          'f:replicas': {},
          'f:selector': {},
          'f:strategy': { 'f:rollingUpdate': { '.': {}, 'f:maxSurge': {} }, 'f:type': {} },
          'f:template': {
            'f:metadata': { 'f:labels': { '.': {}, 'f:app': {} } },
            'f:spec': {
              'f:containers': {
                'k:{"name":"c"}': {
                  '.': {},
                  'f:image': {},
                  'f:name': {},
                  'f:ports': { '.': {}, 'k:{"containerPort":80,"protocol":"TCP"}': { '.': {}, 'f:containerPort': {}, 'f:protocol': {} } },
                  'f:resources': {},
                },
              },
              'f:securityContext': {},
            },
          },
        },
      },
    });
  });

  it('take changed fields from others, and lose what is removed', () => {
    const created = update(configMap, undefined, cm({ a: '1', b: '1', c: '1' }), { manager: 'one' });
    const changed = update(configMap, created, cm({ a: '2', b: '1', d: '1' }), { manager: 'two', time: late });
    expect(ownersOf(changed)).toEqual({
      'one Update': { 'f:data': { '.': {}, 'f:b': {} } },
      'two Update': { 'f:data': { 'f:a': {}, 'f:d': {} } },
    });
    expect(changed.metadata.managedFields?.map(({ time }) => time)).toEqual([early, late]);
  });

  it('through a subresource have an entry of their own and claim no other fields', () => {
    const created = update(deployment, undefined, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'd' },
      spec: { replicas: 1 },
    });
    const after = { ...created, spec: { replicas: 9 }, status: { replicas: 1, conditions: [{ type: 'Available', status: 'True' }] } };
    const changed = update(deployment, created, after, { manager: 'ctl', subresource: 'status', resetFields: statusOnly });
    expect(ownersOf(changed)).toEqual({
      'tool Update': { 'f:spec': { 'f:replicas': {} } },
      'ctl Update status': {
        'f:status': { 'f:conditions': { '.': {}, 'k:{"type":"Available"}': { '.': {}, 'f:status': {}, 'f:type': {} } }, 'f:replicas': {} },
      },
    });
  });

  it('that change no owner keep the very list', () => {
    const created = update(configMap, undefined, cm({ a: '1' }));
    const { managedFields } = created.metadata;
    expect(update(configMap, created, cm({ a: '1' }), { manager: 'other', time: late }).metadata.managedFields).toBe(managedFields);
    const touched = update(configMap, created, { ...created, metadata: { ...created.metadata, resourceVersion: '9', generation: 2 } });
    expect(touched.metadata.managedFields).toBe(managedFields);
  });

  it('do not look at what is the same reference', () => {
    const spec = new Proxy(Object.freeze({}), {
      ownKeys() {
        throw new Error('the spec was looked at');
      },
    });
    const before = {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'd', managedFields: update(deployment, undefined, deploymentOf()).metadata.managedFields },
      spec,
    };
    const options = { ...deployment, manager: 'ctl', time: early, subresource: 'status' };
    expect(
      ownersOf(
        updateManagedFields({ ...options, before: before as KubeObject, after: { ...before, status: { replicas: 1 } } as KubeObject }),
      ),
    ).toHaveProperty('ctl Update status', { 'f:status': { 'f:replicas': {} } });
  });

  it('share one set among objects from one template', () => {
    const template = deepFreeze({ containers: [{ name: 'c', image: 'i' }] });
    const pod = (name: string) => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { ...template } });
    const pods = { ...configMap, schema: refOf('io.k8s.api.core.v1.Pod') };
    const [a, b] = ['a', 'b'].map((name) => update(pods, undefined, pod(name)));
    expect(a?.metadata.managedFields).toBe(b?.metadata.managedFields);
    const later = update(pods, undefined, pod('c'), { time: late });
    expect(later.metadata.managedFields?.[0]?.fieldsV1).toBe(a?.metadata.managedFields?.[0]?.fieldsV1);
  });

  it('let a client give up all ownership, which begins again at the first apply', () => {
    const created = update(configMap, undefined, cm({ a: '1' }));
    for (const managedFields of [[], [{}]]) {
      const reset = update(configMap, created, cm({ a: '1' }, { managedFields }));
      expect(reset.metadata).not.toHaveProperty('managedFields');
      expect(update(configMap, reset, cm({ a: '2' })).metadata).not.toHaveProperty('managedFields');
      const applied = apply(configMap, reset, cm({ b: '1' }));
      expect(ownersOf(applied)).toEqual({
        'm1 Apply': { 'f:data': { 'f:b': {} } },
        'before-first-apply Update': { 'f:data': { '.': {}, 'f:a': {} } },
      });
    }
  });

  it('take what a client says of owners if it can be read', () => {
    const created = update(configMap, undefined, cm({ a: '1' }));
    const given: ManagedFieldsEntry = {
      manager: 'm',
      operation: 'Apply',
      apiVersion: 'v1',
      fieldsType: 'FieldsV1',
      fieldsV1: { 'f:data': { 'f:a': {}, 'z:?': {}, '.': {} } },
    };
    expect(ownersOf(update(configMap, created, cm({ a: '1' }, { managedFields: [given] })))).toEqual({ 'm Apply': given.fieldsV1 });
    const broken = update(configMap, created, cm({ a: '1' }, { managedFields: [{ ...given, operation: 'Steal' }] }));
    expect(broken.metadata.managedFields).toBe(created.metadata.managedFields);
    const through = update(configMap, created, cm({ a: '1' }, { managedFields: [given] }), { subresource: 'status' });
    expect(through.metadata.managedFields).toBe(created.metadata.managedFields);
    const unreadable = { ...given, fieldsV1: { 'q:data': {} } };
    expect(update(configMap, created, cm({ a: '1' }, { managedFields: [unreadable] })).metadata.managedFields).toBeUndefined();
  });

  it('drop an entry whose version is no longer there', () => {
    const created = update(configMap, undefined, cm({ a: '1' }));
    const [entry] = created.metadata.managedFields ?? [];
    const managedFields = [entry ?? {}, { ...entry, manager: 'old', apiVersion: 'v0' }];
    const updated = update(configMap, cm({ a: '1' }, { managedFields }), cm({ a: '1', b: '2' }, { managedFields }));
    expect(Object.keys(ownersOf(updated))).toEqual(['tool Update']);
  });

  it('by more than ten managers merge the oldest', () => {
    let object = update(configMap, undefined, cm({ k0: '1' }), { manager: 'manager-0' });
    const data: Record<string, string> = { k0: '1' };
    for (let number = 1; number < 14; number += 1) {
      data[`k${number}`] = '1';
      const time = `2026-01-01T00:${String(number).padStart(2, '0')}:00Z`;
      object = update(configMap, object, cm({ ...data }), { manager: `manager-${number}`, time });
    }
    expect(object.metadata.managedFields).toHaveLength(10);
    expect(object.metadata.managedFields?.[0]).toMatchObject({
      manager: 'ancient-changes',
      time: '2026-01-01T00:04:00Z',
      fieldsV1: { 'f:data': { '.': {}, 'f:k0': {}, 'f:k1': {}, 'f:k2': {}, 'f:k3': {}, 'f:k4': {} } },
    });
  });

  it('treat parts without a schema field by field, and their lists as a whole', () => {
    const open = {
      ...configMap,
      schema: { type: 'object', properties: { spec: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } } } as const,
    };
    const created = update(open, undefined, {
      apiVersion: 'x/v1',
      kind: 'X',
      metadata: { name: 'x', labels: { a: 'b' } },
      spec: { a: { b: 1 }, l: [1, { c: 2 }] },
    });
    expect(ownersOf(created)).toEqual({
      'tool Update': {
        'f:metadata': { 'f:labels': { '.': {}, 'f:a': {} } },
        'f:spec': { '.': {}, 'f:a': { '.': {}, 'f:b': {} }, 'f:l': {} },
      },
    });
    const changed = update(open, created, { ...created, spec: { a: 5, l: [1] } }, { manager: 'two' });
    expect(ownersOf(changed)).toEqual({
      'tool Update': { 'f:metadata': { 'f:labels': { '.': {}, 'f:a': {} } }, 'f:spec': {} },
      'two Update': { 'f:spec': { 'f:a': {}, 'f:l': {} } },
    });
  });
});

const deploymentOf = (spec: object = { replicas: 1 }) => ({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' }, spec });
const containersOf = (...containers: object[]) => deploymentOf({ template: { spec: { containers } } });

describe('server-side apply', () => {
  it('creates, and applying the same again gives the very object', () => {
    const created = apply(configMap, undefined, cm({ a: '1' }));
    expect(created).toMatchObject(cm({ a: '1' }));
    expect(ownersOf(created)).toEqual({ 'm1 Apply': { 'f:data': { 'f:a': {} } } });
    expect(apply(configMap, created, cm({ a: '1' }), { time: late })).toBe(created);
  });

  it('removes what is no longer applied and owned by nobody else', () => {
    const first = apply(configMap, undefined, cm({ a: '1', b: '1', c: '1' }));
    const shared = apply(configMap, first, cm({ b: '1' }), { manager: 'm2' });
    const less = apply(configMap, shared, cm({ a: '1' }), { time: late });
    expect(less.data).toEqual({ a: '1', b: '1' });
    expect(ownersOf(less)).toEqual({ 'm1 Apply': { 'f:data': { 'f:a': {} } }, 'm2 Apply': { 'f:data': { 'f:b': {} } } });
    const nothing = apply(
      configMap,
      apply(configMap, less, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' } }, { manager: 'm2' }),
      {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'c' },
      },
    );
    expect(nothing).not.toHaveProperty('data');
    expect(nothing.metadata).toEqual({ name: 'c' });
  });

  it('leaves what others set by updates', () => {
    const created = update(configMap, undefined, cm({ a: '1' }));
    const applied = apply(configMap, created, cm({ a: '1', b: '2' }));
    expect(apply(configMap, applied, { ...cm({}), data: {} }).data).toEqual({ a: '1' });
  });

  it('conflicts with other owners unless it is forced', () => {
    const created = update(configMap, undefined, cm({ a: '1', b: '1' }));
    const applied = apply(configMap, created, cm({ b: '1', c: '1' }), { manager: 'one' });
    expect(() => apply(configMap, applied, cm({ a: '2' }))).toThrow(
      expect.objectContaining({
        code: 409,
        reason: 'Conflict',
        message: 'Apply failed with 1 conflict: conflict with "tool" using v1: .data.a',
        details: { causes: [{ reason: 'FieldManagerConflict', message: 'conflict with "tool" using v1', field: '.data.a' }] },
      }),
    );
    expect(() => apply(configMap, applied, cm({ b: '2', c: '2' }))).toThrow(
      'Apply failed with 3 conflicts: conflicts with "one":\n- .data.b\n- .data.c\nconflicts with "tool" using v1:\n- .data.b',
    );
    const forced = apply(configMap, applied, cm({ b: '2' }), { force: true });
    expect(ownersOf(forced)).toEqual({
      'm1 Apply': { 'f:data': { 'f:b': {} } },
      'one Apply': { 'f:data': { 'f:c': {} } },
      'tool Update': { 'f:data': { '.': {}, 'f:a': {} } },
    });
  });

  it('names the subresource of a conflicting owner', () => {
    const created = apply(deployment, undefined, deploymentOf());
    const scaled = update(deployment, created, { ...created, spec: { replicas: 5 } }, { manager: 'hpa', subresource: 'scale' });
    expect(() => apply(deployment, scaled, deploymentOf())).toThrow(
      'conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas',
    );
  });

  it('merges keyed lists by their keys and keeps their order', () => {
    const first = apply(deployment, undefined, containersOf({ name: 'a', image: '1' }, { name: 'b', image: '1' }));
    const second = apply(deployment, first, containersOf({ name: 'c', image: '1' }, { name: 'b', args: ['x'] }), { manager: 'm2' });
    expect((second.spec as { template: { spec: object } }).template.spec).toEqual({
      containers: [
        { name: 'a', image: '1' },
        { name: 'c', image: '1' },
        { name: 'b', image: '1', args: ['x'] },
      ],
    });
  });

  it('fills in defaults of keys', () => {
    const applied = apply(deployment, undefined, containersOf({ name: 'a', ports: [{ containerPort: 80 }] }));
    expect(JSON.stringify(ownersOf(applied))).toContain('k:{\\"containerPort\\":80,\\"protocol\\":\\"TCP\\"}');
    const same = apply(deployment, applied, containersOf({ name: 'a', ports: [{ containerPort: 80, protocol: 'TCP', name: 'http' }] }));
    expect(JSON.stringify(same.spec)).toContain('"ports":[{"containerPort":80,"protocol":"TCP","name":"http"}]');
  });

  it('does not reach fields of another door', () => {
    const applied = apply(deployment, undefined, { ...deploymentOf(), status: { replicas: 7 } }, { resetFields: { 'f:status': {} } });
    expect(applied).not.toHaveProperty('status');
    expect(ownersOf(applied)).toEqual({ 'm1 Apply': { 'f:spec': { 'f:replicas': {} } } });
  });

  it('leaves a null to whoever reads the object as its kind', () => {
    const created = apply(configMap, undefined, cm({ a: '1', b: '1' }));
    const applied = apply(configMap, created, { ...cm({}), data: { a: '1', b: null } });
    expect(applied.data).toEqual({ a: '1', b: null });
    expect(ownersOf(applied)).toEqual({ 'm1 Apply': { 'f:data': { 'f:a': {}, 'f:b': {} } } });
  });

  it.each([
    [{ ...deploymentOf(), metadata: { name: 'd', managedFields: [] } }, 400, 'metadata.managedFields must be nil'],
    [{ ...deploymentOf(), kind: 'Pod' }, 400, 'invalid object type: apps/v1, Kind=Pod'],
    [{ data: {} }, 400, 'invalid object type: /, Kind='],
    ['text', 400, 'invalid object type: /, Kind='],
    [
      deploymentOf({ foo: 1 }),
      500,
      'failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema',
    ],
    [
      containersOf({ name: 'c' }, { name: 'c' }),
      500,
      'failed to create typed patch object (/d; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name="c"]',
    ],
    [
      deploymentOf({ replicas: 'x', paused: 1 }),
      500,
      'failed to create typed patch object (/d; apps/v1, Kind=Deployment): errors:\n  .spec.replicas: expected numeric (int or float), got string\n  .spec.paused: expected boolean, got &{1}',
    ],
  ])('refuses %j', (patch, code, message) => {
    expect(() => apply(deployment, undefined, patch as object)).toThrow(expect.objectContaining({ code, message }));
  });

  it('names types in place of values in what it says of a Secret', () => {
    const secret = { ...configMap, kind: 'Secret', schema: refOf('io.k8s.api.core.v1.Secret') };
    const patch = {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 's' },
      stringData: { password: 99551199, list: ['99551199'] },
      data: { flag: true },
      immutable: '99551199',
    };
    expect(() => apply(secret, undefined, patch)).toThrow(
      expect.objectContaining({
        message: [
          'failed to create typed patch object (/s; /v1, Kind=Secret): errors:',
          '  .stringData.password: expected string, got number',
          '  .stringData.list: expected string, got []interface {}',
          '  .data.flag: expected string, got bool',
          '  .immutable: expected boolean, got &{string}',
        ].join('\n'),
      }),
    );
    expect(() => apply(configMap, undefined, { ...cm({}), data: { a: 1 } })).toThrow('got &value.valueUnstructured{Value:1}');
  });

  it('refuses items without a key that has no default', () => {
    const item = { type: 'object', properties: { id: { type: 'string' } } } as const;
    const list = { type: 'array', items: item, 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['id'] } as const;
    const kind = { ...configMap, kind: 'X', schema: { type: 'object', properties: { list } } as const };
    expect(() => apply(kind, undefined, { apiVersion: 'v1', kind: 'X', metadata: { name: 'x' }, list: [{}] })).toThrow(
      'failed to create typed patch object (/x; /v1, Kind=X): .list: element 0: associative list with keys has an element that omits key field "id" (and doesn\'t have default value)',
    );
  });

  it('takes over from client-side apply without conflicts, for kubectl only', () => {
    const annotation = 'kubectl.kubernetes.io/last-applied-configuration';
    const text = JSON.stringify({ apiVersion: 'v1', data: { a: '1' }, kind: 'ConfigMap', metadata: { annotations: {}, name: 'c' } });
    const created = update(configMap, undefined, cm({ a: '1', b: '1' }, { annotations: { [annotation]: text } }), {
      manager: 'kubectl-client-side-apply',
    });
    expect(() => apply(configMap, created, cm({ a: '2' }))).toThrow('conflict with "kubectl-client-side-apply" using v1: .data.a');
    const applied = apply(configMap, created, cm({ a: '2' }), { manager: 'kubectl' });
    expect(applied.data).toEqual({ a: '2', b: '1' });
    expect(applied.metadata.annotations).toEqual({
      [annotation]: '{"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap","metadata":{"name":"c"}}\n',
    });
    expect(() => apply(configMap, created, cm({ a: '2', b: '2' }), { manager: 'kubectl' })).toThrow(
      'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.b',
    );
  });

  const name = fc.constantFrom('a', 'b', 'c');
  const container = fc.record(
    { name, image: fc.constantFrom('1', '2'), args: fc.array(fc.constantFrom('x', 'y'), { maxLength: 2 }) },
    { requiredKeys: ['name'] },
  );
  const config = fc
    .record(
      {
        replicas: fc.integer({ min: 0, max: 2 }),
        template: fc.record({
          spec: fc.record(
            {
              containers: fc.uniqueArray(container, { minLength: 1, selector: (item) => item.name }),
              nodeSelector: fc.dictionary(name, name),
            },
            { requiredKeys: [] },
          ),
        }),
        strategy: fc.constantFrom({ type: 'Recreate' }, { rollingUpdate: { maxSurge: 1 } }),
      },
      { requiredKeys: [] },
    )
    .map(deploymentOf);
  const steps = fc.array(fc.tuple(fc.constantFrom('m1', 'm2', 'm3'), config), { minLength: 1, maxLength: 6 });

  it('twice is once, whatever was applied before', () => {
    fc.assert(
      fc.property(steps, (applies) => {
        let live: DynamicObject | undefined;
        for (const [manager, patch] of applies) {
          live = apply(deployment, live, patch, { manager, force: true });
          expect(apply(deployment, live, patch, { manager, force: true, time: late })).toBe(live);
        }
      }),
    );
  });

  it('has all that the last applier asked for, and leaves nothing behind when all appliers let go', () => {
    fc.assert(
      fc.property(steps, (applies) => {
        let live: DynamicObject | undefined;
        for (const [manager, patch] of applies) live = apply(deployment, live, patch, { manager, force: true });
        const [, last] = applies[applies.length - 1] ?? ['', deploymentOf()];
        expect(apply(deployment, live, last, { manager: 'other' }).spec).toEqual(live?.spec);
        for (const manager of ['m1', 'm2', 'm3'])
          live = apply(deployment, live, { ...deploymentOf(), spec: undefined } as object, { manager, force: true });
        expect(live?.metadata).toEqual({ name: 'd' });
        expect(deepEqual(JSON.parse(JSON.stringify(live?.spec ?? {})), {})).toBe(true);
      }),
    );
  });
});

interface Exchange {
  readonly title: string;
  readonly req: {
    readonly method: string;
    readonly path: string;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body: unknown;
  };
  readonly res: { readonly status: number; readonly body: DynamicObject };
}

describe('applies recorded from a real server', () => {
  const exchanges = recordedLines('api', 'ssa')
    .map((line) => JSON.parse(line) as Exchange)
    .filter(
      ({ req }) =>
        req.headers?.['content-type'] === 'application/apply-patch+yaml' && /deployments\/s1(\/status)?\?fieldManager=./.test(req.path),
    );
  const withoutTimes = (entries: readonly ManagedFieldsEntry[] | undefined): unknown =>
    entries?.filter(({ manager }) => manager !== 'kube-controller-manager').map(({ time: _, ...entry }) => entry);

  it('have the recorded owners, fields and conflicts', () => {
    let live: DynamicObject | undefined;
    for (const { title, req, res } of exchanges) {
      const query = new URL(req.path, 'http://x').searchParams;
      const subresource = req.path.includes('/status') ? 'status' : undefined;
      const run = (): DynamicObject =>
        applyPatch({
          live,
          patch: req.body,
          manager: query.get('fieldManager') ?? '',
          force: query.get('force') === 'true',
          apiVersion: 'apps/v1',
          kind: 'Deployment',
          time: '2026-11-24T06:59:18Z',
          subresource,
          resetFields: subresource === undefined ? { 'f:status': {} } : { 'f:spec': {}, 'f:metadata': { 'f:labels': {} } },
          schema: refOf('io.k8s.api.apps.v1.Deployment'),
          set,
        });
      if (res.status >= 400 && res.status !== 422) {
        const { message, details, code } = res.body as unknown as { message: string; details?: object; code: number };
        expect(run, title).toThrow(expect.objectContaining({ message, code, details }));
      } else if (res.status < 300) {
        const result = run();
        expect(withoutTimes(result.metadata.managedFields), title).toEqual(withoutTimes(res.body.metadata.managedFields));
        expect(result.metadata.labels ?? {}, title).toEqual(res.body.metadata.labels ?? {});
        expect(res.body.spec, title).toMatchObject(result.spec as object);
        live = deepFreeze(res.body);
      }
    }
  });
});

describe("kubectl's way from client-side to server-side apply, as recorded", () => {
  interface Recorded {
    readonly req: {
      readonly method: string;
      readonly query?: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: object;
    };
    readonly res: { readonly body: DynamicObject };
  }

  it('ends with the recorded owners after each step', () => {
    const steps = recordedLines('kubectl', '05-ssa-migrate')
      .map((line) => JSON.parse(line) as Recorded)
      .filter(({ req }) => req?.method === 'PATCH');
    expect(steps).toHaveLength(4);
    for (const [index, { req, res }] of steps.entries()) {
      const live = deepFreeze(steps[index - 1]?.res.body);
      if (live === undefined) continue;
      const manager = new URLSearchParams(req.query).get('fieldManager') ?? '';
      const time = '2026-11-24T06:56:12Z';
      const result =
        req.headers['content-type'] === 'application/apply-patch+yaml'
          ? apply(configMap, live, req.body, { manager, time })
          : update(configMap, live, applyJsonPatch(live, req.body) as object, { manager, time });
      expect(result.metadata.managedFields).toEqual(res.body.metadata.managedFields);
      expect(result.metadata.labels).toEqual(res.body.metadata.labels);
      expect(result.data).toEqual(res.body.data);
    }
  });
});
