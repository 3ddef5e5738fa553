import { describe, expect, it } from 'vitest';
import { configMaps } from '../../../../../src/api/core/v1/config-map.ts';
import { type Event, events } from '../../../../../src/api/core/v1/event.ts';
import { namespaces } from '../../../../../src/api/core/v1/namespace.ts';
import { type Node, nodes } from '../../../../../src/api/core/v1/node.ts';
import { type ResourceQuotaSpec, resourceQuotas } from '../../../../../src/api/core/v1/resource-quota.ts';
import { type Secret, secrets } from '../../../../../src/api/core/v1/secret.ts';
import { endpointSlices } from '../../../../../src/api/discovery/v1/endpoint-slice.ts';

const now = Date.parse('2026-01-01T01:00:00Z');
const metadata = { name: 'x', namespace: 'd' };
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('a secret', () => {
  const secret = (parts: Partial<Secret>): Secret => ({ apiVersion: 'v1', kind: 'Secret', metadata, ...parts });

  it('turns stringData into data, which it overrules', () => {
    const stored = secrets.defaults?.(secret({ data: { a: base64('1'), b: base64('2') }, stringData: { b: 'ü' } }));
    expect(stored).toEqual(secret({ type: 'Opaque', data: { a: base64('1'), b: base64('ü') } }));
  });

  it('takes a key that every object inherits as data', () => {
    const stringData = JSON.parse('{"__proto__": "x"}');
    const data = secrets.defaults?.(secret({ stringData }))?.data ?? {};
    expect(Object.keys(data)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
  });

  it('does not change what it is for, and nothing at all once immutable', () => {
    const before = secret({ type: 'Opaque', immutable: true, data: { a: base64('1') } });
    expect(secrets.validate?.({ ...before, type: 'other' }, before)?.map(({ field }) => field)).toEqual(['type']);
    expect(secrets.validate?.({ ...before, data: {} }, before)?.map(({ field }) => field)).toEqual(['data']);
    expect(secrets.validate?.({ ...before, immutable: false }, before)?.map(({ field }) => field)).toEqual(['immutable']);
  });

  it('never repeats its content in an error', () => {
    const broken = secret({ type: 'kubernetes.io/dockerconfigjson', data: { '.dockerconfigjson': base64('hunter2') } });
    expect(JSON.stringify(secrets.validate?.(broken))).not.toContain('hunter2');
  });
});

describe('a config map', () => {
  it('holds at most one mebibyte', () => {
    const configMap = (bytes: number) => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { a: 'x'.repeat(bytes) } });
    expect(configMaps.validate?.(configMap(1024 * 1024))).toEqual([]);
    expect(configMaps.validate?.(configMap(1024 * 1024 + 1))).toEqual([
      { type: 'FieldValueTooLong', field: '[]', message: 'Too long: may not be more than 1048576 bytes' },
    ]);
  });

  it('has a key in one of its two maps only', () => {
    const both = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { a: '1' }, binaryData: { a: 'MQ==' } };
    expect(configMaps.validate?.(both)?.map(({ field }) => field)).toEqual(['data[a]']);
  });

  it('has no key without a name, as a Secret has none', () => {
    for (const { kind, validate } of [configMaps, secrets]) {
      const object = { apiVersion: 'v1', kind, metadata, data: { '': 'MQ==' } };
      expect(
        validate?.(object as never)?.map(({ type, field }) => `${type} ${field}`),
        kind,
      ).toEqual(['FieldValueInvalid data[]']);
    }
  });
});

describe('a resource quota', () => {
  const complaints = (spec: ResourceQuotaSpec) =>
    (resourceQuotas.validate?.({ apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'q', namespace: 'd' }, spec }) ?? []).map(
      ({ field, message }) => [field, message],
    );
  const selected = (scopeName: string, operator: string, values?: readonly string[]) => ({
    scopeName,
    operator,
    ...(values === undefined ? {} : { values }),
  });

  it('counts by a scope only what the scope can count', () => {
    expect(complaints({ hard: { pods: '1', cpu: '1', 'x.example/y': '1' }, scopes: ['BestEffort'] })).toEqual([
      ['spec.scopes', 'Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
    ]);
    expect(complaints({ hard: { 'requests.storage': '1Gi' }, scopes: ['VolumeAttributesClass'] })).toEqual([]);
  });

  it('selects scopes by their names, and the one of classes by values', () => {
    const select = (...matchExpressions: ReturnType<typeof selected>[]) =>
      complaints({ hard: { pods: '1' }, scopeSelector: { matchExpressions } });
    const field = 'spec.scopeSelector.matchExpressions';
    expect(select(selected('PriorityClass', 'In', ['a']), selected('Terminating', 'Exists'))).toEqual([]);
    expect(select(selected('PriorityClass', 'In'), selected('PriorityClass', 'Exists', ['a']))).toEqual([
      [`${field}.values`, "Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"],
      [`${field}.values`, "Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"],
    ]);
    expect(select(selected('Terminating', 'In', ['a']), selected('NotTerminating', 'Exists')).map(([at]) => at)).toEqual([
      `${field}.operator`,
      field,
    ]);
    expect(select(selected('Bogus', 'Equals'))).toEqual([
      [`${field}.scopeName`, 'Invalid value: "Bogus": unsupported scope'],
      [`${field}.operator`, 'Invalid value: "Equals": not a valid selector operator'],
    ]);
  });
});

