import { describe, expect, it } from 'vitest';
import type { DeviceClass } from '../../../../src/api/resource/v1/device-class.ts';
import type { DeviceRequest, ExactRequest } from '../../../../src/api/resource/v1/device-requests.ts';
import type { ResourceClaim } from '../../../../src/api/resource/v1/resource-claim.ts';
import type { Device } from '../../../../src/api/resource/v1/resource-slice.ts';
import { allocate, unsupportedOf } from '../../../../src/scheduler/devices/allocate.ts';
import type { OfferedDevice } from '../../../../src/scheduler/devices/device-pools.ts';
import { SelectorError } from '../../../../src/scheduler/devices/device-selectors.ts';

const driver = 'gpu.example.com';
const offer = (name: string, device: Partial<Device> = {}): OfferedDevice => ({
  id: `${driver}/pool/${name}`,
  driver,
  pool: 'pool',
  device: { name, ...device },
  nodeName: 'n1',
  nodeSelector: undefined,
  isReachable: () => true,
});
const small = offer('small', {
  attributes: { model: { string: 'a' }, version: { version: '1.2.0' } },
  capacity: { memory: { value: '8Gi' } },
});
const large = offer('large', {
  attributes: { model: { string: 'b' }, version: { version: '2.0.1' } },
  capacity: { memory: { value: '80Gi' } },
});

const claimOf = (...requests: readonly DeviceRequest[]): ResourceClaim => ({
  apiVersion: 'resource.k8s.io/v1',
  kind: 'ResourceClaim',
  metadata: { name: 'claim', namespace: 'shop' },
  spec: { devices: { requests } },
});
const request = (name: string, exactly: ExactRequest = {}): DeviceRequest => ({
  name,
  exactly: { deviceClassName: 'gpu', allocationMode: 'ExactCount', ...exactly },
});
const selecting = (...expressions: readonly string[]): ExactRequest => ({
  selectors: expressions.map((expression) => ({ cel: { expression } })),
});

const gpu: DeviceClass = {
  apiVersion: 'resource.k8s.io/v1',
  kind: 'DeviceClass',
  metadata: { name: 'gpu' },
  spec: { selectors: [{ cel: { expression: `device.driver == '${driver}'` } }] },
};
const given = (claim: ResourceClaim, taken: readonly string[] = []) =>
  allocate(claim, {
    reachable: [small, large],
    classOf: (name) => (name === 'gpu' ? gpu : undefined),
    taken: new Set(taken),
  })?.devices?.results?.map((result) => `${result.request}:${result.device}`);

describe('devices for a claim', () => {
  it.each([
    ["device.attributes['gpu.example.com'].model == 'b'", ['g:large']],
    ["device.capacity['gpu.example.com'].memory.compareTo(quantity('10Gi')) < 0", ['g:small']],
    ["device.attributes['gpu.example.com'].version.isGreaterThan(semver('1.9.0'))", ['g:large']],
    ["'colour' in device.attributes['other.example.com']", undefined],
    ['device.driver == "gpu.example.com"', ['g:small']],
  ])('are those for which %s', (expression, expected) => {
    expect(given(claimOf(request('g', selecting(expression))))).toEqual(expected);
  });

  it('are as many as the claim counts, and none that another claim has', () => {
    expect(given(claimOf(request('g', { count: 2 })))?.toSorted()).toEqual(['g:large', 'g:small']);
    expect(given(claimOf(request('g', { count: 2 })), [small.id])).toBeUndefined();
    expect(given(claimOf(request('g')), [small.id])).toEqual(['g:large']);
  });

  it('are all of them for allocationMode All, or none', () => {
    expect(given(claimOf(request('g', { allocationMode: 'All' })))).toEqual(['g:small', 'g:large']);
    expect(given(claimOf(request('g', { allocationMode: 'All' })), [large.id])).toBeUndefined();
    expect(given(claimOf(request('g', { allocationMode: 'All', ...selecting('false') })))).toBeUndefined();
  });

  it('serve every request when there are enough, whatever the order of the requests', () => {
    const onlySmall = selecting("device.attributes['gpu.example.com'].model == 'a'");
    expect(given(claimOf(request('any'), request('small', onlySmall)))).toEqual(['any:large', 'small:small']);
    expect(given(claimOf(request('small', onlySmall), request('again', onlySmall)))).toBeUndefined();
  });

  it.each([
    ["device.attributes['gpu.example.com'].colour == 'red'", 'no such key'],
    ['device.driver ==', 'selector "device.driver =="'],
  ])('are not guessed when the selector %s has no answer', (expression, words) => {
    expect(() => given(claimOf(request('g', selecting(expression))))).toThrow(SelectorError);
    expect(() => given(claimOf(request('g', selecting(expression))))).toThrow(words);
  });

  it('are not given for parts of a claim that this version does not know how to give', () => {
    expect(unsupportedOf(claimOf(request('g')))).toBeUndefined();
    expect(unsupportedOf(claimOf(request('g', { adminAccess: true })))).toBe('adminAccess');
    expect(unsupportedOf(claimOf(request('g', { tolerations: [{}] })))).toBe('tolerations');
    expect(unsupportedOf(claimOf(request('g', { capacity: {} })))).toBe('capacity');
    expect(unsupportedOf(claimOf({ name: 'g', firstAvailable: [{ name: 'x' }] }))).toBe('firstAvailable');
    const claim = claimOf(request('g'));
    expect(unsupportedOf({ ...claim, spec: { devices: { ...claim.spec?.devices, constraints: [{}] } } })).toBe('constraints');
  });
});
