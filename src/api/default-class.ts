import type { KubeObject } from '../machinery/object.ts';

/** The class that an annotation marks as the default. Among several the newest wins, then the first by name, as upstream. */
export function defaultAmong<T extends KubeObject>(classes: Iterable<T>, annotations: readonly string[]): T | undefined {
  let chosen: T | undefined;
  for (const candidate of classes) {
    if (!annotations.some((annotation) => candidate.metadata.annotations?.[annotation] === 'true')) continue;
    if (chosen === undefined || isBefore(candidate, chosen)) chosen = candidate;
  }
  return chosen;
}

function isBefore({ metadata: a }: KubeObject, { metadata: b }: KubeObject): boolean {
  if (a.creationTimestamp !== b.creationTimestamp) return (a.creationTimestamp ?? '') > (b.creationTimestamp ?? '');
  return a.name < b.name;
}
