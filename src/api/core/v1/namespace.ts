import type { Namespace as V1Namespace } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import { qualifiedNameErrors } from '../../../machinery/label-syntax.ts';
import type { Kube } from '../../../machinery/object.ts';
import type { FieldError } from '../../../machinery/status-error.ts';
import { ageColumn, nameColumn } from '../../columns.ts';
import { withField } from '../../copy-on-write.ts';
import { invalidValue } from '../../field-errors.ts';
import { check } from '../../formats.ts';
import { finalizers, labels } from '../../well-known.ts';

export const namespaces: KindDefinition<Namespace> = {
  group: '',
  version: 'v1',
  resource: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
  singular: 'namespace',
  shortNames: ['ns'],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Namespace',
  verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
  hasGeneration: false,
  nameRule: 'label',
  subresources: [
    { name: 'status', verbs: ['get', 'patch', 'update'] },
    { name: 'finalize', verbs: ['update'] },
  ],
  columns: [
    nameColumn,
    {
      name: 'Status',
      type: 'string',
      description: 'Active, or Terminating while it is emptied.',
      cell: ({ status }) => status?.phase ?? '',
    },
    ageColumn,
  ],
  selectableFields: { 'status.phase': (namespace) => namespace.status?.phase ?? '' },
  deleteAnswer: 'object',
  shortFieldLabelError: true,
  defaults: (namespace) => {
    const { metadata } = namespace;
    const name = metadata.name ?? '';
    const named =
      name === '' || metadata.labels?.[labels.namespaceName] === name
        ? metadata.labels
        : { ...metadata.labels, [labels.namespaceName]: name };
    return withField(namespace, 'metadata', withField(metadata, 'labels', named));
  },
  prepareForCreate: (namespace) => {
    const names = namespace.spec?.finalizers ?? [];
    const kept = names.includes(finalizers.kubernetes) ? names : [...names, finalizers.kubernetes];
    return { ...namespace, spec: { ...namespace.spec, finalizers: kept }, status: { phase: 'Active' } };
  },
  // Finalizers of a namespace change through its `finalize` subresource only.
  prepareForUpdate: (namespace, before) => withField(namespace, 'spec', before.spec),
  validate: ({ spec }) => {
    const errors: FieldError[] = [];
    for (const name of spec?.finalizers ?? []) checkFinalizer(errors, 'spec.finalizers', name);
    return errors;
  },
};

/** Errors of what `finalize` writes. A name that is no finalizer would keep the namespace, since no controller removes it. */
export function finalizeErrors({ spec }: Namespace): readonly FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, name] of (spec?.finalizers ?? []).entries()) checkFinalizer(errors, `spec.finalizers[${index}]`, name);
  return errors;
}

function checkFinalizer(errors: FieldError[], field: string, name: string): void {
  check(errors, field, name, qualifiedNameErrors(name));
  if (name.includes('/') || name === finalizers.kubernetes) return;
  errors.push(invalidValue(field, name, 'name is neither a standard finalizer name nor is it fully qualified'));
}

export type Namespace = Kube<V1Namespace>;
