import type { Metrics } from '../base/metrics.ts';
import { familyHead } from '../base/series.ts';

/**
 * Feature gates of kube-apiserver 1.36 for which this server certainly does one thing or the other, with their stage there: `` is
 * generally available. Other gates are left out, since half a feature is neither on nor off.
 *
 * @see https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/
 */
const featureGates = [
  { name: 'APIResponseCompression', stage: 'BETA', enabled: true },
  { name: 'APIServerIdentity', stage: 'BETA', enabled: true },
  { name: 'CBORServingAndStorage', stage: 'ALPHA', enabled: false },
  { name: 'MutatingAdmissionPolicy', stage: '', enabled: true },
] as const;

/** `kubernetes_feature_enabled`, as upstream names it. */
export function addFeatureGates(metrics: Metrics): void {
  metrics.addCollector(function* () {
    yield familyHead('kubernetes_feature_enabled', '1 for a feature gate of Kubernetes whose feature the API has.', 'gauge');
    for (const { name, stage, enabled } of featureGates) {
      yield `kubernetes_feature_enabled{name="${name}",stage="${stage}"} ${enabled ? 1 : 0}\n`;
    }
  });
}