describe('a namespace', () => {
  it('carries its name as a label, which clients cannot change', () => {
    const labelled = namespaces.defaults?.({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'n', labels: { 'kubernetes.io/metadata.name': 'other' } },
    });
    expect(labelled?.metadata.labels).toEqual({ 'kubernetes.io/metadata.name': 'n' });
  });

  it('loses finalizers by its subresource only', () => {
    const before = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'n' }, spec: { finalizers: ['kubernetes'] } };
    expect(namespaces.prepareForUpdate?.({ ...before, spec: { finalizers: [] } }, before).spec).toBe(before.spec);
  });
});

describe('the row of a node', () => {
  const node = (parts: Partial<Node>): Node => ({ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n' }, ...parts });
  const cell = (object: Node, name: string) => nodes.columns.find((column) => column.name === name)?.cell(object, { now });
  it('says whether it is ready and takes pods', () => {
    const ready = { conditions: [{ type: 'Ready', status: 'True' }] };
    expect(cell(node({}), 'Status')).toBe('Unknown');
    expect(cell(node({ status: ready }), 'Status')).toBe('Ready');
    expect(cell(node({ status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } }), 'Status')).toBe('NotReady');
    expect(cell(node({ status: ready, spec: { unschedulable: true } }), 'Status')).toBe('Ready,SchedulingDisabled');
  });
  it('keeps the addresses that its pods were given', () => {
    const before = node({ spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24'] } });
    const moved = node({ spec: { podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24'] } });
    expect(nodes.validate?.(moved, before)?.map(({ field }) => field)).toEqual(['spec.podCIDRs']);
    expect(nodes.validate?.(moved, node({ spec: {} }))).toEqual([]);
  });
  it('lists roles, sorted', () => {
    const labels = { 'node-role.kubernetes.io/worker': '', 'node-role.kubernetes.io/edge': 'true' };
    expect(cell(node({ metadata: { name: 'n', labels } }), 'Roles')).toBe('edge,worker');
    expect(cell(node({}), 'Roles')).toBe('<none>');
  });
});

describe('an event', () => {
  const event = (parts: Partial<Event>): Event => ({
    apiVersion: 'v1',
    kind: 'Event',
    metadata,
    involvedObject: { kind: 'Pod', name: 'p', namespace: 'd' },
    ...parts,
  });
  const row = (parts: Partial<Event>) => events.columns.map((column) => column.cell(event(parts), { now }));
  it('shows when it was seen, and how often', () => {
    const times = { firstTimestamp: '2026-01-01T00:00:00Z', lastTimestamp: '2026-01-01T00:59:55Z' };
    const source = { component: 'kubelet', host: 'n' };
    expect(row({ ...times, count: 3, reason: 'R', type: 'Normal', message: ' m\n', source })).toEqual([
      ...['5s', 'Normal', 'R', 'pod/p', '', 'kubelet, n', 'm', '60m', 3, 'x'],
    ]);
  });
  it('needs a time, a series and a reporting controller in the newer form', () => {
    const series = { count: 7, lastObservedTime: '2026-01-01T00:59:00.000000Z' };
    const shown = row({ eventTime: '2026-01-01T00:58:00.000000Z', series, reportingComponent: 'scheduler', reportingInstance: 's-1' });
    expect([shown[0], shown[5], shown[7], shown[8]]).toEqual(['60s', 'scheduler, s-1', '2m', 7]);
  });
  it('names its reporter and its action in the newer form', () => {
    const errors = events.validate?.(event({ eventTime: '2026-01-01T00:58:00.000000Z', reason: 'R', reportingComponent: 'scheduler' }));
    expect(errors?.map(({ field }) => field)).toEqual(['reportingInstance', 'action']);
  });
});

describe('an endpoint slice', () => {
  const slice = (addresses: readonly string[]) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata,
    addressType: 'IPv4',
    endpoints: addresses.map((address) => ({ addresses: [address] })),
  });
  it('shows three addresses and counts the rest', () => {
    const cell = (count: number) =>
      endpointSlices.columns[3]?.cell(slice(Array.from({ length: count }, (_, index) => `10.0.0.${index}`)), { now });
    expect(cell(0)).toBe('<unset>');
    expect(cell(3)).toBe('10.0.0.0,10.0.0.1,10.0.0.2');
    expect(cell(5)).toBe('10.0.0.0,10.0.0.1,10.0.0.2 + 2 more...');
  });
  it('leaves loopback addresses to admission, and takes no others that nobody can reach', () => {
    const fields = (address: string) => endpointSlices.validate?.(slice([address]))?.map(({ field }) => field);
    expect(fields('127.64.16.5')).toEqual([]);
    expect(fields('0.0.0.0')).toEqual(['endpoints[0].addresses[0]']);
    expect(fields('169.254.1.1')).toEqual(['endpoints[0].addresses[0]']);
    expect(fields('::1')).toEqual(['endpoints[0].addresses[0]']);
  });
});
