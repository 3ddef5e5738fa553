/** A count or a percentage of some total, as `maxSurge` and `maxUnavailable` of a rollout are. */
export type IntOrString = number | string;

/** The percentage in `25%`, or undefined for anything else. */
export function tryPercent(value: IntOrString): number | undefined {
  if (typeof value !== 'string') return undefined;
  const match = /^([+-]?[0-9]{1,9})%$/.exec(value);
  return match === null ? undefined : Number(match[1]);
}

/**
 * The number that `value` means: a number itself, a percentage of `total`, rounded as said.
 *
 * @throws Error for a string that is no percentage
 */
export function scaledValueOf(value: IntOrString, { total, round }: { readonly total: number; readonly round: 'up' | 'down' }): number {
  if (typeof value === 'number') return value;
  const percent = tryPercent(value);
  if (percent === undefined)
    throw new Error(`invalid value for IntOrString: invalid type: string is not a percentage: ${JSON.stringify(value)}`);
  const share = (percent * total) / 100;
  return round === 'up' ? Math.ceil(share) : Math.floor(share);
}
