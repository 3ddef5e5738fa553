import type { Alert } from '../../api/notification/v1beta3/alert.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { compilePattern, PatternError } from '../../machinery/pattern.ts';
import type { Notice } from './notice.ts';

/** True when an alert covers an object. As with Flux, labels count besides a name, too. */
export function isAbout({ metadata, spec }: Alert, object: KubeObject): boolean {
  return spec.eventSources.some(({ kind, name, namespace = metadata.namespace, matchLabels }) => {
    if (kind !== object.kind || namespace !== object.metadata.namespace) return false;
    if (name !== '*' && name !== object.metadata.name) return false;
    return Object.entries(matchLabels ?? {}).every(([label, value]) => object.metadata.labels?.[label] === value);
  });
}

/** True when an alert wants a notice with this text. An unreadable pattern matches nothing, as with Flux. */
export function wants({ spec }: Alert, { state }: Notice, text: string): boolean {
  if (spec.eventSeverity === 'error' && state !== 'failure') return false;
  const { inclusionList = [], exclusionList = [] } = spec;
  if (inclusionList.length > 0 && !inclusionList.some((pattern) => matches(pattern, text))) return false;
  return !exclusionList.some((pattern) => matches(pattern, text));
}

function matches(pattern: string, text: string): boolean {
  try {
    return compilePattern(pattern).test(text);
  } catch (err) {
    if (err instanceof PatternError) return false;
    throw err;
  }
}

/** Error in an alert's patterns; undefined when they are valid. */
export function badPattern({ spec }: Alert): string | undefined {
  for (const list of ['inclusionList', 'exclusionList'] as const) {
    for (const [index, pattern] of (spec[list] ?? []).entries()) {
      try {
        compilePattern(pattern);
      } catch (err) {
        if (!(err instanceof PatternError)) throw err;
        return `spec.${list}[${index}]: ${err.message}`;
      }
    }
  }
  return undefined;
}
