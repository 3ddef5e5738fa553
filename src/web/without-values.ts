import type { Condition } from '../api/flux.ts';
import type { Kustomization } from '../api/kustomize/v1/kustomization.ts';
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
  [kustomizationReasons.succeeded]: summaryWithoutValues,
};

/** The message of an Event as anybody may read it. */
export const publicMessage = (reason: string, message: string): string => byEventReason[reason]?.(message) ?? message;

/** Objects are frozen: the public form of one holds as long as the object. */
const known = new WeakMap<Kustomization, Kustomization>();

/** The app as anybody may read it; the same one each time, and the app itself when there is nothing to take out. */
export function publicApp(app: Kustomization): Kustomization {
  const before = known.get(app);
  if (before !== undefined) return before;
  const conditions = app.status?.conditions;
  const isPublic = conditions?.every(({ type }) => byConditionType[type] === undefined) ?? true;
  const shown = isPublic ? app : { ...app, status: { ...app.status, conditions: conditions?.map(publicCondition) } };
  known.set(app, shown as Kustomization);
  return shown as Kustomization;
}

function publicCondition(condition: Condition): Condition {
  const shorten = byConditionType[condition.type];
  return shorten === undefined ? condition : { ...condition, message: condition.message.split('\n').map(shorten).join('\n') };
}
