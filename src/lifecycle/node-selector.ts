import type { Affinity } from '../api/core/v1/pod.ts';

/** Decides by a node's labels and name. */
export type NodeMatcher = (labels: Labels, name: string) => boolean;

type Labels = Readonly<Record<string, string>>;
type NodeSelector = NonNullable<NonNullable<Affinity['nodeAffinity']>['requiredDuringSchedulingIgnoredDuringExecution']>;
type NodeTerm = NodeSelector['nodeSelectorTerms'][number];
type Requirement = NonNullable<NodeTerm['matchExpressions']>[number];

/** `nodeSelector` and required affinity together; undefined when both are absent, so every node matches. */
export function compileNodeSelector(plain: Labels | undefined, required: NodeSelector | undefined): NodeMatcher | undefined {
  const wanted = Object.entries(plain ?? {});
  const byLabels: NodeMatcher | undefined =
    wanted.length === 0 ? undefined : (labels) => wanted.every(([key, value]) => labels[key] === value);
  if (required === undefined) return byLabels;
  // Terms are alternatives; without any no node matches.
  const terms = required.nodeSelectorTerms.map(compileNodeTerm);
  const byTerms: NodeMatcher = (labels, name) => terms.some((matches) => matches(labels, name));
  return byLabels === undefined ? byTerms : (labels, name) => byLabels(labels, name) && byTerms(labels, name);
}

/**
 * Names of the only nodes that a selector can select: each of its terms names some by `metadata.name`. Undefined when one does not. Empty
 * when no node has all of the names that a term wants.
 */
export function namedNodesOf(required: NodeSelector | undefined): ReadonlySet<string> | undefined {
  const terms = required?.nodeSelectorTerms ?? [];
  if (terms.length === 0) return undefined;
  const names = new Set<string>();
  for (const { matchFields = [] } of terms) {
    const wanted = matchFields.flatMap(({ key, operator, values = [] }) => (key === 'metadata.name' && operator === 'In' ? [values] : []));
    const [first, ...others] = wanted;
    if (first === undefined) return undefined;
    for (const name of first) if (others.every((values) => values.includes(name))) names.add(name);
  }
  return names;
}

/** One term: all of its requirements have to hold, and an empty one matches no node. */
export function compileNodeTerm({ matchExpressions = [], matchFields = [] }: NodeTerm): NodeMatcher {
  if (matchExpressions.length === 0 && matchFields.length === 0) return () => false;
  const onLabels = matchExpressions.map((requirement) => {
    const { key } = requirement;
    const test = compileRequirement(requirement);
    return (labels: Labels) => test(labels[key]);
  });
  const onName = matchFields.map((requirement) => (requirement.key === 'metadata.name' ? compileRequirement(requirement) : () => false));
  return (labels, name) => onLabels.every((test) => test(labels)) && onName.every((test) => test(name));
}

function compileRequirement({ operator, values = [] }: Requirement): (value: string | undefined) => boolean {
  switch (operator) {
    case 'In':
      return (value) => value !== undefined && values.includes(value);
    case 'NotIn':
      return (value) => value === undefined || !values.includes(value);
    case 'Exists':
      return (value) => value !== undefined;
    case 'DoesNotExist':
      return (value) => value === undefined;
    case 'Gt':
    case 'Lt': {
      const bound = integerOf(values[0]);
      return (value) => {
        const number = integerOf(value);
        return number !== undefined && bound !== undefined && (operator === 'Gt' ? number > bound : number < bound);
      };
    }
    default:
      // An operator of a later version: a term we cannot read must not match by accident.
      return () => false;
  }
}

function integerOf(text: string | undefined): bigint | undefined {
  return text !== undefined && /^[+-]?\d{1,20}$/.test(text) ? BigInt(text.replace('+', '')) : undefined;
}
