import type { PodTemplateSpec } from '../../api/core/v1/pod.ts';
import { labels as wellKnown } from '../../api/well-known.ts';
import { canonicalJson } from '../../machinery/json.ts';

/** Letters that form no words: no vowels, and nothing that looks like something else. The same as in names the API server generates. */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/**
 * Names a template: short, stable over restarts and over the order of fields. Two templates may collide; then `collisionCount` rises.
 *
 * The value differs from the real controller's, which hashes Go's in-memory form. ReplicaSets are matched by template,
 * never by this hash, so both controllers may take turns on one cluster.
 */
export function templateHash(template: PodTemplateSpec, collisionCount: number): string {
  let hash = 0x811c9dc5;
  for (const character of `${canonicalJson(template)}${collisionCount === 0 ? '' : collisionCount}`) {
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193) >>> 0;
  }
  return [...String(hash)].map((digit) => alphabet[digit.charCodeAt(0) % alphabet.length]).join('');
}

/** A copy with the hash label; shares the spec. */
export function withHash(template: PodTemplateSpec, hash: string): PodTemplateSpec {
  return { ...template, metadata: { ...template.metadata, labels: { ...template.metadata?.labels, [wellKnown.podTemplateHash]: hash } } };
}
