import type { FlowSchemaSpec as V1FlowSchemaSpec, FlowSchemaStatus as V1FlowSchemaStatus } from 'kubernetes-types/flowcontrol/v1.d.ts';
import { conditionOf } from '../../../machinery/conditions.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { invalidValue, notSupported, required } from '../../field-errors.ts';

export const flowSchemas: KindDefinition<FlowSchema> = {
  group: 'flowcontrol.apiserver.k8s.io',
  version: 'v1',
  resource: 'flowschemas',
  kind: 'FlowSchema',
  namespaced: false,
  singular: 'flowschema',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.flowcontrol.v1.FlowSchema',
  verbs: allVerbs,
  hasGeneration: true,
  statusKeeps: 'metadata',
  nameRule: 'subdomain',
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    {
      name: 'PriorityLevel',
      type: 'string',
      description: 'Level of the requests.',
      cell: ({ spec }) => spec?.priorityLevelConfiguration?.name || '<none>',
    },
    {
      name: 'MatchingPrecedence',
      type: 'string',
      description: 'Lower numbers match first.',
      cell: ({ spec }) => spec?.matchingPrecedence ?? 0,
    },
    {
      name: 'DistinguisherMethod',
      type: 'string',
      description: 'Property that separates flows.',
      cell: ({ spec }) => spec?.distinguisherMethod?.type ?? '<none>',
    },
    ageColumn,
    {
      name: 'MissingPL',
      type: 'string',
      description: 'True when the priority level is missing.',
      cell: ({ status }) =>
        conditionOf(status?.conditions as readonly { type: string; status: string }[] | undefined, 'Dangling')?.status ?? '?',
    },
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (schema) => {
    const { spec = {} as Spec } = schema;
    return isAbsent(spec.matchingPrecedence) || spec.matchingPrecedence === 0
      ? withField(schema, 'spec', { ...spec, matchingPrecedence: 1000 })
      : schema;
  },
  prepareForCreate: (schema) => ({ ...schema, status: {} }),
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    const precedence = spec?.matchingPrecedence ?? 0;
    if (precedence <= 0) errors.push(invalidValue('spec.matchingPrecedence', precedence, 'must be a positive value'));
    if (precedence > 10_000) {
      errors.push(invalidValue('spec.matchingPrecedence', precedence, 'must not be greater than 10000'));
    }
    const method = spec?.distinguisherMethod;
    if (!isAbsent(method) && method.type !== 'ByUser' && method.type !== 'ByNamespace') {
      errors.push(notSupported('spec.distinguisherMethod', method, ['ByNamespace', 'ByUser']));
    }
    if ((spec?.priorityLevelConfiguration?.name ?? '') === '')
      errors.push(required('spec.priorityLevelConfiguration.name', 'must reference a priority level'));
    return errors;
  },
};

type Spec = DeepReadonly<V1FlowSchemaSpec>;

export interface FlowSchema extends KubeObject {
  readonly spec?: Spec;
  readonly status?: DeepReadonly<V1FlowSchemaStatus>;
}

/** The schema with the condition that tells whether its priority level is there; the same one when it says so already. */
export function withDangling(schema: FlowSchema, exists: boolean, now: string): FlowSchema {
  const wanted = exists ? 'False' : 'True';
  const others = (schema.status?.conditions ?? []).filter(({ type }) => type !== 'Dangling');
  if (schema.status?.conditions?.some(({ type, status }) => type === 'Dangling' && status === wanted)) return schema;
  const level = JSON.stringify(schema.spec?.priorityLevelConfiguration.name ?? '');
  const condition = {
    type: 'Dangling',
    status: wanted,
    lastTransitionTime: now,
    reason: exists ? 'Found' : 'NotFound',
    message: `This FlowSchema references the PriorityLevelConfiguration object named ${level} ${exists ? 'and it exists' : 'but there is no such object'}`,
  };
  return { ...schema, status: { ...schema.status, conditions: [...others, condition] } };
}
