import type { PriorityClass as V1PriorityClass } from 'kubernetes-types/scheduling/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults } from '../../copy-on-write.ts';
import { forbidden, immutable, notSupported, required } from '../../field-errors.ts';

export const priorityClasses: KindDefinition<PriorityClass> = {
  group: 'scheduling.k8s.io',
  version: 'v1',
  resource: 'priorityclasses',
  kind: 'PriorityClass',
  namespaced: false,
  singular: 'priorityclass',
  shortNames: ['pc'],
  categories: [],
  schemaName: 'io.k8s.api.scheduling.v1.PriorityClass',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Value', type: 'integer', description: 'Priority of the pods.', cell: ({ value }) => value ?? 0 },
    {
      name: 'Global-Default',
      type: 'boolean',
      description: 'True for the class of pods without one.',
      cell: ({ globalDefault }) => globalDefault ?? false,
    },
    ageColumn,
    {
      name: 'PreemptionPolicy',
      type: 'string',
      description: 'Rule for the preemption of other pods.',
      cell: ({ preemptionPolicy }) => preemptionPolicy ?? '',
    },
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  refuseDeletion: ({ metadata }) =>
    systemPriorityClasses.some(({ name }) => name === metadata.name) ? 'this is a system priority class and cannot be deleted' : undefined,
  defaults: (priorityClass) => withDefaults(priorityClass, { preemptionPolicy: 'PreemptLowerPriority', value: 0 }),
  validate: (priorityClass, before) => {
    const errors: FieldError[] = [];
    const { metadata, value, preemptionPolicy = '' } = priorityClass;
    if (before !== undefined) {
      if (value !== before.value) errors.push(forbidden('value', 'may not be changed in an update.'));
      if (preemptionPolicy !== (before.preemptionPolicy ?? '')) errors.push(immutable('preemptionPolicy', preemptionPolicy));
      return errors;
    }
    if (metadata.name?.startsWith(systemPrefix)) {
      const known = systemPriorityClasses.find(({ name }) => name === metadata.name);
      const why = `priority class names with '${systemPrefix}' prefix are reserved for system use only. error: `;
      if (known === undefined) errors.push(forbidden('metadata.name', `${why}${metadata.name} is not a known system priority class`));
      else if (known.value !== value) {
        errors.push(forbidden('metadata.name', `${why}value of ${metadata.name} PriorityClass must be ${known.value}`));
      } else if (priorityClass.globalDefault === true) {
        errors.push(forbidden('metadata.name', `${why}globalDefault of ${metadata.name} PriorityClass must be false`));
      }
    } else if (!isAbsent(value) && value > highestUserPriority) {
      errors.push(forbidden('value', `maximum allowed value of a user defined priority is ${highestUserPriority}`));
    }
    if (preemptionPolicy === '') errors.push(required('preemptionPolicy'));
    else if (!preemptionPolicies.includes(preemptionPolicy)) {
      errors.push(notSupported('preemptionPolicy', preemptionPolicy, preemptionPolicies));
    }
    return errors;
  },
};

const systemPrefix = 'system-';
const highestUserPriority = 1_000_000_000;
const preemptionPolicies: readonly string[] = ['PreemptLowerPriority', 'Never'];

/** The classes that every cluster has from its first start. */
export const systemPriorityClasses = [
  {
    name: 'system-node-critical',
    value: 2_000_001_000,
    description: 'Used for system critical pods that must not be moved from their current node.',
  },
  {
    name: 'system-cluster-critical',
    value: 2_000_000_000,
    description: 'Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.',
  },
] as const;

export type PriorityClass = Kube<V1PriorityClass>;
