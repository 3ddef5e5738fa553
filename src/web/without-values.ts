import type { Condition } from '../api/flux.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
import type { Activity } from '../base/contracts/activity.ts';
import { kustomizationReasons } from '../lifecycle/kustomization.facts.ts';

// The engine writes texts about changed fields for people who may read the objects. The page is also for readers without any right, who
// see the names of the fields. Each pattern keeps what the engine is known to write and drops everything else, so a value cannot pass.

const count = '(?: and \\d+ more)?';
const manager = '(?: by (?:an unknown manager|[^\\s,;]+))?';
const outcome = '(?:, held until [\\d:]+ UTC after \\d+ corrections|; not healed: .*|, put back)?';
const fight = ' was put back \\d+ times within a minute(?:; \\S+ changes it again each time)?';
const valuesOfChange = new RegExp(`^(\\S+) .* → .*?(${count})$`, 's');
const valuesOfDifference = new RegExp(`^(\\S+ \\S+: \\S+) .* → .*?(${count}(?:${fight}|${manager}${outcome}))$`, 's');
const valuesLeftOver = /^(\S+ \S+: \S+).*?( left Git, .*)?$/s;

/** `spec.replicas 3 → 9 and 1 more` as `spec.replicas and 1 more`; other texts, as `deleted`, are what they were. */
export const changeWithoutValues = (change: string): string => change.replace(valuesOfChange, '$1$2');

/** `Deployment web/shop: spec.replicas 3 → 9 by kubectl, held until …` without `3 → 9`. */
export const differenceWithoutValues = (line: string): string => line.replace(valuesOfDifference, '$1$2');

/** `Service web/shop: spec.clusterIP None`, alone or in the Event that says what to do, without `None`. */
export const leftOverWithoutValues = (line: string): string => line.replace(valuesLeftOver, '$1$2');

/** `ConfigMap web/a configured (data.a 1 → 2, …)`, a line an object: the list is not taken apart, because a value may look like a field. */
const summaryWithoutValues = (text: string): string => text.replace(/^(\S+ \S+ configured) \(.*$/gm, '$1');

const byConditionType: Readonly<Record<string, (line: string) => string>> = {
  Drifted: differenceWithoutValues,
  LeftOver: leftOverWithoutValues,
};

const byEventReason: Readonly<Record<string, (line: string) => string>> = {
  DriftCorrected: differenceWithoutValues,
  DriftFight: differenceWithoutValues,
  LeftOver: leftOverWithoutValues,
  // The output of a probe may have several lines.
  Unhealthy: (message) => publicReason(message.split('\n')[0] ?? ''),
  [kustomizationReasons.succeeded]: summaryWithoutValues,
};

const times = '(?:once|twice|\\d+ times)';
const outputOfCrash = new RegExp(
  `(Container \\S+ in \\S+ (?:exited \\S+|ran out of memory), restarted ${times}): (?!\\w+ probe failed ${times}).*$`,
  'gm',
);
const outputOfProbe = new RegExp(
  `(\\w+ probe failed(?: ${times})?): (?!HTTP \\d+ from :\\S+$|HTTP probe failed with statuscode: \\d+$).*$`,
  'gim',
);
const quotedValue = /\b(Invalid|Unsupported|Duplicate|Not found)( value)?: (?:"(?:[^"\\]|\\.)*"|[{[].*[}\]]|[^\s:"]+)/g;

/**
 * The reason of an object or a refusal by the API, a line each. It has no output of programs, as logs have, and no value that the API
 * quotes: `Container web in web-1 exited 3, restarted twice: token abc` ends after `twice`.
 */
export const publicReason = (text: string): string =>
  text.replace(outputOfCrash, '$1').replace(outputOfProbe, '$1').replace(quotedValue, '$1$2');

/** The message of an Event as anybody may read it. */
export const publicMessage = (reason: string, message: string): string => byEventReason[reason]?.(message) ?? publicReason(message);

/** An activity as anybody may read it. */
export function publicActivity(activity: Activity): Activity {
  if (activity.type === 'degraded') return { ...activity, reason: publicReason(activity.reason) };
  return activity.type === 'failed' ? { ...activity, errors: activity.errors.map(publicReason) } : activity;
}

/** Objects are frozen: the public form of one holds as long as the object. */
const known = new WeakMap<Kustomization, Kustomization>();

/** The app as anybody may read it; the same one each time, and the app itself when there is nothing to take out. */
export function publicApp(app: Kustomization): Kustomization {
  const before = known.get(app);
  if (before !== undefined) return before;
  const conditions = app.status?.conditions;
  const changed = conditions?.map(publicCondition);
  const isPublic = changed?.every((condition, index) => condition === conditions?.[index]) ?? true;
  const shown = isPublic ? app : { ...app, status: { ...app.status, conditions: changed } };
  known.set(app, shown as Kustomization);
  return shown as Kustomization;
}

function publicCondition(condition: Condition): Condition {
  const shorten = byConditionType[condition.type];
  const message = shorten === undefined ? publicReason(condition.message) : condition.message.split('\n').map(shorten).join('\n');
  return message === condition.message ? condition : { ...condition, message };
}
