import type { HorizontalPodAutoscalerSpec } from '../../api/autoscaling/v2/horizontal-pod-autoscaler.ts';

/** Earlier decisions of an autoscaler. They are kept in memory: after a restart the windows begin again. Times are in milliseconds. */
export interface ScalingMemory {
  recommendations: readonly Recommendation[];
  ups: readonly ScaleChange[];
  downs: readonly ScaleChange[];
}

interface Recommendation {
  readonly replicas: number;
  readonly at: number;
}

interface ScaleChange {
  /** Never negative. */
  readonly change: number;
  readonly at: number;
}

/** The number of replicas that may be set now, with the reasons for two conditions. */
export interface PacedCount {
  readonly replicas: number;
  readonly able: { readonly reason: string; readonly message: string };
  readonly limited: { readonly isLimited: boolean; readonly reason: string; readonly message: string };
}

export interface PaceInput {
  readonly spec: HorizontalPodAutoscalerSpec;
  readonly memory: ScalingMemory;
  readonly current: number;
  readonly proposed: number;
  readonly now: number;
}

type ScalingRules = NonNullable<NonNullable<HorizontalPodAutoscalerSpec['behavior']>['scaleUp']>;

/** Upstream's `--horizontal-pod-autoscaler-downscale-stabilization`. */
const downWindowMs = 5 * 60_000;
/** The longest window and period that the API takes are an hour and 30 minutes. */
const maxAgeMs = 3_600_000;
/** A decision each 15 s for an hour. */
const maxKept = 256;
const maxCount = 2 ** 31 - 1;

export const emptyMemory = (): ScalingMemory => ({ recommendations: [], ups: [], downs: [] });

/** Notes the proposal and gives what may be set: not below a recent recommendation, not faster than the policies, within the bounds. */
export function paceReplicas(input: PaceInput): PacedCount {
  const { spec, memory, current, proposed, now } = input;
  const { stabilized, able } = spec.behavior === undefined ? stabilizeDown(input) : stabilizeBoth(input);
  memory.recommendations = kept([...memory.recommendations, { replicas: proposed, at: now }], now);
  const minReplicas = spec.minReplicas ?? 1;
  const { replicas, reason, message } =
    spec.behavior === undefined
      ? limitByRule({ current, wanted: stabilized, minReplicas, maxReplicas: spec.maxReplicas })
      : limitByPolicies(input, stabilized);
  return { replicas, able, limited: { isLimited: replicas !== stabilized, reason, message } };
}

/** Notes a change that was made, for the policies. */
export function noteScale(
  memory: ScalingMemory,
  { from, to, now }: { readonly from: number; readonly to: number; readonly now: number },
): void {
  if (to > from) memory.ups = kept([...memory.ups, { change: to - from, at: now }], now);
  else memory.downs = kept([...memory.downs, { change: from - to, at: now }], now);
}

const kept = <T extends { readonly at: number }>(list: readonly T[], now: number): readonly T[] =>
  list.filter(({ at }) => at > now - maxAgeMs).slice(-maxKept);

const ready = { reason: 'ReadyForNewScale', message: 'recommended size matches current size' };
const downStabilized = {
  reason: 'ScaleDownStabilized',
  message: 'recent recommendations were higher than current one, applying the highest recent recommendation',
};
const upStabilized = {
  reason: 'ScaleUpStabilized',
  message: 'recent recommendations were lower than current one, applying the lowest recent recommendation',
};

function stabilizeDown({ memory, proposed, now }: PaceInput) {
  const recent = memory.recommendations.filter(({ at }) => at >= now - downWindowMs).map(({ replicas }) => replicas);
  const stabilized = Math.max(proposed, ...recent);
  return { stabilized, able: stabilized === proposed ? ready : downStabilized };
}

