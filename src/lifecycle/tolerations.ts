import type { Taint } from '../api/core/v1/node.ts';
import type { Toleration } from '../api/core/v1/pod.ts';

/** One of the tolerations covers the taint; `tolerationSeconds` does not matter here. */
export function toleratesTaint(tolerations: readonly Toleration[], taint: Pick<Taint, 'key' | 'value' | 'effect'>): boolean {
  for (const toleration of tolerations) if (covers(toleration, taint)) return true;
  return false;
}

/** One toleration covers the taint. Absent fields match anything, as the API says for each. */
export function covers({ key, operator, value, effect }: Toleration, taint: Pick<Taint, 'key' | 'value' | 'effect'>): boolean {
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false;
  // A toleration without a key, with operator Exists, covers everything.
  if (key !== undefined && key !== '' && key !== taint.key) return false;
  return operator === 'Exists' || (value ?? '') === (taint.value ?? '');
}
