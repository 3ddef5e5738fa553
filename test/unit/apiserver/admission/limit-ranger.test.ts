import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type LimitRangeItem, limitRanges } from '../../../../src/api/core/v1/limit-range.ts';
import { persistentVolumeClaims } from '../../../../src/api/core/v1/persistent-volume-claim.ts';
import { type Pod, type PodSpec, pods } from '../../../../src/api/core/v1/pod.ts';
import type { Client } from '../../../../src/client/client.ts';
import { isStatusError } from '../../../../src/machinery/status-error.ts';
import { startSeededApi, type TestApi } from '../../../support/api.ts';

let api: TestApi;
let client: Client;
beforeEach(async () => {
  api = await startSeededApi(['shop', 'other']);
  client = api.clientFor();
});
afterEach(() => api.stop());

const limit = (...limits: LimitRangeItem[]) =>
  client.create(limitRanges, { apiVersion: 'v1', kind: 'LimitRange', metadata: { name: 'l', namespace: 'shop' }, spec: { limits } });

type Resources = NonNullable<PodSpec['containers'][number]['resources']>;
const pod = (resources: Resources = {}, more: Partial<PodSpec> = {}, namespace = 'shop'): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { generateName: 'p-', name: '', namespace },
  spec: { containers: [{ name: 'c', image: 'i', resources }], ...more },
});

async function refusalOf(write: Promise<unknown>): Promise<string> {
  const err = await write.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!isStatusError(err)) throw new Error('expected a refusal', { cause: err });
  expect(err.code).toBe(403);
  return err.message.replace(/^.*? is forbidden: /, '');
}

describe('limit ranges', () => {
  test('give containers what they lack and say so', async () => {
    await limit({ type: 'Container', default: { cpu: '200m', memory: '1Gi' }, defaultRequest: { cpu: '100m' } });
    const { metadata, spec } = await client.create(pods, pod({ limits: { cpu: '1' } }, { initContainers: [{ name: 'i', image: 'i' }] }));
    expect(spec.containers[0]?.resources).toEqual({ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '1', memory: '1Gi' } });
    expect(spec.initContainers?.[0]?.resources).toEqual({
      limits: { cpu: '200m', memory: '1Gi' },
      requests: { cpu: '100m', memory: '1Gi' },
    });
    expect(metadata.annotations).toEqual({
      'kubernetes.io/limit-ranger':
        'LimitRanger plugin set: memory request for container c; memory limit for container c; cpu, memory request for init container i; cpu, memory limit for init container i',
    });
    const other = await client.create(pods, pod({}, {}, 'other'));
    expect(other.spec.containers[0]?.resources).toEqual({});
  });

  test('let the pods of a template share what they get', async () => {
    await limit({ type: 'Container', default: { cpu: '1' } });
    const first = await client.create(pods, pod());
    const specs = await Promise.all([0, 1].map(async () => (await client.create(pods, { ...pod(), spec: first.spec })).spec));
    expect(specs[0]).toBe(specs[1]);
  });

  test.each<[string, LimitRangeItem, Pod, string]>([
    [
      'too little',
      { type: 'Container', min: { cpu: '100m' } },
      pod({ requests: { cpu: '50m' }, limits: { cpu: '60m' } }),
      'minimum cpu usage per Container is 100m, but request is 50m',
    ],
    [
      'too much',
      { type: 'Container', max: { memory: '1Gi' } },
      pod({ requests: { memory: '1Gi' }, limits: { memory: '2Gi' } }),
      'maximum memory usage per Container is 1Gi, but limit is 2Gi',
    ],
    [
      'too far apart',
      { type: 'Container', maxLimitRequestRatio: { cpu: '2' } },
      pod({ requests: { cpu: '100m' }, limits: { cpu: '500m' } }),
      'cpu max limit to request ratio per Container is 2, but provided ratio is 5.000000',
    ],
    [
      'nothing where something is asked for',
      { type: 'Pod', max: { cpu: '1' } },
      pod(),
      'maximum cpu usage per Pod is 1.  No limit is specified',
    ],
    [
      'too much together',
      { type: 'Pod', max: { cpu: '1' }, min: { memory: '1Mi' } },
      pod(
        { limits: { cpu: '600m' } },
        { containers: ['a', 'b'].map((name) => ({ name, image: 'i', resources: { limits: { cpu: '600m' } } })) },
      ),
      '[minimum memory usage per Pod is 1Mi.  No request is specified, maximum cpu usage per Pod is 1, but limit is 1200m]',
    ],
  ])('refuse %s', async (_what, item, given, message) => {
    await limit(item);
    expect(await refusalOf(client.create(pods, given))).toBe(message);
  });

  test('bound claims', async () => {
    await limit({ type: 'PersistentVolumeClaim', min: { storage: '1Gi' }, max: { storage: '2Gi' } });
    const claim = (storage: string) =>
      client.create(persistentVolumeClaims, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: `c${storage.toLowerCase()}`, namespace: 'shop' },
        spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage } } },
      });
    expect(await refusalOf(claim('500Mi'))).toBe('minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi');
    expect(await refusalOf(claim('3Gi'))).toBe('maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi');
    await claim('2Gi');
  });
});
