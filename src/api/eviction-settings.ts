import { parseQuantity, QuantityError, wholeValueOf } from '../machinery/quantity.ts';
import { isDuration, parseDuration } from './flux.ts';

/**
 * Measurements of a node of which it keeps some free: bytes, inodes or processes. `nodefs` has volumes and logs, `imagefs` has images and
 * the files of containers.
 *
 * @see Kubernetes documentation, "Node-pressure Eviction", eviction signals
 */
export const evictionSignals = [
  'memory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'pid.available',
] as const;
export type EvictionSignal = (typeof evictionSignals)[number];

/** A number of bytes, inodes or processes, or a share of all there are. */
export type ThresholdValue = { readonly amount: number } | { readonly share: number };

/** Less than `value` is a shortage. */
export interface EvictionThreshold {
  readonly signal: EvictionSignal;
  readonly value: ThresholdValue;
  /** A hard threshold ends pods at once; a soft one waits for `graceMs`, and gives pods time to end. */
  readonly isHard: boolean;
  /** Time that the shortage has to last. 0 for a hard threshold. */
  readonly graceMs: number;
  /** The shortage ends with this much more than `value`. */
  readonly minimumReclaim?: ThresholdValue | undefined;
}

export interface EvictionSettings {
  readonly thresholds: readonly EvictionThreshold[];
  /** The condition of the node lasts for this long after the shortage. */
  readonly transitionMs: number;
  /** The longest that a pod gets to end in, when a soft threshold evicts it. */
  readonly maxPodGraceSeconds: number;
}

/** The defaults of a kubelet. */
const defaultHard = 'memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%';
const defaultTransition = '5m';

/** Flags of a kubelet that set these. */
export const evictionFlags = [
  'eviction-hard',
  'eviction-soft',
  'eviction-soft-grace-period',
  'eviction-minimum-reclaim',
  'eviction-pressure-transition-period',
  'eviction-max-pod-grace-period',
] as const;
export type EvictionFlag = (typeof evictionFlags)[number];

/** The values of a flag, in the order in which they were given. */
export type EvictionFlagValues = { readonly [flag in EvictionFlag]?: readonly string[] };

/** A value that a kubelet refuses. */
export class EvictionFlagError extends Error {
  readonly flag: EvictionFlag;
  constructor(flag: EvictionFlag, message: string) {
    super(message);
    this.name = 'EvictionFlagError';
    this.flag = flag;
  }
}

/**
 * Reads the flags as a kubelet does. Values of one flag are joined, and the last one for a signal counts. `eviction-hard` replaces all
 * defaults; `0%` and `100%` take a threshold away.
 *
 * @throws EvictionFlagError
 */
export function parseEvictionFlags(flags: EvictionFlagValues): EvictionSettings {
  const reclaim = statementsOf(flags, 'eviction-minimum-reclaim', '=').map(
    ([signal, text]) => [signal, thresholdOf('eviction-minimum-reclaim', signal, text)] as const,
  );
  const reclaims = new Map(reclaim);
  const graces = new Map(
    statementsOf(flags, 'eviction-soft-grace-period', '=').map(([signal, text]) => [
      signal,
      durationOf('eviction-soft-grace-period', text),
    ]),
  );
  const thresholdsOf = (flag: 'eviction-hard' | 'eviction-soft', graceOf: (signal: EvictionSignal) => number): EvictionThreshold[] =>
    statementsOf(flag === 'eviction-hard' ? { [flag]: [defaultHard], ...flags } : flags, flag, '<').flatMap(([signal, text]) => {
      const value = thresholdOf(flag, signal, text);
      if (value === undefined) return [];
      const minimumReclaim = reclaims.get(signal);
      const rest = minimumReclaim === undefined ? {} : { minimumReclaim };
      return [{ signal, value, isHard: flag === 'eviction-hard', graceMs: graceOf(signal), ...rest }];
    });
  const graceOf = (signal: EvictionSignal): number => {
    const found = graces.get(signal);
    if (found === undefined)
      throw new EvictionFlagError('eviction-soft', `${signal} has no grace period: add eviction-soft-grace-period=${signal}=1m30s.`);
    return found;
  };
  return {
    thresholds: [...thresholdsOf('eviction-hard', () => 0), ...thresholdsOf('eviction-soft', graceOf)],
    transitionMs: durationOf(
      'eviction-pressure-transition-period',
      flags['eviction-pressure-transition-period']?.at(-1) ?? defaultTransition,
    ),
    maxPodGraceSeconds: secondsOf('eviction-max-pod-grace-period', flags['eviction-max-pod-grace-period']?.at(-1) ?? '0'),
  };
}

export const defaultEviction: EvictionSettings = parseEvictionFlags({});

/** The number that a value means where there are `size` in all. */
export const amountOf = (value: ThresholdValue, size: number): number =>
  'amount' in value ? value.amount : Math.floor(size * value.share);

function statementsOf(
  flags: EvictionFlagValues,
  flag: EvictionFlag,
  operator: '<' | '=',
): readonly (readonly [signal: EvictionSignal, value: string])[] {
  const found = new Map<EvictionSignal, string>();
  for (const statement of (flags[flag] ?? []).flatMap((text) => (text === '' ? [] : text.split(',')))) {
    const at = statement.indexOf(operator);
    if (at < 0) throw new EvictionFlagError(flag, `${JSON.stringify(statement)} is not SIGNAL${operator}VALUE.`);
    const name = statement.slice(0, at).trim();
    const signal = evictionSignals.find((known) => known === name);
    if (signal === undefined)
      throw new EvictionFlagError(flag, `not supported: the signal ${JSON.stringify(name)}. It is one of ${evictionSignals.join(', ')}.`);
    found.set(signal, statement.slice(at + 1).trim());
  }
  return [...found];
}

/** Undefined for a threshold that is taken away. */
function thresholdOf(flag: EvictionFlag, signal: EvictionSignal, text: string): ThresholdValue | undefined {
  const [, percent] = /^(\d+(?:\.\d+)?)%$/.exec(text) ?? [];
  if (percent !== undefined) {
    if (Number(percent) > 100) throw new EvictionFlagError(flag, `${signal}: ${text} is more than 100%.`);
    return Number(percent) === 0 || Number(percent) === 100 ? undefined : { share: Number(percent) / 100 };
  }
  try {
    const amount = wholeValueOf(parseQuantity(text));
    const least = flag === 'eviction-minimum-reclaim' ? 0 : 1;
    if (amount < least) throw new EvictionFlagError(flag, `${signal}: ${text} is not positive.`);
    return { amount };
  } catch (err) {
    if (!(err instanceof QuantityError)) throw err;
    throw new EvictionFlagError(flag, `${signal}: ${JSON.stringify(text)} is neither a quantity such as 500Mi nor a share such as 10%.`);
  }
}

function durationOf(flag: EvictionFlag, text: string): number {
  if (text === '0') return 0;
  if (!isDuration(text)) throw new EvictionFlagError(flag, `${JSON.stringify(text)} is not a duration such as 1m30s.`);
  return parseDuration(text);
}

function secondsOf(flag: EvictionFlag, text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new EvictionFlagError(flag, `${JSON.stringify(text)} is not a number of seconds.`);
  return Number(text);
}
