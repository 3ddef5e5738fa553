import type { Alert } from '../../api/notification/v1beta3/alert.ts';
import type { KubeObject } from '../../machinery/object.ts';
import { compilePattern, PatternError } from '../../machinery/pattern.ts';
import type { Notice } from './notice.ts';

/** Whether an alert is about an object. */
export function isAbout({ metadata, spec }: Alert, object: KubeObject): boolean {
  return spec.eventSources.some(({ kind, name, namespace = metadata.namespace, matchLabels }) => {
    if (kind !== object.kind || namespace !== object.metadata.namespace) return false;
    if (name !== '*') return name === object.metadata.name;
    return Object.entries(matchLabels ?? {}).every(([label, value]) => object.metadata.labels?.[label] === value);
  });
}

/** Whether an alert wants to hear of a notice. A pattern that cannot be read matches nothing, as with Flux. */
export function wants({ spec }: Alert, notice: Notice): boolean {
  if (spec.eventSeverity === 'error' && notice.state !== 'failure') return false;
  const { inclusionList = [], exclusionList = [] } = spec;
  if (inclusionList.length > 0 && !inclusionList.some((pattern) => matches(pattern, notice.message))) return false;
  return !exclusionList.some((pattern) => matches(pattern, notice.message));
}

function matches(pattern: string, text: string): boolean {
  try {
    return compilePattern(pattern).test(text);
  } catch (err) {
    if (err instanceof PatternError) return false;
    throw err;
  }
}

/** What is wrong with an alert's patterns; undefined when nothing is. */
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
