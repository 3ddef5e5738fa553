import type { FieldConfig } from '../field-config.ts';
import type { Kustomization } from '../kustomization.ts';
import type { MergeSchemas } from '../merge.ts';
import type { Resource } from '../resource.ts';
import type { LoadedKustomization, Reference } from './place.ts';

/** Objects and variables of one kustomization and all below it. */
export interface Accumulator {
  resources: Resource[];
  /** Undefined until a kustomization has said which there are. */
  fields: FieldConfig | undefined;
  /** Schemas of strategic merges; one kustomization's for all. */
  schemas: MergeSchemas | undefined;
  readonly variables: Map<string, Kustomization['vars'][number]>;
}

export const newAccumulator = (schemas?: MergeSchemas): Accumulator => ({
  resources: [],
  fields: undefined,
  schemas,
  variables: new Map(),
});

/** A kustomization and the collection that its generators and transformers work on. */
export interface Phase {
  readonly loaded: LoadedKustomization;
  readonly into: Accumulator;
  /** Objects of a file or a kustomization that a field of `loaded` names. */
  readObjects(path: string, from: Reference): Promise<readonly Resource[]>;
}