/** Up to the lowest, down to the highest recommendation of the windows. */
function stabilizeBoth({ spec, memory, current, proposed, now }: PaceInput) {
  const windowOf = (rules: ScalingRules | undefined, otherwiseMs: number): number =>
    rules?.stabilizationWindowSeconds === undefined ? otherwiseMs : rules.stabilizationWindowSeconds * 1_000;
  const within = (windowMs: number): readonly number[] =>
    memory.recommendations.filter(({ at }) => at > now - windowMs).map(({ replicas }) => replicas);
  const lowest = Math.min(proposed, ...within(windowOf(spec.behavior?.scaleUp, 0)));
  const highest = Math.max(proposed, ...within(windowOf(spec.behavior?.scaleDown, downWindowMs)));
  const stabilized = Math.min(Math.max(current, lowest), highest);
  return { stabilized, able: stabilized === proposed ? ready : proposed >= current ? upStabilized : downStabilized };
}

interface Limit {
  readonly replicas: number;
  readonly reason: string;
  readonly message: string;
}

const withinRange = { reason: 'DesiredWithinRange', message: 'the desired count is within the acceptable range' };
const tooMany = { reason: 'TooManyReplicas', message: 'the desired replica count is more than the maximum replica count' };
const tooFew = { reason: 'TooFewReplicas', message: 'the desired replica count is less than the minimum replica count' };
const upLimit = { reason: 'ScaleUpLimit', message: 'the desired replica count is increasing faster than the maximum scale rate' };
const downLimit = { reason: 'ScaleDownLimit', message: 'the desired replica count is decreasing faster than the maximum scale rate' };

/** Without policies: at most twice as many, and 4 at once for the few. */
function limitByRule(given: {
  readonly current: number;
  readonly wanted: number;
  readonly minReplicas: number;
  readonly maxReplicas: number;
}): Limit {
  const { current, wanted, minReplicas, maxReplicas } = given;
  const rate = Math.max(2 * current, 4);
  const most = Math.min(maxReplicas, rate);
  if (wanted < minReplicas) return { replicas: minReplicas, ...tooFew };
  if (wanted > most) return { replicas: most, ...(maxReplicas > rate ? upLimit : tooMany) };
  return { replicas: wanted, ...withinRange };
}

function limitByPolicies({ spec, memory, current, now }: PaceInput, wanted: number): Limit {
  const minReplicas = spec.minReplicas ?? 1;
  if (wanted > current) {
    const rate = Math.max(current, limitOf(spec.behavior?.scaleUp, { memory, current, now, isUp: true }));
    const most = Math.min(spec.maxReplicas, rate);
    if (wanted > most) return { replicas: most, ...(spec.maxReplicas > rate ? upLimit : tooMany) };
  } else if (wanted < current) {
    const rate = Math.min(current, limitOf(spec.behavior?.scaleDown, { memory, current, now, isUp: false }));
    const fewest = Math.max(minReplicas, rate);
    if (wanted < fewest) return { replicas: fewest, ...(minReplicas < rate ? downLimit : tooFew) };
  }
  return { replicas: wanted, ...withinRange };
}

/** The number that the policies allow, counted from the replicas at the start of each period. */
function limitOf(
  rules: ScalingRules | undefined,
  {
    memory,
    current,
    now,
    isUp,
  }: { readonly memory: ScalingMemory; readonly current: number; readonly now: number; readonly isUp: boolean },
): number {
  const selectPolicy = rules?.selectPolicy ?? 'Max';
  if (selectPolicy === 'Disabled') return current;
  const changeIn = (changes: readonly ScaleChange[], periodSeconds: number): number =>
    changes.filter(({ at }) => at > now - periodSeconds * 1_000).reduce((sum, { change }) => sum + change, 0);
  const limits = (rules?.policies ?? []).map(({ type, value, periodSeconds }) => {
    const start = current - changeIn(memory.ups, periodSeconds) + changeIn(memory.downs, periodSeconds);
    if (type === 'Pods') return isUp ? start + value : start - value;
    // Rounded so that a change is always allowed on the way up.
    return isUp ? Math.ceil(start * (1 + value / 100)) : Math.trunc(start * (1 - value / 100));
  });
  if (limits.length === 0) return isUp ? maxCount : 0;
  // The largest change is the highest number on the way up and the lowest on the way down.
  return isUp === (selectPolicy === 'Max') ? Math.max(...limits) : Math.min(...limits);
}
