import type { HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus } from '../../api/autoscaling/v2/horizontal-pod-autoscaler.ts';
import type { Pod } from '../../api/core/v1/pod.ts';
import { type Clock, timestampOf } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Informer } from '../../client/informer.ts';
import { setCondition } from '../../machinery/conditions.ts';
import { type LabelSelector, parseLabelSelector } from '../../machinery/selector.ts';
import type { EventRecorder } from '../../reconcile/event-recorder.ts';
import { messageOf } from '../refusals.ts';
import type { ReadScale, ScaleTargets } from '../scale-targets.ts';
import type { AutoscalerMetrics, ScaleAction } from './autoscaler-metrics.ts';
import { type MetricOutcome, proposeByMetric } from './metric-proposals.ts';
import type { MetricsClient } from './metrics-client.ts';
import { noteScale, paceReplicas, type ScalingMemory } from './scaling-pace.ts';
import type { SelectorBook } from './selector-book.ts';

export interface AutoscalingParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly recorder: EventRecorder;
  readonly podInformer: Informer<Pod>;
  readonly targets: ScaleTargets;
  readonly metricsClient: MetricsClient;
  readonly metrics: AutoscalerMetrics;
  readonly selectors: SelectorBook;
}

/** One look at one autoscaler. The status grows on the way; each step names the conditions that it sets. */
export interface AutoscalingPass {
  readonly parts: AutoscalingParts;
  readonly autoscaler: HorizontalPodAutoscaler;
  readonly key: string;
  readonly memory: ScalingMemory;
  readonly signal: AbortSignal;
  writeStatus(): Promise<void>;
  status: HorizontalPodAutoscalerStatus;
  action: ScaleAction;
  failed: boolean;
}

/** A number of replicas to set, and why. */
interface Wish {
  readonly replicas: number;
  readonly reason: string;
}

/** Reads the scale, asks the metrics and sets the replicas; the status that comes of it is in the pass. */
export async function scaleOnce(pass: AutoscalingPass): Promise<void> {
  const read = await readScale(pass);
  if (read === undefined) return;
  const { spec } = pass.autoscaler;
  const current = read.scale.spec?.replicas ?? 0;
  const { memory } = pass;
  if (memory.recommendations.length === 0) memory.recommendations = [{ replicas: current, at: pass.parts.clock.now() }];
  const minReplicas = spec.minReplicas ?? 1;
  let wish: Wish | undefined;
  let currentMetrics: HorizontalPodAutoscalerStatus['currentMetrics'] = null;
  if (current === 0) {
    setStatusCondition(pass, ['ScalingActive', 'False'], {
      reason: 'ScalingDisabled',
      message: 'scaling is disabled since the replica count of the target is zero',
    });
  } else if (current > spec.maxReplicas) {
    wish = { replicas: spec.maxReplicas, reason: 'Current number of replicas above Spec.MaxReplicas' };
  } else if (current < minReplicas) {
    wish = { replicas: minReplicas, reason: 'Current number of replicas below Spec.MinReplicas' };
  } else {
    const asked = await askMetrics(pass, read);
    currentMetrics = asked.statuses;
    if (asked.proposed === undefined) {
      pass.status = { ...pass.status, currentReplicas: current, currentMetrics };
      return;
    }
    wish = paceWish(pass, current, asked.proposed);
  }
  const isRescaled = wish !== undefined && wish.replicas !== current;
  if (wish !== undefined && isRescaled && !(await rescale(pass, read, wish))) {
    pass.status = { ...pass.status, currentReplicas: current, currentMetrics };
    return;
  }
  const desiredReplicas = wish?.replicas ?? current;
  pass.status = {
    ...pass.status,
    currentReplicas: current,
    desiredReplicas,
    currentMetrics,
    ...(isRescaled ? { lastScaleTime: timestampOf(pass.parts.clock.now()) } : {}),
  };
}

