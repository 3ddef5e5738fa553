import type {
  PriorityLevelConfigurationSpec as V1PriorityLevelConfigurationSpec,
  PriorityLevelConfigurationStatus as V1PriorityLevelConfigurationStatus,
} from 'kubernetes-types/flowcontrol/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, notSupported, required } from '../../field-errors.ts';

export const priorityLevelConfigurations: KindDefinition<PriorityLevelConfiguration> = {
  group: 'flowcontrol.apiserver.k8s.io',
  version: 'v1',
  resource: 'prioritylevelconfigurations',
  kind: 'PriorityLevelConfiguration',
  namespaced: false,
  singular: 'prioritylevelconfiguration',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration',
  verbs: allVerbs,
  hasGeneration: true,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    { name: 'Type', type: 'string', description: 'Limited or Exempt.', cell: ({ spec }) => spec?.type ?? '' },
    {
      name: 'NominalConcurrencyShares',
      type: 'string',
      description: 'Its share of the seats.',
      cell: ({ spec }) => spec?.limited?.nominalConcurrencyShares ?? '<none>',
    },
    { name: 'Queues', type: 'string', description: 'Number of queues.', cell: ({ spec }) => queuingOf(spec)?.queues ?? '<none>' },
    {
      name: 'HandSize',
      type: 'string',
      description: 'Queues that a flow uses.',
      cell: ({ spec }) => queuingOf(spec)?.handSize ?? '<none>',
    },
    {
      name: 'QueueLengthLimit',
      type: 'string',
      description: 'Requests that a queue holds.',
      cell: ({ spec }) => queuingOf(spec)?.queueLengthLimit ?? '<none>',
    },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (level) => (isAbsent(level.spec) ? level : withField(level, 'spec', defaultSpec(level.spec))),
  prepareForCreate: (level) => ({ ...level, status: {} }),
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    const type = spec?.type ?? '';
    if (type === 'Exempt') {
      if (!isAbsent(spec?.limited)) errors.push(forbidden('spec.limited', 'must be nil if the type is Exempt'));
    } else if (type === 'Limited') {
      if (!isAbsent(spec?.exempt)) errors.push(forbidden('spec.exempt', 'must be nil if the type is Limited'));
      if (isAbsent(spec?.limited)) errors.push(required('spec.limited', 'must not be empty when type is Limited'));
      else {
        const response = spec.limited.limitResponse?.type ?? '';
        if (response !== 'Queue' && response !== 'Reject') {
          errors.push(notSupported('spec.limited.limitResponse.type', response, ['Queue', 'Reject']));
        }
      }
    } else errors.push(notSupported('spec.type', type, ['Exempt', 'Limited']));
    return errors;
  },
};

type Spec = DeepReadonly<V1PriorityLevelConfigurationSpec>;

const queuingOf = (spec: Spec | undefined) => spec?.limited?.limitResponse?.queuing;

function defaultSpec(spec: Spec): Spec {
  let result = spec;
  if (!isAbsent(spec.exempt)) {
    result = withField(result, 'exempt', withDefaults(spec.exempt, { nominalConcurrencyShares: 0, lendablePercent: 0 }));
  }
  if (!isAbsent(spec.limited)) {
    let limited = withDefaults(spec.limited, { nominalConcurrencyShares: 30, lendablePercent: 0 });
    const response = limited.limitResponse;
    if (!isAbsent(response?.queuing)) {
      const queuing = withDefaults(response.queuing, { queues: 64, handSize: 8, queueLengthLimit: 50 });
      limited = withField(limited, 'limitResponse', withField(response, 'queuing', queuing));
    }
    result = withField(result, 'limited', limited);
  }
  return result;
}

export interface PriorityLevelConfiguration extends KubeObject {
  readonly spec?: Spec;
  readonly status?: DeepReadonly<V1PriorityLevelConfigurationStatus>;
}
