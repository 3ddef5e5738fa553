import { afterEach, describe, expect, it } from 'vitest';
import { customResourceDefinitions } from '../../../src/api/apiextensions/v1/custom-resource-definition.ts';
import { deployments } from '../../../src/api/apps/v1/deployment.ts';
import {
  type HorizontalPodAutoscaler,
  type HorizontalPodAutoscalerSpec,
  horizontalPodAutoscalers,
} from '../../../src/api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import { events } from '../../../src/api/core/v1/event.ts';
import { type Pod, pods } from '../../../src/api/core/v1/pod.ts';
import { createHorizontalPodAutoscalerController } from '../../../src/controllers/horizontal-pod-autoscaler/horizontal-pod-autoscaler-controller.ts';
import type { DynamicObject } from '../../../src/machinery/object.ts';
import type { Resource } from '../../../src/machinery/resource.ts';
import { notFound } from '../../../src/machinery/status-error.ts';
import { type ControlPlane, setStatus, startControlPlane } from '../../support/control-plane.ts';
import { createManualClock, type ManualClock } from '../../support/manual-clock.ts';
import { until } from '../../support/until.ts';

/** Titles are those of upstream's e2e suite `[sig-autoscaling] [Feature:HPA]`, where it has the behaviour. */

const namespace = 'default';
const name = 'web';
const second = 1_000;
const minute = 60_000;
const labels = { app: name };

let plane: ControlPlane;
let clock: ManualClock;
/** Answers of the servers behind the API, by path; metrics of pods are made from `use`. */
let answers: Map<string, unknown>;
let asked: string[];
/** Use of each pod: thousandths of a CPU. Absent: the server has no value of that pod. */
let use: (pod: string) => number | undefined;
/** Thousandths of a CPU that a second container of each pod uses; 0: there is none. */
let sidecar = 0;
afterEach(() => plane.stop());

async function start(spec: Partial<HorizontalPodAutoscalerSpec>, { replicas = 1 }: { readonly replicas?: number } = {}): Promise<void> {
  clock = createManualClock();
  answers = new Map();
  asked = [];
  use = () => 0;
  sidecar = 0;
  const rawReader = {
    async readJson(path: string, { query }: { readonly query?: URLSearchParams } = {}) {
      asked.push(`${path}${query === undefined || query.size === 0 ? '' : `?${decodeURIComponent(query.toString())}`}`);
      if (path === `/apis/metrics.k8s.io/v1beta1/namespaces/${namespace}/pods`) return podMetrics();
      const answer = answers.get(path);
      if (answer === undefined) throw notFound({ group: '', resource: 'metrics' }, path);
      return answer;
    },
  };
  const create = (dependencies: Parameters<typeof createHorizontalPodAutoscalerController>[0] | object) =>
    createHorizontalPodAutoscalerController({
      ...(dependencies as Parameters<typeof createHorizontalPodAutoscalerController>[0]),
      rawReader,
    });
  plane = await startControlPlane({ controllers: [create], clock });
  const template = { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '100m' } } }] } };
  await plane.client.create(deployments, {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name, namespace },
    spec: { replicas, selector: { matchLabels: labels }, template },
  });
  await setPods(replicas);
  await autoscale(name, spec);
}

const autoscale = (of: string, spec: Partial<HorizontalPodAutoscalerSpec>) =>
  plane.client.create(horizontalPodAutoscalers, {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: { name: of, namespace },
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name },
      minReplicas: 1,
      maxReplicas: 10,
      metrics: [{ type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } }],
      ...spec,
    },
  });

const timestamp = (ago = 0): string => new Date(clock.now() - ago).toISOString().replace(/\.\d+Z/, 'Z');

function podMetrics(): object {
  const items = [...plane.informers.get(pods).list({ namespace })].flatMap(({ metadata }) => {
    const milli = use(metadata.name);
    if (milli === undefined) return [];
    const containers = [
      { name: 'c', usage: { cpu: `${milli}m`, memory: `${milli}Mi` } },
      ...(sidecar === 0 ? [] : [{ name: 'sidecar', usage: { cpu: `${sidecar}m` } }]),
    ];
    return [{ metadata: { name: metadata.name, namespace }, timestamp: timestamp(), window: '15s', containers }];
  });
  return { kind: 'PodMetricsList', items };
}

