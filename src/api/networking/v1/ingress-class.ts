import type { IngressClassSpec as V1IngressClassSpec } from 'kubernetes-types/networking/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { DeepReadonly, KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { forbidden, immutable, notSupported, required, tooLong } from '../../field-errors.ts';
import { check, domainPathErrors } from '../../formats.ts';

export const ingressClasses: KindDefinition<IngressClass> = {
  group: 'networking.k8s.io',
  version: 'v1',
  resource: 'ingressclasses',
  kind: 'IngressClass',
  namespaced: false,
  singular: 'ingressclass',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.networking.v1.IngressClass',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Controller', type: 'string', description: 'Controller of the class.', cell: ({ spec }) => spec?.controller ?? '' },
    { name: 'Parameters', type: 'string', description: 'Object with more settings.', cell: parametersText },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (ingressClass) => {
    const { spec } = ingressClass;
    if (isAbsent(spec?.parameters)) return ingressClass;
    return withField(ingressClass, 'spec', withField(spec, 'parameters', withDefaults(spec.parameters, { scope: 'Cluster' })));
  },
  validate: ({ spec }, before) => {
    const errors: FieldError[] = [];
    const controller = spec?.controller ?? '';
    if (before !== undefined && controller !== before.spec?.controller) errors.push(immutable('spec.controller', controller));
    if (controller === '') errors.push(required('spec.controller'));
    else if (controller.length > maxControllerLength) errors.push(tooLong('spec.controller', maxControllerLength));
    else check(errors, 'spec.controller', controller, domainPathErrors(controller));
    if (!isAbsent(spec?.parameters)) checkParameters(errors, spec.parameters);
    return errors;
  },
};

const maxControllerLength = 250;
type Parameters = NonNullable<DeepReadonly<V1IngressClassSpec>['parameters']>;

function parametersText({ spec }: IngressClass): string {
  const parameters = spec?.parameters;
  if (isAbsent(parameters)) return '<none>';
  const { apiGroup, kind, name } = parameters;
  return `${isAbsent(apiGroup) ? kind : `${kind}.${apiGroup}`}/${name}`;
}

function checkParameters(errors: FieldError[], { kind = '', name = '', scope = '', namespace = '' }: Parameters): void {
  const field = 'spec.parameters';
  if (kind === '') errors.push(required(`${field}.kind`));
  if (name === '') errors.push(required(`${field}.name`));
  if (scope !== 'Cluster' && scope !== 'Namespace') errors.push(notSupported(`${field}.scope`, scope, ['Cluster', 'Namespace']));
  if (scope === 'Namespace' && namespace === '') {
    errors.push(required(`${field}.namespace`, "`parameters.scope` is set to 'Namespace'"));
  }
  if (scope === 'Cluster' && namespace !== '') {
    errors.push(forbidden(`${field}.namespace`, "`parameters.scope` is set to 'Cluster'"));
  }
}

export interface IngressClass extends KubeObject {
  readonly spec?: DeepReadonly<V1IngressClassSpec>;
}
