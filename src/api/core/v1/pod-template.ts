import type { PodTemplate as V1PodTemplate } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { selectorOfLabels } from '../../../machinery/selector.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { allVerbs, nameColumn } from '../../columns.ts';
import { isAbsent, withField } from '../../copy-on-write.ts';
import { required } from '../../field-errors.ts';
import type { PodTemplateSpec } from './pod.ts';
import { defaultPodTemplate } from './pod-spec-defaults.ts';
import { checkPodTemplate } from './pod-spec-validation.ts';
import { podWarnings } from './pod-warnings.ts';

export const podTemplates: KindDefinition<PodTemplate> = {
  group: '',
  version: 'v1',
  resource: 'podtemplates',
  kind: 'PodTemplate',
  namespaced: true,
  singular: 'podtemplate',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.PodTemplate',
  verbs: allVerbs,
  hasGeneration: true,
  nameRule: 'subdomain',
  subresources: [],
  columns: [
    nameColumn,
    {
      name: 'Containers',
      type: 'string',
      description: 'Names of the containers.',
      cell: ({ template }) => (template?.spec?.containers ?? []).map(({ name }) => name).join(','),
    },
    {
      name: 'Images',
      type: 'string',
      description: 'Images of the containers.',
      cell: ({ template }) => (template?.spec?.containers ?? []).map(({ image = '' }) => image).join(','),
    },
    {
      name: 'Pod Labels',
      type: 'string',
      description: 'Labels of the pods.',
      cell: ({ template }) => selectorOfLabels(template?.metadata?.labels).toString() || '<none>',
    },
  ],
  selectableFields: {},
  deleteAnswer: 'object',
  defaults: (object) => (isAbsent(object.template) ? object : withField(object, 'template', defaultPodTemplate(object.template))),
  warnings: (object, before) => (object.template === before?.template ? [] : podWarnings('template.', object.template ?? {})),
  validate: (object, before) => {
    const errors: FieldError[] = [];
    if (before !== undefined && object.template === before.template) return errors;
    if (isAbsent(object.template)) errors.push(required('template.spec.containers'));
    else checkPodTemplate(errors, 'template', object.template);
    return errors;
  },
};

export type PodTemplate = Omit<Kube<V1PodTemplate>, 'template'> & { readonly template?: PodTemplateSpec };
