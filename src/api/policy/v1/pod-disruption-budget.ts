import type {
  PodDisruptionBudgetSpec as V1PodDisruptionBudgetSpec,
  PodDisruptionBudgetStatus as V1PodDisruptionBudgetStatus,
} from 'kubernetes-types/policy/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { invalidStruct, notSupported } from '../../field-errors.ts';
import { checkIntOrPercent, checkLabelSelector, checkNonNegative, checkNotAbove100Percent } from '../../formats.ts';

export const podDisruptionBudgets: KindDefinition<PodDisruptionBudget> = {
  group: 'policy',
  version: 'v1',
  resource: 'poddisruptionbudgets',
  kind: 'PodDisruptionBudget',
  namespaced: true,
  singular: 'poddisruptionbudget',
  shortNames: ['pdb'],
  categories: [],
  schemaName: 'io.k8s.api.policy.v1.PodDisruptionBudget',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  isReplacedByVersion: true,
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    {
      name: 'Min Available',
      type: 'string',
      description: 'Pods that must stay.',
      cell: ({ spec }) => (isAbsent(spec?.minAvailable) ? 'N/A' : String(spec.minAvailable)),
    },
    {
      name: 'Max Unavailable',
      type: 'string',
      description: 'Pods that may be missing.',
      cell: ({ spec }) => (isAbsent(spec?.maxUnavailable) ? 'N/A' : String(spec.maxUnavailable)),
    },
    {
      name: 'Allowed Disruptions',
      type: 'integer',
      description: 'Pods that may be evicted now.',
      cell: ({ status }) => status?.disruptionsAllowed ?? 0,
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (budget) => (isAbsent(budget.spec) ? withField(budget, 'spec', {}) : budget),
  prepareForCreate: (budget) => ({
    ...budget,
    status: { disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 },
  }),
  validateStatus: ({ status }) => {
    const errors: FieldError[] = [];
    for (const name of ['disruptionsAllowed', 'currentHealthy', 'desiredHealthy', 'expectedPods'] as const) {
      checkNonNegative(errors, `status.${name}`, status?.[name]);
    }
    return errors;
  },
  validate: ({ spec = {} }, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && spec === before.spec) return errors;
    const { minAvailable, maxUnavailable, selector, unhealthyPodEvictionPolicy } = spec;
    if (!isAbsent(minAvailable) && !isAbsent(maxUnavailable)) {
      errors.push(invalidStruct('spec', 'policy/v1.PodDisruptionBudgetSpec', spec, 'minAvailable and maxUnavailable cannot be both set'));
    }
    for (const [name, amount] of Object.entries({ minAvailable, maxUnavailable })) {
      if (isAbsent(amount)) continue;
      checkIntOrPercent(errors, `spec.${name}`, amount);
      checkNotAbove100Percent(errors, `spec.${name}`, amount);
    }
    checkLabelSelector(errors, 'spec.selector', selector);
    if (!isAbsent(unhealthyPodEvictionPolicy) && !evictionPolicies.includes(unhealthyPodEvictionPolicy)) {
      errors.push(notSupported('spec.unhealthyPodEvictionPolicy', unhealthyPodEvictionPolicy, evictionPolicies));
    }
    return errors;
  },
};

const evictionPolicies: readonly string[] = ['AlwaysAllow', 'IfHealthyBudget'];

export interface PodDisruptionBudget extends KubeObject {
  readonly spec?: PodDisruptionBudgetSpec;
  readonly status?: PodDisruptionBudgetStatus;
}
export type PodDisruptionBudgetSpec = DeepReadonly<V1PodDisruptionBudgetSpec>;
export type PodDisruptionBudgetStatus = DeepReadonly<V1PodDisruptionBudgetStatus>;