/** Plays the part of the workload controllers and the agents: so many pods run, and have for an hour. */
async function setPods(
  count: number,
  { age = 60 * minute, ready = true }: { readonly age?: number; readonly ready?: boolean } = {},
): Promise<void> {
  const { items } = await plane.client.list(pods, { namespace });
  for (const { metadata } of items.slice(count))
    await plane.client.delete(pods, { namespace, name: metadata.name }, { gracePeriodSeconds: 0 });
  for (let index = items.length; index < count; index += 1) {
    const pod = await plane.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: `web-${index}`, namespace, labels },
      spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '100m' } } }] },
    });
    await setStatus(plane.client, pod, running(age, ready));
  }
  const seen = () => {
    const cached = [...plane.informers.get(pods).list({ namespace })];
    return cached.length === count && cached.every(({ status }) => status?.phase === 'Running');
  };
  await until(seen, { what: 'pods in the cache', intervalMs: 5 });
  const status = { replicas: count, readyReplicas: count };
  await plane.client.patch(deployments, { namespace, name }, { type: 'merge', body: { status } }, { subresource: 'status' });
}

const running = (age: number, ready: boolean): NonNullable<Pod['status']> => ({
  phase: 'Running',
  startTime: timestamp(age),
  conditions: [{ type: 'Ready', status: ready ? 'True' : 'False', lastTransitionTime: timestamp(age) }],
});

const get = (): Promise<HorizontalPodAutoscaler> => plane.client.get(horizontalPodAutoscalers, { namespace, name });
const replicas = async (): Promise<number> => (await plane.client.get(deployments, { namespace, name })).spec.replicas ?? 0;
const conditionsOf = async (): Promise<Readonly<Record<string, string>>> =>
  Object.fromEntries(((await get()).status?.conditions ?? []).map(({ type, status, reason }) => [type, `${status} ${reason}`]));

/** Passes of the controller since the start. */
const passes = (): number => asked.filter((path) => path.includes('metrics.k8s.io')).length;

/** Waits for a condition; the next pass comes when the time for it has come. */
async function see(what: string, ask: () => Promise<boolean>): Promise<void> {
  await until(
    async () => {
      clock.advance(250);
      return await ask();
    },
    { what: async () => `${what}; ${JSON.stringify((await get()).status)}`, intervalMs: 5 },
  );
}

const scaledTo = async (count: number): Promise<void> => {
  await see(`${count} replicas`, async () => (await replicas()) === count && (await get()).status?.desiredReplicas === count);
  await setPods(count);
};

/** One more look of the controller, 15 s after the last one. */
async function pass(): Promise<void> {
  const before = passes();
  clock.advance(15 * second);
  await see('a pass', async () => passes() > before);
  await see('the end of the pass', async () => (await get()).status?.currentReplicas !== undefined);
}

async function told(text: string): Promise<void> {
  await see(`the Event ${text}`, async () =>
    (await plane.client.list(events, { namespace })).items.some(({ reason, message }) => `${reason}: ${message}` === text),
  );
}

const pacing = (rules: object, direction: 'scaleUp' | 'scaleDown') =>
  ({ behavior: { [direction]: rules } }) as Partial<HorizontalPodAutoscalerSpec>;

