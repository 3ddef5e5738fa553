import type {
  CustomResourceDefinition,
  CustomResourceDefinitionCondition,
  CustomResourceDefinitionStatus,
  CustomResourceNames,
} from '../../api/apiextensions/v1/definition.ts';

/** The names that a definition owns: within a group no two definitions share one. */
export interface NamesDecision {
  readonly names: CustomResourceNames;
  readonly condition: CustomResourceDefinitionCondition;
}

/** @param others  all definitions of the group, with what was accepted of each */
export function decideNames(
  { metadata, spec, status }: CustomResourceDefinition,
  others: readonly CustomResourceDefinition[],
): NamesDecision {
  const taken = others.filter((other) => other.metadata.name !== metadata.name).map(({ status: of }) => of?.acceptedNames);
  const resources = new Set(taken.flatMap((names) => [names?.plural, names?.singular, ...(names?.shortNames ?? [])]));
  const kinds = new Set(taken.flatMap((names) => [names?.kind, names?.listKind]));
  const accepted = status?.acceptedNames;
  const { names: wanted } = spec;
  const conflicts: [reason: string, message: string][] = [];
  const settle = (
    name: string | undefined,
    known: string | undefined,
    { inUse, reason }: { readonly inUse: ReadonlySet<string | undefined>; readonly reason: string },
  ): string | undefined => {
    if (name === undefined || name === '' || name === known || !inUse.has(name)) return name;
    conflicts.push([reason, `${JSON.stringify(name)} is already in use`]);
    return known;
  };
  const plural = settle(wanted.plural, accepted?.plural, { inUse: resources, reason: 'PluralConflict' }) ?? '';
  const singular = settle(wanted.singular, accepted?.singular, { inUse: resources, reason: 'SingularConflict' });
  const clashing = (wanted.shortNames ?? []).filter((name) => !(accepted?.shortNames ?? []).includes(name) && resources.has(name));
  if (clashing.length > 0) {
    conflicts.push(['ShortNamesConflict', clashing.map((name) => `${JSON.stringify(name)} is already in use`).join(', ')]);
  }
  const shortNames = clashing.length === 0 ? wanted.shortNames : accepted?.shortNames;
  const kind = settle(wanted.kind, accepted?.kind, { inUse: kinds, reason: 'KindConflict' }) ?? '';
  const listKind = settle(wanted.listKind, accepted?.listKind, { inUse: kinds, reason: 'ListKindConflict' });
  const names: CustomResourceNames = {
    plural,
    ...(singular === undefined ? {} : { singular }),
    ...(shortNames === undefined || shortNames.length === 0 ? {} : { shortNames }),
    kind,
    ...(listKind === undefined ? {} : { listKind }),
    ...(wanted.categories === undefined || wanted.categories.length === 0 ? {} : { categories: wanted.categories }),
  };
  // The real server tells one conflict, the last that it looks for.
  const conflict = conflicts.at(-1);
  const condition: CustomResourceDefinitionCondition =
    conflict === undefined
      ? { type: 'NamesAccepted', status: 'True', reason: 'NoConflicts', message: 'no conflicts found' }
      : { type: 'NamesAccepted', status: 'False', reason: conflict[0], message: conflict[1] };
  return { names, condition };
}

/** `status` with the conditions in force; times change only with what they are about. */
export function withConditions(
  status: CustomResourceDefinitionStatus,
  conditions: readonly CustomResourceDefinitionCondition[],
  now: string,
): CustomResourceDefinitionStatus {
  let next = [...(status.conditions ?? [])];
  for (const condition of conditions) {
    const old = next.find(({ type }) => type === condition.type);
    const lastTransitionTime = old?.status === condition.status && old.lastTransitionTime !== undefined ? old.lastTransitionTime : now;
    const { type, status: is, reason = '', message = '' } = condition;
    const made = { type, status: is, lastTransitionTime, reason, message };
    next = old === undefined ? [...next, made] : next.map((present) => (present === old ? made : present));
  }
  return { ...status, conditions: next };
}
