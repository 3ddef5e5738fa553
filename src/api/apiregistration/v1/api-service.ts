import type { KindDefinition } from '../../../machinery/kind.ts';
import type { KubeObject } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withDefaults, withField } from '../../copy-on-write.ts';
import { invalidValue, required } from '../../field-errors.ts';

/** A group version and who serves it. Those without a service are served by this server, and are available because it answers. */
export const apiServices: KindDefinition<APIService> = {
  group: 'apiregistration.k8s.io',
  version: 'v1',
  resource: 'apiservices',
  kind: 'APIService',
  namespaced: false,
  singular: 'apiservice',
  shortNames: [],
  categories: ['api-extensions'],
  schemaName: 'io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService',
  verbs: allVerbs,
  hasGeneration: false,
  statusKeeps: 'metadata',
  nameRule: 'path-segment',
  isReplacedByVersion: true,
  subresources: [{ name: 'status', verbs: ['get', 'patch', 'update'] }],
  columns: [
    nameColumn,
    {
      name: 'Service',
      type: 'string',
      description: 'Who serves it.',
      cell: ({ spec }) => (isAbsent(spec?.service) ? 'Local' : `${spec.service.namespace ?? ''}/${spec.service.name ?? ''}`),
    },
    { name: 'Available', type: 'string', description: 'Whether it answers.', cell: availableText },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  defaults: (service) => {
    const { spec } = service;
    if (isAbsent(spec?.service)) return service;
    return withField(service, 'spec', withField(spec, 'service', withDefaults(spec.service, { port: 443 })));
  },
  prepareForCreate: (service, { now }) => ({
    ...service,
    status: isAbsent(service.spec?.service) ? { conditions: [{ ...localAvailable, lastTransitionTime: now }] } : {},
  }),
  validate: ({ metadata, spec }) => {
    const errors: FieldError[] = [];
    const { group = '', version = '', groupPriorityMinimum = 0, versionPriority = 0, service } = spec ?? {};
    const name = `${version}.${group}`;
    if (metadata.name !== name) {
      const why = `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(name)}`;
      errors.push(invalidValue('metadata.name', metadata.name, why));
    }
    if (group === '' && version !== 'v1') {
      errors.push(required('spec.group', 'only v1 may have an empty group and it better be legacy kube'));
    }
    if (version === '') errors.push(required('spec.version'));
    if (groupPriorityMinimum <= 0 || groupPriorityMinimum > 20_000) {
      errors.push(invalidValue('spec.groupPriorityMinimum', groupPriorityMinimum, 'must be positive and less than 20000'));
    }
    if (versionPriority <= 0 || versionPriority > 1000) {
      errors.push(invalidValue('spec.versionPriority', versionPriority, 'must be positive and less than 1000'));
    }
    const hasBundle = (spec?.caBundle ?? '') !== '';
    if (isAbsent(service)) {
      if (hasBundle)
        errors.push(invalidValue('spec.caBundle', `${spec?.caBundle?.length} bytes`, 'local APIServices may not have a caBundle'));
      if (spec?.insecureSkipTLSVerify === true) {
        errors.push(invalidValue('spec.insecureSkipTLSVerify', true, 'local APIServices may not have insecureSkipTLSVerify'));
      }
      return errors;
    }
    for (const part of ['namespace', 'name'] as const) {
      if ((service[part] ?? '') === '') errors.push(required(`spec.service.${part}`));
    }
    if (spec?.insecureSkipTLSVerify === true && hasBundle) {
      errors.push(invalidValue('spec.insecureSkipTLSVerify', true, 'may not be true if caBundle is present'));
    }
    return errors;
  },
};

/** The condition of what this server serves. */
export const localAvailable = {
  type: 'Available',
  status: 'True',
  reason: 'Local',
  message: 'Local APIServices are always available',
} as const;

function availableText({ status }: APIService): string {
  const available = status?.conditions?.find(({ type }) => type === 'Available');
  if (available === undefined) return 'Unknown';
  return available.status === 'True' ? 'True' : `${available.status} (${available.reason ?? ''})`;
}

export interface APIService extends KubeObject {
  readonly spec?: {
    readonly group?: string;
    readonly version?: string;
    readonly groupPriorityMinimum: number;
    readonly versionPriority: number;
    readonly service?: { readonly namespace?: string; readonly name?: string; readonly port?: number };
    readonly caBundle?: string;
    readonly insecureSkipTLSVerify?: boolean;
  };
  readonly status?: {
    readonly conditions?: readonly {
      readonly type: string;
      readonly status: string;
      readonly reason?: string;
      readonly message?: string;
      readonly lastTransitionTime?: string;
    }[];
  };
}