describe('[sig-autoscaling] [Feature:HPA] (scale resource: CPU) Deployment', () => {
  it('Should scale from 1 pod to 3 pods and then from 3 pods to 5 pods using Average Utilization for aggregation', async () => {
    await start({ maxReplicas: 5 });
    use = () => 150;
    await scaledTo(3);
    expect(await conditionsOf()).toEqual({
      AbleToScale: 'True SucceededRescale',
      ScalingActive: 'True ValidMetricFound',
      ScalingLimited: 'False DesiredWithinRange',
    });
    expect((await get()).status).toMatchObject({
      currentReplicas: 1,
      lastScaleTime: expect.any(String),
      currentMetrics: [{ type: 'Resource', resource: { name: 'cpu', current: { averageUtilization: 150, averageValue: '150m' } } }],
    });
    await told('SuccessfulRescale: New size: 3; reason: cpu resource utilization (percentage of request) above target');
    expect(asked[0]).toBe(`/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app=web`);
    await pass();
    await scaledTo(5);
    expect(await conditionsOf()).toMatchObject({ ScalingLimited: 'True TooManyReplicas' });
  });

  it('Should scale from 5 pods to 3 pods and then from 3 pods to 1 pod, when the recommendation is five minutes old', async () => {
    await start({}, { replicas: 5 });
    use = () => 30;
    await see('a first look', async () => (await get()).status?.currentReplicas === 5);
    expect(await replicas()).toBe(5);
    expect(await conditionsOf()).toMatchObject({ AbleToScale: 'True ScaleDownStabilized', ScalingLimited: 'False DesiredWithinRange' });
    clock.advance(5 * minute);
    await scaledTo(3);
    await told('SuccessfulRescale: New size: 3; reason: All metrics below target');
    use = () => 10;
    clock.advance(6 * minute);
    await pass();
    clock.advance(6 * minute);
    await scaledTo(1);
  });

  it("with autoscaling disabled shouldn't scale down", async () => {
    await start({ ...pacing({ selectPolicy: 'Disabled' }, 'scaleDown') }, { replicas: 3 });
    use = () => 10;
    for (let look = 0; look < 3; look += 1) {
      clock.advance(5 * minute);
      await pass();
    }
    expect(await replicas()).toBe(3);
    expect(await conditionsOf()).toMatchObject({ ScalingLimited: 'True ScaleDownLimit' });
  });

  it('with long upscale stabilization window should scale up only after the stabilization period', async () => {
    await start({ ...pacing({ stabilizationWindowSeconds: 180 }, 'scaleUp') });
    use = () => 100;
    await pass();
    expect(await replicas()).toBe(1);
    expect(await conditionsOf()).toMatchObject({ AbleToScale: 'True ScaleUpStabilized' });
    for (let look = 0; look < 13; look += 1) await pass();
    await scaledTo(2);
  });

  it('with scale limited by number of Pods rate should scale up no more than given number of Pods per minute', async () => {
    await start({ ...pacing({ policies: [{ type: 'Pods', value: 1, periodSeconds: 60 }] }, 'scaleUp') });
    use = () => 250;
    await scaledTo(2);
    expect(await conditionsOf()).toMatchObject({ ScalingLimited: 'True ScaleUpLimit' });
    await pass();
    expect(await replicas()).toBe(2);
    clock.advance(minute);
    await scaledTo(3);
  });

  it("with autoscaling disabled shouldn't scale up", async () => {
    await start({ ...pacing({ selectPolicy: 'Disabled' }, 'scaleUp') });
    use = () => 500;
    for (let look = 0; look < 3; look += 1) await pass();
    expect(await replicas()).toBe(1);
    expect(await conditionsOf()).toMatchObject({ ScalingLimited: 'True ScaleUpLimit' });
  });

  it('with scale limited by number of Pods rate should scale down no more than given number of Pods per minute', async () => {
    const policies = [{ type: 'Pods', value: 1, periodSeconds: 60 }];
    await start({ ...pacing({ policies, stabilizationWindowSeconds: 0 }, 'scaleDown') }, { replicas: 6 });
    use = () => 5;
    await scaledTo(5);
    expect(await conditionsOf()).toMatchObject({ ScalingLimited: 'True ScaleDownLimit' });
    await pass();
    expect(await replicas()).toBe(5);
    clock.advance(minute);
    await scaledTo(4);
  });

  it('with scale limited by percentage should scale up no more than given percentage of current Pods per minute', async () => {
    await start({ ...pacing({ policies: [{ type: 'Percent', value: 50, periodSeconds: 60 }] }, 'scaleUp') }, { replicas: 2 });
    use = () => 500;
    await scaledTo(3);
    await pass();
    expect(await replicas()).toBe(3);
    clock.advance(minute);
    // Half of three, rounded up.
    await scaledTo(5);
  });

  it('with scale limited by percentage should scale down no more than given percentage of current Pods per minute', async () => {
    const policies = [{ type: 'Percent', value: 25, periodSeconds: 60 }];
    await start({ ...pacing({ policies, stabilizationWindowSeconds: 0 }, 'scaleDown') }, { replicas: 7 });
    use = () => 5;
    await scaledTo(5);
    await pass();
    expect(await replicas()).toBe(5);
    clock.advance(minute);
    await scaledTo(3);
  });

  it('with both scale up and down controls configured should keep recommendation within the range over two stabilization windows', async () => {
    const behavior = { scaleUp: { stabilizationWindowSeconds: 120 }, scaleDown: { stabilizationWindowSeconds: 120 } };
    await start({ behavior } as Partial<HorizontalPodAutoscalerSpec>, { replicas: 2 });
    // The load swings faster than the windows.
    for (let look = 0; look < 12; look += 1) {
      use = () => (look % 2 === 0 ? 100 : 25);
      await pass();
      expect(await replicas()).toBe(2);
    }
    use = () => 100;
    for (let look = 0; look < 9; look += 1) await pass();
    await scaledTo(4);
  });

  it('with large configurable tolerance should not scale', async () => {
    await start({ ...pacing({ tolerance: '10' }, 'scaleUp') });
    use = () => 500;
    await pass();
    expect(await replicas()).toBe(1);
    await plane.client.patch(
      horizontalPodAutoscalers,
      { namespace, name },
      { type: 'merge', body: { spec: { behavior: { scaleUp: { tolerance: '0' } } } } },
    );
    // Without waiting for the next period: the spec changed.
    await see('the change to work', async () => (await replicas()) > 1);
  });

  it('takes pods without metrics for idle on the way up, and for busy on the way down', async () => {
    await start({}, { replicas: 4 });
    use = (pod) => (pod === 'web-0' || pod === 'web-1' ? 150 : undefined);
    await see('a look', async () => (await get()).status?.currentReplicas === 4);
    // 300m over four pods is 75 %: six pods, where two alone would have asked for six times as many as they are.
    await scaledTo(6);
  });

  it('does not count the CPU of pods that start', async () => {
    await start({}, { replicas: 1 });
    await setPods(3, { age: 10 * second, ready: false });
    use = (pod) => (pod === 'web-0' ? 50 : 900);
    await pass();
    await pass();
    expect((await get()).status?.currentMetrics).toMatchObject([{ resource: { current: { averageUtilization: 50 } } }]);
    expect(await replicas()).toBe(1);
  });

  it('keeps to its bounds whatever the metrics say', async () => {
    await start({ minReplicas: 2, maxReplicas: 3 }, { replicas: 5 });
    await see('3 replicas', async () => (await replicas()) === 3);
    await told('SuccessfulRescale: New size: 3; reason: Current number of replicas above Spec.MaxReplicas');
    await plane.client.patch(deployments, { namespace, name }, { type: 'merge', body: { spec: { replicas: 1 } } });
    clock.advance(15 * second);
    await scaledTo(2);
    expect(asked).toEqual([]);
  });

  it('leaves a target alone that was scaled to zero', async () => {
    await start({}, { replicas: 0 });
    await see('the condition', async () => (await conditionsOf()).ScalingActive === 'False ScalingDisabled');
    expect(await replicas()).toBe(0);
  });

  it('says why it cannot scale, and scales nothing', async () => {
    await start({ scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: 'nope' } });
    await see('the condition', async () => (await conditionsOf()).AbleToScale === 'False FailedGetScale');
    await told('FailedGetScale: deployments.apps "nope" not found');
    await autoscale('odd', { scaleTargetRef: { apiVersion: 'example.com/v1', kind: 'Box', name: 'x' } });
    await told('FailedGetScale: no matches for kind "Box" in group "example.com"');
    await autoscale('rigid', { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'x' } });
    await told('FailedGetScale: the server could not find the requested resource');
  });

  it('says which metric it cannot have, and does not scale down without it', async () => {
    const external = { type: 'External', external: { metric: { name: 'queue' }, target: { type: 'Value', value: '10' } } } as const;
    const cpu = { type: 'Resource', resource: { name: 'cpu', target: { type: 'Utilization', averageUtilization: 50 } } } as const;
    await start({ metrics: [external, cpu] }, { replicas: 2 });
    use = () => 10;
    await see('the condition', async () => (await conditionsOf()).ScalingActive === 'False FailedGetExternalMetric');
    clock.advance(10 * minute);
    await pass();
    expect(await replicas()).toBe(2);
    use = () => 100;
    clock.advance(15 * second);
    await scaledTo(4);
    expect((await get()).status?.currentMetrics).toMatchObject([{ type: '' }, { type: 'Resource' }]);
  });

  it('refuses pods that another autoscaler selects too', async () => {
    await start({});
    await see('the first to work', async () => (await conditionsOf()).ScalingActive === 'True ValidMetricFound');
    await autoscale('rival', {});
    const message = 'pods by selector app=web are controlled by multiple HPAs: [default/rival default/web]';
    await told(`AmbiguousSelector: ${message}`);
    await told(`FailedComputeMetricsReplicas: ${message}`);
  });
});

