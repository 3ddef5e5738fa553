import { type Pod, type PodSpec, pods, type Toleration } from '../../api/core/v1/pod.ts';
import { serviceAccounts } from '../../api/core/v1/service-account.ts';
import { taints } from '../../api/well-known.ts';
import type { KindDefinition } from '../../machinery/kind.ts';
import { deepFreeze } from '../../machinery/object.ts';
import { forbidden } from '../../machinery/status-error.ts';
import type { Registry } from '../registry/registry.ts';
import type { AdmissionStep } from './admission.ts';

const isPod = (kind: KindDefinition): boolean => kind.group === '' && kind.resource === 'pods';

/**
 * A step that fills in a pod's spec on creation. What comes out is remembered by the frozen spec that went in, so that the pods of one
 * template share one spec, and the second of them costs a look-up.
 */
function podSpecStep(name: string, fill: (spec: PodSpec) => PodSpec, check?: (pod: Pod) => void): AdmissionStep {
  const filled = new WeakMap<PodSpec, PodSpec>();
  return {
    name,
    appliesTo: (kind, operation) => operation === 'create' && isPod(kind),
    admit({ object }) {
      const pod = object as Pod;
      const known = filled.get(pod.spec);
      const spec = known ?? fill(pod.spec);
      if (known === undefined && Object.isFrozen(pod.spec)) filled.set(pod.spec, deepFreeze(spec));
      const next = spec === pod.spec ? pod : { ...pod, spec };
      check?.(next);
      return next;
    },
  };
}

/** Every pod runs as a service account of its namespace, `default` unless it says otherwise; the account must be there. */
export function serviceAccount(registry: Pick<Registry, 'get'>): AdmissionStep {
  return podSpecStep(
    'ServiceAccount',
    (spec) => {
      const name = spec.serviceAccountName ?? '';
      if (name !== '') return spec;
      return { ...spec, serviceAccountName: 'default', serviceAccount: 'default' };
    },
    ({ metadata, spec }) => {
      const { namespace = '', name } = metadata;
      const account = spec.serviceAccountName ?? '';
      if (registry.get(serviceAccounts, `${namespace}/${account}`) !== undefined) return;
      throw forbidden(
        pods,
        name,
        `error looking up service account ${namespace}/${account}: serviceaccount ${JSON.stringify(account)} not found`,
      );
    },
  );
}

/** Until priority classes exist every pod has priority 0 and may preempt. */
export function priority(): AdmissionStep {
  return podSpecStep('Priority', (spec) =>
    spec.priority !== undefined && spec.preemptionPolicy !== undefined
      ? spec
      : { ...spec, priority: spec.priority ?? 0, preemptionPolicy: spec.preemptionPolicy ?? 'PreemptLowerPriority' },
  );
}

const tolerationSeconds = 300;
const graceful: readonly Toleration[] = deepFreeze(
  [taints.notReady, taints.unreachable].map((key) => ({ key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds })),
);

/** Pods stay five minutes on a node that is not ready or unreachable, unless they say themselves what they tolerate. */
export function defaultTolerationSeconds(): AdmissionStep {
  return podSpecStep('DefaultTolerationSeconds', (spec) => {
    const given = spec.tolerations ?? [];
    const missing = graceful.filter(({ key }) => !given.some((toleration) => tolerates(toleration, key ?? '')));
    return missing.length === 0 ? spec : { ...spec, tolerations: [...given, ...missing] };
  });
}

const tolerates = ({ key = '', effect = '' }: Toleration, taint: string): boolean =>
  (key === taint || key === '') && (effect === 'NoExecute' || effect === '');
