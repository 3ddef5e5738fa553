import { compilePattern, type Pattern, PatternError } from '../../../machinery/pattern.ts';
import { parseLabelSelector } from '../../../machinery/selector.ts';
import { currentId, effectiveNamespace, isMap, originalId, type Resource } from './resource.ts';
import { spend } from './work.ts';

/** Selects the objects of a patch or replacement. Its texts are whole-match regular expressions. */
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

/** Bounds of patterns and of what they are tried on; names are at most 253 characters. */
const maxPatternLength = 500;
const maxPatternSize = 2_000;
const maxTextLength = 16 * 1024;

/**
 * A pattern from a repository, in the syntax of Go, matched in time linear to the text.
 *
 * @throws SelectorError when it cannot be read, or, in a test, when the text is too long for it
 */
export function safePattern(pattern: string): { test(text: string): boolean } {
  if (pattern.length > maxPatternLength) throw new SelectorError(`pattern is longer than ${maxPatternLength} characters`);
  let compiled: Pattern;
  try {
    compiled = compilePattern(pattern);
  } catch (cause) {
    if (!(cause instanceof PatternError)) throw cause;
    throw new SelectorError(`pattern ${pattern} is not a regular expression: ${cause.message}`, { cause });
  }
  if (compiled.size > maxPatternSize) throw new SelectorError(`pattern ${pattern} is too large`);
  return {
    test(text) {
      if (text.length > maxTextLength) throw new SelectorError(`a text of ${text.length} characters is too long for pattern ${pattern}`);
      spend(text.length);
      return compiled.test(text);
    },
  };
}

/** Most patterns are plain names, which need no more than a comparison. */
function anchorPattern(pattern: string | undefined): { test(text: string): boolean } | undefined {
  if (!pattern) return undefined;
  return /^[\w-]+$/.test(pattern) ? { test: (text) => text === pattern } : safePattern(`^(?:${pattern})$`);
}

/** The objects that match by their present or original name and namespace, in order. */
export function select(resources: readonly Resource[], selector: TargetSelector): readonly Resource[] {
  const group = anchorPattern(selector.group);
  const version = anchorPattern(selector.version);
  const kind = anchorPattern(selector.kind);
  const name = anchorPattern(selector.name);
  const namespace = anchorPattern(selector.namespace);
  const matchesMetadata = metadataMatcher(selector);
  spend(resources.length);
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
