import type { KindDefinition } from '../machinery/kind.ts';
import type { KubeObject } from '../machinery/object.ts';

/** A kind that is a question: posted, answered in its status, and forgotten. */
export const reviewKind = <T extends KubeObject>(
  names: Pick<KindDefinition, 'group' | 'version' | 'resource' | 'kind' | 'singular' | 'namespaced' | 'schemaName'>,
): KindDefinition<T> => ({
  ...names,
  transient: true,
  shortNames: [],
  categories: [],
  verbs: ['create'],
  hasGeneration: false,
  nameRule: 'path-segment',
  subresources: [],
  columns: [
    {
      name: 'Name',
      type: 'string',
      format: 'name',
      description: 'Empty: reviews have no name.',
      cell: ({ metadata }) => metadata.name ?? '',
    },
  ],
  selectableFields: {},
  deleteAnswer: 'status',
});