describe('[sig-autoscaling] [Feature:HPA] other metrics', () => {
  const values = (...of: readonly (readonly [pod: string, value: string])[]) => ({
    items: of.map(([pod, value]) => ({
      describedObject: { kind: 'Pod', name: pod },
      metric: { name: 'qps' },
      timestamp: timestamp(),
      value,
    })),
  });

  it('(ContainerResource) Should scale up from 1 pod to 3 pods', async () => {
    const target = { type: 'AverageValue', averageValue: '50m' } as const;
    await start({ metrics: [{ type: 'ContainerResource', containerResource: { name: 'cpu', container: 'c', target } }] });
    use = () => 150;
    await scaledTo(3);
    expect((await get()).status?.currentMetrics).toEqual([
      { type: 'ContainerResource', containerResource: { name: 'cpu', container: 'c', current: { averageValue: '150m' } } },
    ]);
  });

  it('Should not scale up on a busy sidecar with an idle application', async () => {
    const target = { type: 'Utilization', averageUtilization: 50 };
    await start({ metrics: [{ type: 'ContainerResource', containerResource: { name: 'cpu', container: 'c', target } }] });
    use = () => 10;
    sidecar = 900;
    await pass();
    expect(await replicas()).toBe(1);
    expect((await get()).status?.currentMetrics).toMatchObject([{ containerResource: { current: { averageUtilization: 10 } } }]);
  });

  it('should scale to intermediate replica count when dominant metric drops', async () => {
    const external = (metric: string, averageValue: string) =>
      ({ type: 'External', external: { metric: { name: metric }, target: { type: 'AverageValue', averageValue } } }) as const;
    await start({
      metrics: [external('queue', '50'), external('requests', '200')],
      ...pacing({ stabilizationWindowSeconds: 0 }, 'scaleDown'),
    });
    const say = (metric: string, value: string) =>
      answers.set(`/apis/external.metrics.k8s.io/v1beta1/namespaces/${namespace}/${metric}`, { items: [{ value }] });
    say('queue', '100');
    say('requests', '500');
    await scaledTo(3);
    say('requests', '100');
    await scaledTo(2);
    say('queue', '0');
    await scaledTo(1);
  });

  it('should scale on a metric of pods', async () => {
    const metric = { name: 'qps', selector: { matchLabels: { verb: 'get' } } };
    await start({ metrics: [{ type: 'Pods', pods: { metric, target: { type: 'AverageValue', averageValue: '10' } } }] });
    answers.set('/apis/custom.metrics.k8s.io', { versions: [{ version: 'v1beta1' }, { version: 'v1beta2' }] });
    answers.set('/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/qps', values(['web-0', '20']));
    clock.advance(15 * second);
    await scaledTo(2);
    expect(asked).toContain(
      '/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/pods/*/qps?labelSelector=app=web&metricLabelSelector=verb=get',
    );
  });

  it('should scale on a metric of an object, as a value and as an average', async () => {
    const describedObject = { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', name: 'shop' };
    const object = (target: object) =>
      [{ type: 'Object', object: { metric: { name: 'qps' }, describedObject, target } }] as unknown as NonNullable<
        HorizontalPodAutoscalerSpec['metrics']
      >;
    await start({ metrics: object({ type: 'Value', value: '10' }) });
    answers.set('/apis/custom.metrics.k8s.io', { versions: [{ version: 'v1beta1' }] });
    const path = '/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/ingresses.networking.k8s.io/shop/qps';
    answers.set(path, { items: [{ value: '30' }] });
    clock.advance(15 * second);
    await scaledTo(3);
    expect((await get()).status?.currentMetrics).toMatchObject([{ type: 'Object', object: { current: { value: '30' } } }]);
    answers.set(path, { items: [{ value: '50' }] });
    await plane.client.patch(
      horizontalPodAutoscalers,
      { namespace, name },
      { type: 'merge', body: { spec: { metrics: object({ type: 'AverageValue', averageValue: '10' }) } } },
    );
    await scaledTo(5);
    expect((await get()).status?.currentMetrics).toMatchObject([{ type: 'Object', object: { current: { averageValue: '16667m' } } }]);
  });

  it('should scale on external metrics, whose values are summed', async () => {
    const external = {
      metric: { name: 'queue', selector: { matchLabels: { topic: 'a' } } },
      target: { type: 'AverageValue', averageValue: '5' },
    } as const;
    await start({ metrics: [{ type: 'External', external }] });
    const selector = '&LabelSelector{MatchLabels:map[string]string{topic: a,},MatchExpressions:[]LabelSelectorRequirement{},}';
    const why = `the HPA was unable to compute the replica count: unable to get external metric default/queue/${selector}: `;
    await see('the condition', async () => (await get()).status?.conditions?.some(({ message }) => message?.startsWith(why)) === true);
    answers.set('/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue', { items: [{ value: '12' }, { value: '500m' }] });
    clock.advance(15 * second);
    await scaledTo(3);
    expect(asked).toContain('/apis/external.metrics.k8s.io/v1beta1/namespaces/default/queue?labelSelector=topic=a');
  });

  it('CustomResourceDefinition Should scale with a CRD targetRef', async () => {
    await start({});
    await plane.client.create(customResourceDefinitions, {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: 'boxes.example.com' },
      spec: {
        group: 'example.com',
        scope: 'Namespaced',
        names: { plural: 'boxes', singular: 'box', kind: 'Box' },
        versions: [
          {
            name: 'v1',
            served: true,
            storage: true,
            schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
            subresources: {
              status: {},
              scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas', labelSelectorPath: '.status.selector' },
            },
          },
        ],
      },
    } as never);
    const boxes: Resource<DynamicObject> = { group: 'example.com', version: 'v1', resource: 'boxes', kind: 'Box', namespaced: true };
    const box = { apiVersion: 'example.com/v1', kind: 'Box', metadata: { name: 'b', namespace }, spec: { replicas: 1 } } as DynamicObject;
    await until(
      async () => {
        try {
          return await plane.client.create(boxes, box);
        } catch {
          return false;
        }
      },
      { what: 'the kind Box' },
    );
    await plane.client.patch(
      boxes,
      { namespace, name: 'b' },
      { type: 'merge', body: { status: { replicas: 1, selector: 'box=b' } } },
      { subresource: 'status' },
    );
    const pod = await plane.client.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'b-0', namespace, labels: { box: 'b' } },
      spec: { containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '100m' } } }] },
    });
    await setStatus(plane.client, pod, running(60 * minute, true));
    use = (of) => (of === 'b-0' ? 100 : undefined);
    await autoscale('boxes', { scaleTargetRef: { apiVersion: 'example.com/v1', kind: 'Box', name: 'b' } });
    clock.advance(15 * second);
    await see('two boxes', async () => {
      const { spec } = await plane.client.get(boxes, { namespace, name: 'b' });
      return (spec as { readonly replicas?: number }).replicas === 2;
    });
  });
});
