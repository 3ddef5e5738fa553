import { parseLabelSelector } from '../../../machinery/selector.ts';
import { currentId, effectiveNamespace, isMap, originalId, type Resource } from './resource.ts';

/** Which objects a patch or replacement means. Its texts are whole-match regular expressions. */
export interface TargetSelector {
  readonly group?: string | undefined;
  readonly version?: string | undefined;
  readonly kind?: string | undefined;
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly annotationSelector?: string | undefined;
}

export class SelectorError extends Error {}

/** The longest pattern that is read; names are at most 253 characters. */
const maxPatternLength = 500;

/**
 * A pattern from a repository as a regular expression of this machine. What Go's engine does not know is refused, and so are repetitions
 * of repetitions, which could keep this one busy for ever.
 */
export function safePattern(pattern: string, flags = ''): RegExp {
  if (pattern.length > maxPatternLength) throw new SelectorError(`pattern is longer than ${maxPatternLength} characters`);
  if (/\(\?[=!<]|\\[1-9k]/.test(pattern)) throw new SelectorError(`pattern ${pattern}: look-around and back references are not supported`);
  if (hasNestedRepetition(pattern)) throw new SelectorError(`pattern ${pattern}: a repetition within a repetition is not supported`);
  try {
    return new RegExp(pattern, flags);
  } catch (cause) {
    throw new SelectorError(`pattern ${pattern} is not a regular expression`, { cause });
  }
}

/** A group that holds a repetition or a choice, and is itself repeated. */
function hasNestedRepetition(pattern: string): boolean {
  const groups: boolean[] = [];
  for (let index = 0; index < pattern.length; index += 1) {
    const char = pattern[index];
    if (char === '\\') index += 1;
    else if (char === '[') index = endOfClass(pattern, index);
    else if (char === '(') groups.push(false);
    else if (char === '*' || char === '+' || char === '{' || char === '|') groups.fill(true);
    else if (char === ')' && groups.pop() === true && /^[*+{]/.test(pattern.slice(index + 1))) return true;
  }
  return false;
}

function endOfClass(pattern: string, start: number): number {
  let index = start + 1;
  if (pattern[index] === '^') index += 1;
  if (pattern[index] === ']') index += 1;
  while (index < pattern.length && pattern[index] !== ']') index += pattern[index] === '\\' ? 2 : 1;
  return index;
}

const anchored = (pattern: string | undefined): RegExp | undefined => (pattern ? safePattern(`^(?:${pattern})$`) : undefined);

/** The objects that match by their present or original name and namespace, in order. */
export function select(resources: readonly Resource[], selector: TargetSelector): readonly Resource[] {
  const group = anchored(selector.group);
  const version = anchored(selector.version);
  const kind = anchored(selector.kind);
  const name = anchored(selector.name);
  const namespace = anchored(selector.namespace);
  const matchesMetadata = metadataMatcher(selector);
  return resources.filter((resource) => {
    const current = currentId(resource);
    const original = originalId(resource);
    return (
      (namespace === undefined || namespace.test(effectiveNamespace(original)) || namespace.test(effectiveNamespace(current))) &&
      (name === undefined || name.test(original.name) || name.test(current.name)) &&
      (group?.test(current.group) ?? true) &&
      (version?.test(current.version) ?? true) &&
      (kind?.test(current.kind) ?? true) &&
      matchesMetadata(resource)
    );
  });
}

/** Tests labels and annotations alone. */
export function metadataMatcher({ labelSelector, annotationSelector }: TargetSelector): (resource: Resource) => boolean {
  const labels = labelSelector ? parseLabelSelector(labelSelector) : undefined;
  const annotations = annotationSelector ? parseLabelSelector(annotationSelector) : undefined;
  return ({ object }) => {
    const metadata = isMap(object.metadata) ? object.metadata : {};
    return (labels?.matches(textMapOf(metadata.labels)) ?? true) && (annotations?.matches(textMapOf(metadata.annotations)) ?? true);
  };
}

function textMapOf(value: unknown): Readonly<Record<string, string>> {
  return isMap(value) ? Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, String(entry)])) : {};
}
