import type { RuntimeClass as V1RuntimeClass } from 'kubernetes-types/node/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { deepEqual, type Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';
import { checkTolerations } from '../../core/v1/scheduling-validation.ts';
import { immutable, immutableStruct } from '../../field-errors.ts';
import { check, checkLabels, dnsLabelErrors } from '../../formats.ts';
import { labels } from '../../well-known.ts';

export const runtimeClasses: KindDefinition<RuntimeClass> = {
  group: 'node.k8s.io',
  version: 'v1',
  resource: 'runtimeclasses',
  kind: 'RuntimeClass',
  namespaced: false,
  singular: 'runtimeclass',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.node.v1.RuntimeClass',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  isReplacedByVersion: true,
  subresources: [],
  columns: [
    nameColumn,
    { name: 'Handler', type: 'string', description: 'Configuration of the runtime.', cell: ({ handler }) => handler ?? '' },
    ageColumn,
  ],
  selectableFields: {},
  deleteAnswer: 'status',
  warnings: ({ scheduling }) =>
    Object.entries(renamedLabels)
      .filter(([old]) => Object.hasOwn(scheduling?.nodeSelector ?? {}, old))
      .map(([, text]) => `scheduling.nodeSelector: ${text}`),
  validate: (runtimeClass, before) => {
    const errors: FieldError[] = [];
    const { handler = '', overhead, scheduling } = runtimeClass;
    check(errors, 'handler', handler, dnsLabelErrors(handler));
    if (before !== undefined && handler !== before.handler) errors.push(immutable('handler', handler));
    if (!deepEqual(overhead, before?.overhead) && before !== undefined)
      errors.push(immutableStruct('overhead', 'node/v1.Overhead', overhead));
    checkLabels(errors, 'scheduling.nodeSelector', scheduling?.nodeSelector);
    checkTolerations(errors, 'scheduling.tolerations', scheduling?.tolerations ?? []);
    return errors;
  },
};

/** Labels of nodes that got other names, with the words of the warning. */
const renamedLabels: Readonly<Record<string, string>> = {
  'beta.kubernetes.io/arch': `deprecated since v1.14; use "${labels.arch}" instead`,
  'beta.kubernetes.io/os': `deprecated since v1.14; use "${labels.os}" instead`,
  'failure-domain.beta.kubernetes.io/region': `deprecated since v1.17; use "${labels.region}" instead`,
  'failure-domain.beta.kubernetes.io/zone': `deprecated since v1.17; use "${labels.zone}" instead`,
  'beta.kubernetes.io/instance-type': 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
};

export type RuntimeClass = Kube<V1RuntimeClass>;