/** Sets AbleToScale to whether the target can be read. */
async function readScale(pass: AutoscalingPass): Promise<ReadScale | undefined> {
  const { spec, metadata } = pass.autoscaler;
  try {
    const read = await pass.parts.targets.read(spec.scaleTargetRef, metadata.namespace ?? '', pass.signal);
    const message = "the HPA controller was able to get the target's current scale";
    setStatusCondition(pass, ['AbleToScale', 'True'], { reason: 'SucceededGetScale', message });
    return read;
  } catch (err) {
    fail(pass, 'FailedGetScale', messageOf(err));
    const message = `the HPA controller was unable to get the target's current scale: ${messageOf(err)}`;
    setStatusCondition(pass, ['AbleToScale', 'False'], { reason: 'FailedGetScale', message });
    return undefined;
  }
}

/** Sets ScalingActive. The highest proposal counts; one that is missing forbids to scale down. */
async function askMetrics(
  pass: AutoscalingPass,
  { scale }: ReadScale,
): Promise<{
  readonly proposed?: { readonly replicas: number; readonly name: string };
  readonly statuses: HorizontalPodAutoscalerStatus['currentMetrics'];
}> {
  const { autoscaler, signal, parts } = pass;
  const { clock, metrics, targets, metricsClient } = parts;
  const selector = selectorOf(pass, scale.status?.selector ?? '');
  if (selector === undefined) return { statuses: null };
  const { namespace } = autoscaler.metadata;
  const selected = [...parts.podInformer.list({ namespace, selector })];
  const rivals = parts.selectors.claim(pass.key, selector, selected);
  if (rivals.length > 0) {
    const message = `pods by selector ${selector.toString()} are controlled by multiple HPAs: [${rivals.join(' ')}]`;
    refuseSelector(pass, 'AmbiguousSelector', message);
    return { statuses: null };
  }
  const specReplicas = scale.spec?.replicas ?? 0;
  const asked = autoscaler.spec.metrics ?? [];
  const outcomes: MetricOutcome[] = [];
  for (const metric of asked) {
    const startedAt = clock.monotonicMs();
    const outcome = await proposeByMetric(metric, {
      autoscaler,
      pods: selected,
      selector,
      specReplicas,
      statusReplicas: scale.status?.replicas ?? 0,
      metrics: metricsClient,
      targets,
      now: clock.now(),
      signal,
    });
    outcomes.push(outcome);
    const action = 'failure' in outcome ? 'none' : actionOf(specReplicas, outcome.replicas);
    metrics.computed({ type: metric.type, action, failed: 'failure' in outcome, durationMs: clock.monotonicMs() - startedAt });
    if ('failure' in outcome) parts.recorder.record(autoscaler, { type: 'Warning', reason: outcome.reason, message: outcome.message });
  }
  // A metric that cannot be had keeps its place.
  const statuses = outcomes.map((outcome) => ('failure' in outcome ? { type: '' } : outcome.status));
  return { ...decide(pass, outcomes, specReplicas), statuses };
}

function decide(
  pass: AutoscalingPass,
  outcomes: readonly MetricOutcome[],
  current: number,
): { readonly proposed?: { readonly replicas: number; readonly name: string } } {
  const failures = outcomes.filter((outcome) => 'failure' in outcome);
  const proposals = outcomes.filter((outcome) => 'replicas' in outcome);
  const [first] = failures;
  // The first of equal ones gives its name.
  const highest = proposals.reduce<(typeof proposals)[number] | undefined>(
    (best, one) => (best === undefined || one.replicas > best.replicas ? one : best),
    undefined,
  );
  if (first !== undefined) {
    pass.failed = true;
    pass.parts.log.debug({ horizontalPodAutoscaler: pass.key, failure: first.failure }, 'Could not compute replicas by a metric');
  }
  if (highest === undefined || (first !== undefined && highest.replicas < current)) {
    const { reason = '', message = '', failure = '' } = first ?? {};
    setStatusCondition(pass, ['ScalingActive', 'False'], {
      reason,
      message: `the HPA was unable to compute the replica count: ${message}`,
    });
    const text = `invalid metrics (${failures.length} invalid out of ${outcomes.length}), first error is: ${failure}`;
    reportNoCount(pass, text);
    return {};
  }
  const message = `the HPA was able to successfully calculate a replica count from ${highest.name}`;
  setStatusCondition(pass, ['ScalingActive', 'True'], { reason: 'ValidMetricFound', message });
  return { proposed: highest };
}

