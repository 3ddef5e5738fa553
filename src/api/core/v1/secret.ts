import type { Secret as V1Secret } from 'kubernetes-types/core/v1.d.ts';
import type { KindDefinition } from '../../../machinery/kind.ts';
import type { Kube } from '../../../machinery/object.ts';
import { ageColumn, allVerbs, nameColumn } from '../../columns.ts';

export const secrets: KindDefinition<Secret> = {
  group: '',
  version: 'v1',
  resource: 'secrets',
  kind: 'Secret',
  namespaced: true,
  singular: 'secret',
  shortNames: [],
  categories: [],
  schemaName: 'io.k8s.api.core.v1.Secret',
  verbs: allVerbs,
  hasGeneration: false,
  nameRule: 'subdomain',
  subresources: [],
  columns: [nameColumn, ageColumn],
  selectableFields: { type: (secret) => secret.type ?? '' },
  deleteAnswer: 'status',
  shortFieldLabelError: true,
};

export type Secret = Kube<V1Secret>;