/** Sets ScalingActive to False when pods cannot be found by it. */
function selectorOf(pass: AutoscalingPass, text: string): LabelSelector | undefined {
  if (text === '') {
    fail(pass, 'SelectorRequired', 'selector is required');
    reportNoCount(pass, 'selector is required');
    const message = "the HPA target's scale is missing a selector";
    setStatusCondition(pass, ['ScalingActive', 'False'], { reason: 'InvalidSelector', message });
    return undefined;
  }
  try {
    return parseLabelSelector(text);
  } catch (err) {
    refuseSelector(pass, 'InvalidSelector', `couldn't convert selector into a corresponding internal selector object: ${messageOf(err)}`);
    return undefined;
  }
}

function refuseSelector(pass: AutoscalingPass, reason: string, message: string): void {
  fail(pass, reason, message);
  reportNoCount(pass, message);
  setStatusCondition(pass, ['ScalingActive', 'False'], { reason, message });
}

/** Upstream says it in a second Event, whatever the cause. */
function reportNoCount({ parts, autoscaler }: AutoscalingPass, message: string): void {
  parts.recorder.record(autoscaler, { type: 'Warning', reason: 'FailedComputeMetricsReplicas', message });
}

/** Sets AbleToScale and ScalingLimited by what may be set now. */
function paceWish(
  pass: AutoscalingPass,
  current: number,
  { replicas: proposed, name }: { readonly replicas: number; readonly name: string },
): Wish {
  const { autoscaler, memory } = pass;
  const paced = paceReplicas({ spec: autoscaler.spec, memory, current, proposed, now: pass.parts.clock.now() });
  setStatusCondition(pass, ['AbleToScale', 'True'], paced.able);
  const { isLimited, ...limit } = paced.limited;
  setStatusCondition(pass, ['ScalingLimited', isLimited ? 'True' : 'False'], limit);
  const reason = proposed > current ? `${name} above target` : proposed < current ? 'All metrics below target' : '';
  return { replicas: paced.replicas, reason };
}

/** Sets AbleToScale to whether the target took the number. */
async function rescale(pass: AutoscalingPass, read: ReadScale, { replicas, reason }: Wish): Promise<boolean> {
  const { autoscaler, memory, signal } = pass;
  const from = read.scale.spec?.replicas ?? 0;
  // Before the first number: who keeps the target as Git says must know that an autoscaler is able to act, or would put it back.
  if (autoscaler.status?.lastScaleTime === undefined) await pass.writeStatus();
  try {
    await pass.parts.targets.write(read, replicas, signal);
  } catch (err) {
    fail(pass, 'FailedRescale', `New size: ${replicas}; reason: ${reason}; error: ${messageOf(err)}`);
    const message = `the HPA controller was unable to update the target scale: ${messageOf(err)}`;
    setStatusCondition(pass, ['AbleToScale', 'False'], { reason: 'FailedUpdateScale', message });
    return false;
  }
  const message = `the HPA controller was able to update the target scale to ${replicas}`;
  setStatusCondition(pass, ['AbleToScale', 'True'], { reason: 'SucceededRescale', message });
  pass.parts.recorder.record(autoscaler, {
    type: 'Normal',
    reason: 'SuccessfulRescale',
    message: `New size: ${replicas}; reason: ${reason}`,
  });
  noteScale(memory, { from, to: replicas, now: pass.parts.clock.now() });
  pass.action = actionOf(from, replicas);
  return true;
}

function fail(pass: AutoscalingPass, reason: string, message: string): void {
  pass.failed = true;
  pass.parts.recorder.record(pass.autoscaler, { type: 'Warning', reason, message });
}

function setStatusCondition(
  pass: AutoscalingPass,
  [type, status]: readonly [type: string, status: 'True' | 'False'],
  { reason, message }: { readonly reason: string; readonly message: string },
): void {
  const conditions = setCondition(pass.status.conditions, { type, status, reason, message }, timestampOf(pass.parts.clock.now()));
  pass.status = { ...pass.status, conditions };
}

const actionOf = (from: number, to: number): ScaleAction => (to > from ? 'scale_up' : to < from ? 'scale_down' : 'none');
